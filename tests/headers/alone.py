# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone, twice in a row, without a warning; with g++ those in detail folders do too.

A header that includes another finds all that the other brings, wherever it is included; so a chain, each header of which
includes the one before it (itself or through others), proves as one file what it proves as several: the first compiles
alone, and to each further one its forerunner gives nothing that it does not include itself. Few chains cover all headers.
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
        for other in re.findall(r"^#include <(espalier/[^>]+)>", (include / header).read_text(), re.M):
            reached(other, seen)
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
    source = "".join(f"#include <{h}>\n" for h in headers for _ in range(2))
    return run([compiler, *flags, *WARNINGS, "-fsyntax-only", "-x", "c++", "-"], source)


headers = sorted(str(h.relative_to(include)) for h in include.rglob("*.hpp") if sys.argv[1] == "g++" or h.parent.name != "detail")
covered = chains(headers)
assert sorted(h for chain in covered for h in chain) == headers, "the chains do not cover the headers"
failures = 0
for chain, (worked, output) in zip(covered, in_parallel(check, covered)):
    if not worked:
        failures += 1
        print(f"FAIL {' < '.join(chain)}\n{output}")
print(f"{len(headers)} headers in {len(covered)} chains, {failures} do not compile alone with {sys.argv[1]}")
sys.exit(failures > 0 or not headers)
