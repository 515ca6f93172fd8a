# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, twice in a row, without a warning.

One file proves it for several: for a chain, each header of which includes the one before it, itself or through others. Its
first header compiles alone, and to a later one the forerunner gives nothing that it does not include anyway, only earlier.
Earlier could help nobody but a header that lacks an include, and that one fails in a chain of its own, which holds nothing
but what it includes. Few chains cover all headers.
usage: alone.py COMPILER SOURCE_ROOT BUILD_ROOT"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import WARNINGS, find_compiler, in_parallel, project_flags, run

compiler = find_compiler(sys.argv[1])
include = pathlib.Path(sys.argv[2]) / "include"
flags = project_flags(sys.argv[3])


def reached(header, seen):
    """`header` and all that it includes, added to `seen`."""
    if header not in seen:
        seen.add(header)
        text = (include / header).read_text()
        for other in re.finditer(r'^#include [<"](espalier/[^">]+)[">]', text, re.M):
            assert "\nnamespace " not in text[:other.start()], f"{header} includes {other[1]} after code; see above"
            reached(other[1], seen)
    return seen


def chains(headers):
    """As few lists as possible, each header in one of them and each including the one before it (Dilworth, by matching)."""
    below = {h: sorted(reached(h, set()) & set(headers) - {h}) for h in headers}
    above = {}  # header -> the one that follows it in its chain

    def follow(header, tried):
        for other in below[header]:
            if other not in tried:
                tried.add(other)
                if other not in above or follow(above[other], tried):
                    above[other] = header
                    return True
        return False

    for header in headers:
        follow(header, set())
    found = []
    for header in sorted(set(headers) - set(above.values())):
        chain = [header]
        while chain[-1] in above:
            chain.append(above[chain[-1]])
        found.append(chain)
    return found


def check(headers):
    """Compiles a chain; if that fails, each of its headers, to say which."""
    source = "".join(f"#include <{h}>\n" for h in headers for _ in range(2))
    worked, output = run([compiler, *flags, *WARNINGS, "-fsyntax-only", "-x", "c++", "-"], source)
    if worked:
        return []
    return [failure for h in headers for failure in check([h])] if len(headers) > 1 else [(headers[0], output)]


headers = sorted(str(h.relative_to(include)) for h in include.rglob("*.hpp"))
covered = chains(headers)
assert sorted(h for chain in covered for h in chain) == headers, "the chains do not cover the headers"
failures = [failure for found in in_parallel(check, covered) for failure in found]
for header, output in failures:
    print(f"FAIL {header}\n{output}")
print(f"{len(headers) - len(failures)} of {len(headers)} headers compile alone with {sys.argv[1]}, in {len(covered)} chains")
sys.exit(bool(failures) or not headers)
