# SPDX-License-Identifier: Apache-2.0
"""All examples compile over the archetype of Backend, so with any backend.
usage: any_backend.py COMPILER SOURCE_ROOT BUILD_ROOT"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import WARNINGS, find_compiler, project_flags, run

source = pathlib.Path(sys.argv[2]) / "tests/examples/any_backend.cpp"
command = [find_compiler(sys.argv[1]), *project_flags(sys.argv[3]), *WARNINGS, "-fsyntax-only", str(source)]
worked, output = run(command)
print("the examples compile over the archetype" if worked else output)
sys.exit(not worked)
