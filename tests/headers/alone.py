# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone, twice in a row, without a warning; with g++ those in detail folders do too.
usage: alone.py COMPILER SOURCE_ROOT BUILD_ROOT"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import WARNINGS, find_compiler, in_parallel, project_flags, run

compiler = find_compiler(sys.argv[1])
include = pathlib.Path(sys.argv[2]) / "include"
flags = project_flags(sys.argv[3])


def check(header):
    line = f"#include <{header}>\n"
    return run([compiler, *flags, *WARNINGS, "-fsyntax-only", "-x", "c++", "-"], line + line)


headers = sorted(str(h.relative_to(include)) for h in include.rglob("*.hpp") if sys.argv[1] == "g++" or h.parent.name != "detail")
failures = 0
for header, (worked, output) in zip(headers, in_parallel(check, headers)):
    if not worked:
        failures += 1
        print(f"FAIL {header}\n{output}")
print(f"{len(headers) - failures} of {len(headers)} headers compile alone with {sys.argv[1]}")
sys.exit(failures > 0 or not headers)
