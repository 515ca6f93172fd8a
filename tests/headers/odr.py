# SPDX-License-Identifier: Apache-2.0
"""Two translation units that each include every header link into one program: nothing lacks its `inline`.
usage: odr.py COMPILER SOURCE_ROOT BUILD_ROOT"""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import find_compiler, in_parallel, project_flags, run

compiler = find_compiler(sys.argv[1])
include = pathlib.Path(sys.argv[2]) / "include"
flags = project_flags(sys.argv[3])
headers = sorted(h.relative_to(include) for h in include.rglob("*.hpp"))
everything = "".join(f"#include <{h}>\n" for h in headers)

with tempfile.TemporaryDirectory() as folder:
    units = {"one": "int two();\nint main() { return two(); }\n", "two": "int two() { return 0; }\n"}
    objects = [f"{folder}/{name}.o" for name in units]

    def compile_unit(name):
        # -O0 keeps every non-inline function, and lets each unit show the linker what it defines.
        return run([compiler, *flags, "-O0", "-c", "-x", "c++", "-", "-o", f"{folder}/{name}.o"],
                   everything + units[name])

    steps = in_parallel(compile_unit, units)
    if all(worked for worked, _ in steps):
        steps.append(run([compiler, *objects, "-pthread", "-lz", "-o", f"{folder}/program"]))
    if all(worked for worked, _ in steps):
        steps.append(run([f"{folder}/program"]))
    for worked, output in steps:
        if not worked:
            print(output)
            sys.exit(1)
print(f"two units with {len(headers)} headers each make one program")
