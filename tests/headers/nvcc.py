# SPDX-License-Identifier: Apache-2.0
"""Under nvcc the umbrella header compiles in a .cu file, and the README's program prints what it prints elsewhere.
usage: nvcc.py NVCC SOURCE_ROOT BUILD_ROOT"""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
from compile import SKIP, project_flags, run

if not sys.argv[1]:
    print("SKIP: no nvcc on this machine")
    sys.exit(SKIP)
readme = pathlib.Path(sys.argv[2]) / "tests/docs/readme.cpp"
PRINTS = """14987722 parameters, 313463808 multiply-adds
5397034 parameters, 206279680 multiply-adds
"""

# nvcc knows fewer options than the host compiler, and its device pass must not be told the host's processor.
# 20012: what Eigen says of its own constructors.
flags = ["-std=c++20", "-diag-suppress", "20012", *(f.replace("-isystem", "-isystem=") for f in project_flags(sys.argv[3])
                                                   if f.startswith(("-I", "-isystem", "-D")))]
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(folder) / "umbrella.cu"
    source.write_text("#include <espalier/espalier.hpp>\n"
                      "static_assert(espalier::Module<espalier::models::Mlp<espalier::Reference>>);\n"
                      "__global__ void nothing() {}\n"
                      "int main() { return ESPALIER_VERSION_MAJOR; }\n")
    worked, output = run([sys.argv[1], *flags, "-c", str(source), "-o", f"{folder}/umbrella.o"])
    if worked:
        worked, output = run([sys.argv[1], *flags, "-x", "cu", str(readme), "-o", f"{folder}/readme"])
    if worked:
        output = subprocess.run([f"{folder}/readme"], stdout=subprocess.PIPE, text=True, check=True).stdout
        worked = output == PRINTS
print(output if not worked else "the umbrella header compiles under nvcc, and the README's program runs")
sys.exit(not worked)
