# SPDX-License-Identifier: Apache-2.0
"""The umbrella header compiles in a .cu file. usage: nvcc.py NVCC SOURCE_ROOT BUILD_ROOT"""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import SKIP, project_flags, run

if not sys.argv[1]:
    print("SKIP: no nvcc on this machine")
    sys.exit(SKIP)
umbrella = pathlib.Path(sys.argv[2]) / "include/espalier/espalier.hpp"
if not umbrella.exists():
    print("SKIP: there is no include/espalier/espalier.hpp yet")
    sys.exit(SKIP)

# nvcc knows fewer options than the host compiler, and its device pass must not be told the host's processor.
flags = [f.replace("-isystem", "-isystem=") for f in project_flags(sys.argv[3])
         if f.startswith(("-I", "-isystem", "-D"))]
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "umbrella.cu"
    source.write_text("#include <espalier/espalier.hpp>\n"
                      "__global__ void nothing() {}\n"
                      "int main() { return ESPALIER_VERSION_MAJOR; }\n")
    worked, output = run([sys.argv[1], "-std=c++20", *flags, "-c", str(source), "-o", f"{folder}/umbrella.o"])
print(output if not worked else "the umbrella header compiles under nvcc")
sys.exit(not worked)
