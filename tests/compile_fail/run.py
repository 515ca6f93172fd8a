# SPDX-License-Identifier: Apache-2.0
"""Misuse is met by a sentence: each case here must fail to compile, and say what its first line expects.

    // expect: <regex>       the first line; searched in the compiler's output with runs of space made one
    #ifdef ESPALIER_FIXED    optional: with this defined, the same file must compile, so that it is the
                             mistake that is refused and not something beside it

usage: run.py COMPILER SOURCE_ROOT BUILD_ROOT"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import find_compiler, in_parallel, project_flags, run

compiler = find_compiler(sys.argv[1])
folder = pathlib.Path(sys.argv[2]) / "tests/compile_fail"
flags = project_flags(sys.argv[3])
MARK = "// expect: "


def check(case):
    """What is wrong with the case; empty if it fails as it should."""
    text = case.read_text()
    first = text.split("\n", 1)[0]
    if not first.startswith(MARK):
        return f"its first line should be '{MARK}<regex>', but is '{first}'"
    command = [compiler, *flags, "-fsyntax-only", str(case)]
    worked, output = run(command)
    if worked:
        return "compiles, and should not"
    if not re.search(first[len(MARK):], re.sub(r"\s+", " ", output)):
        return f"fails, but does not say /{first[len(MARK):]}/:\n{output}"
    if "ESPALIER_FIXED" in text:
        worked, output = run([*command, "-DESPALIER_FIXED"])
        if not worked:
            return f"does not compile even with ESPALIER_FIXED:\n{output}"
    return ""


cases = sorted(folder.glob("*.cpp"))
failures = 0
for case, wrong in zip(cases, in_parallel(check, cases)):
    failures += bool(wrong)
    print(f"{'FAIL' if wrong else 'ok  '} {case.stem}" + (f": {wrong}" if wrong else ""))
print(f"{len(cases) - failures} of {len(cases)} mistakes are refused with their sentence by {sys.argv[1]}")
sys.exit(failures > 0 or not cases)
