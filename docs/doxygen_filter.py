# SPDX-License-Identifier: Apache-2.0
"""Shows Doxygen our headers as it wants to read them; each line stays on its line.

    // what and why          (the lines after the SPDX line)    ->  /// the file's description
    ///   indented            (code, aligned lists)              ->  preformatted
    /// Shapes    x [N, H]    (a label, two blanks or more)      ->  a line of its own, the label in bold
    Index keep = 0;  // why   (a member of a struct or enum)     ->  the member's description
"""

import html
import re
import sys

# "Shapes    x [N, H, W, C]", "**Paper** Krizhevsky, ...", "Archetype tests/archetypes/op.hpp"
LABEL = re.compile(r"^ (?:([A-Z][A-Za-z]{2,12})  +|\*\*([A-Z][A-Za-z]{2,12})\*\* |(Archetype|Laws|Law) )(\S.*)$")
MIDDLE = re.compile(r"   +(Channels|Shapes|Archetype)  +")
MEMBER = re.compile(r"^(\s+[^/\s].*[;,{}\w]\s*) // (?!NOLINT)(\S.*)$")


def escaped(text):
    """Markdown and HTML in ordinary prose: angle brackets are code here, never tags."""
    return text.replace("<", "\\<").replace(">", "\\>")


def comment_block(lines):
    """One run of '///' lines."""
    bodies = [re.match(r"\s*///(.*)$", line).group(1) for line in lines]
    indents = [line[:len(line) - len(line.lstrip())] for line in lines]
    is_code, after_label = [], None
    for body in bodies:
        label = LABEL.match(body)
        if label:
            after_label = label.group(1) or label.group(2) or label.group(3)
        elif not body.startswith("   "):
            after_label = None
        # What a label's text continues with is prose, but what is to be written is code.
        is_code.append(after_label == "Write" if label else body.startswith("   ") and after_label in (None, "Write"))
    out = []
    for i, body in enumerate(bodies):
        if is_code[i]:
            start = " <pre>" if i == 0 or not is_code[i - 1] else ""
            end = "" if i + 1 < len(bodies) and is_code[i + 1] else "</pre>"
            out.append(indents[i] + "///" + start + html.escape(body[1:] if start else body, quote=False).replace("\\", "\\\\") + end)
            continue
        label = LABEL.match(body)
        if label:
            name = label.group(1) or label.group(2) or label.group(3)
            body = f" <br>**{name}** {escaped(label.group(4))}"
        else:
            body = escaped(body)
        out.append(indents[i] + "///" + MIDDLE.sub(r" <br>**\1** ", body))
    return out


class Scopes:
    """Which braces are open, as far as telling structs and enums from everything else needs it."""

    def __init__(self):
        self.open, self.text = [], ""

    def in_members(self):
        return bool(self.open) and self.open[-1]

    def read(self, line):
        code = re.sub(r'"(\\.|[^"\\])*"|\'(\\.|[^\'\\])\'', '""', line.split("//")[0] if '"' not in line else re.sub(r"\s//.*$", "", line))
        for char in code:
            if char == "{":
                head = re.sub(r"template\s*<[^{;]*?>\s*(?=\w)", "", self.text)
                self.open.append(bool(re.search(r"\b(struct|class|enum|union)\b", head)) and "(" not in head and "=" not in head)
                self.text = ""
            elif char == "}":
                if self.open:
                    self.open.pop()
                self.text = ""
            elif char == ";":
                self.text = ""
            else:
                self.text += char


def filtered(text):
    lines, out, i, scopes = text.split("\n"), [], 0, Scopes()
    if lines and lines[0].startswith("// SPDX"):
        out.append("/// \\file")
        i = 1
        while i < len(lines) and lines[i].startswith("//"):
            out.append("///" + escaped(lines[i][2:]))
            i += 1
    while i < len(lines):
        if lines[i].lstrip().startswith("///"):
            start = i
            while i < len(lines) and lines[i].lstrip().startswith("///"):
                i += 1
            out += comment_block(lines[start:i])
            continue
        inside = scopes.in_members()
        scopes.read(lines[i])
        member = MEMBER.match(lines[i])
        if inside and scopes.in_members() and member:
            out.append(f"{member.group(1)} ///< {escaped(member.group(2))}")
        else:
            out.append(lines[i])
        i += 1
    return "\n".join(out)


def without_foreign_links(text):
    """A document's links to what is not in the reference become their text."""
    return re.sub(r"\[([^\]]+)\]\([^)]*bench/[^)]*\)", r"\1", text)


if __name__ == "__main__":
    content = open(sys.argv[1], encoding="utf-8").read()
    sys.stdout.write(without_foreign_links(content) if sys.argv[1].endswith(".md") else filtered(content))
