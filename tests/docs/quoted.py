# SPDX-License-Identifier: Apache-2.0
"""Documents show only code that is compiled and output that is printed, word for word.
usage: quoted.py SOURCE_ROOT PROGRAM...

In a document, the line '<!-- example: name -->' before a block says that the block is the region between
'// example-begin name' and '// example-end name' of a source file, and '<!-- output: name -->' that it is what
a program prints: all of it if the program is called name, else what follows its line '=== name'. Every block of C++
in README.md and docs/guide must carry such a line. Links between documents must lead somewhere."""

import pathlib
import re
import subprocess
import sys
import textwrap

BLOCK = re.compile(r"(?:^<!-- (example|output): (\S+) -->\n+)?^```([^\n`]*)\n(.*?)^```$", re.M | re.S)
REGION = re.compile(r"^[ \t]*// example-(begin|end) (\S+)\n", re.M)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)#\s]+)[^)\s]*\)")


def regions_of(text):
    """The marked regions of a source file, without their common indentation and without markers inside."""
    found, open_at = {}, {}
    for mark in REGION.finditer(text):
        kind, name = mark.groups()
        if kind == "begin":
            open_at[name] = mark.end()
        else:
            found[name] = textwrap.dedent(REGION.sub("", text[open_at.pop(name):mark.start()]))
    if open_at:
        raise SystemExit(f"example-begin without example-end: {', '.join(open_at)}")
    return found


def sections_of(program):
    """What a program printed: all of it under its own name, and each part that follows a line '=== name'."""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    sections, name = {pathlib.Path(program).name: done.stdout}, None
    for line in done.stdout.splitlines(keepends=True):
        if line.startswith("==="):
            name = line[4:].strip() if line.startswith("=== ") else None
            sections[name] = ""
        elif name is not None:
            sections[name] += line
    return sections


def blocks_of(text):
    """(kind, name, language, body, line number) for each fenced block."""
    for block in BLOCK.finditer(text):
        kind, name, language, body = block.groups()
        yield kind, name, language, body, text.count("\n", 0, block.start()) + 1


def complaints(text, regions, outputs, must_mark):
    for kind, name, language, body, line in blocks_of(text):
        if kind is None:
            if language == "cpp" and must_mark:
                yield line, "a block of C++ without '<!-- example: name -->': quote a region that is compiled"
            continue
        source = regions if kind == "example" else outputs
        if name not in source:
            yield line, f"there is no {kind} '{name}'; there are {', '.join(sorted(n for n in source if n))}"
        elif body != source[name]:
            yield line, f"the block differs from {kind} '{name}', which is\n{source[name]}"


def check_the_checker():
    regions = regions_of("  // example-begin a\n  int x;\n    // example-begin b\n    y();\n    // example-end b\n  // example-end a\n")
    assert regions == {"a": "int x;\n  y();\n", "b": "y();\n"}
    good = "text\n\n<!-- example: b -->\n```cpp\ny();\n```\n"
    assert not list(complaints(good, regions, {}, True))
    assert list(complaints(good.replace("y()", "z()"), regions, {}, True))
    assert list(complaints(good.replace(": b", ": c"), regions, {}, True))
    assert list(complaints("```cpp\ny();\n```\n", regions, {}, True))
    assert list(complaints("<!-- output: b -->\n```text\n1\n```\n", regions, {"b": "2\n"}, True))


def main():
    check_the_checker()
    root = pathlib.Path(sys.argv[1])
    regions, outputs, failures, quoted = {}, {}, 0, 0
    sources = [*(root / "tests/docs").glob("*.cpp"), *(root / "examples").rglob("*.hpp"), *(root / "examples").rglob("*.cpp")]
    for source in sorted(sources):
        for name, body in regions_of(source.read_text()).items():
            if name in regions:
                raise SystemExit(f"{source}: a second region '{name}'; names must differ")
            regions[name] = body
    for program in sys.argv[2:]:
        outputs |= sections_of(program)

    documents = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    for document in documents:
        text = document.read_text()
        strict = document.name == "README.md" or document.parent.name == "guide"
        quoted += sum(1 for block in blocks_of(text) if block[0])
        for line, complaint in complaints(text, regions, outputs, strict):
            failures += 1
            print(f"{document.relative_to(root)}:{line}: {complaint}")
        for target in LINK.findall(text):
            if "://" not in target and not (document.parent / target).exists():
                failures += 1
                print(f"{document.relative_to(root)}: a link to {target}, which does not exist")
    print(f"{quoted} quoted blocks in {len(documents)} documents, {failures} complaints")
    sys.exit(failures > 0 or quoted == 0)


main()
