# SPDX-License-Identifier: Apache-2.0
"""tools/docs writes the reference without a warning.
usage: doxygen.py SOURCE_ROOT"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1])
doxygen = shutil.which("doxygen")
if doxygen is None:
    print("SKIP: no doxygen on this machine; tools/docs installs it")
    sys.exit(77)
version = subprocess.run([doxygen, "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
if not version.startswith("1.9."):
    print(f"SKIP: doxygen {version} is here; what it warns of differs between versions, and 1.9 is the one that counts")
    sys.exit(77)

with tempfile.TemporaryDirectory() as folder:
    done = subprocess.run([root / "tools/docs", "--output", folder], capture_output=True, text=True, check=False)
    print(done.stderr, end="")
    pages = list(pathlib.Path(folder, "html").glob("*.html"))
    for page in ("structespalier_1_1Structured.html", "classespalier_1_1EigenCpu.html", "conceptespalier_1_1Backend.html"):
        if not pathlib.Path(folder, "html", page).exists():
            sys.exit(f"{page} was not written")
    print(f"doxygen {version}: {len(pages)} pages, {done.stderr.count('warning:')} warnings")
    sys.exit(done.returncode)
