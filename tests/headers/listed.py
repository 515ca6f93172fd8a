# SPDX-License-Identifier: Apache-2.0
"""Every committed *_test.cpp is named in tests/meson.build, and every name there has its file: a test that nobody
runs proves nothing.
usage: listed.py SOURCE_ROOT"""

import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
if (root / ".git").exists() and shutil.which("git"):
    # Someone's unfinished file is theirs until it is committed.
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "tests/**/*_test.cpp"]
    files = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
else:
    files = [p.relative_to(root).as_posix() for p in (root / "tests").rglob("*_test.cpp")]

listed = set(re.findall(r"^  '(\w+/[\w/]+)':", (root / "tests/meson.build").read_text(), re.M))
missing = sorted(f for f in files if f[len("tests/"):-len("_test.cpp")] not in listed)
absent = sorted(name for name in listed if not (root / f"tests/{name}_test.cpp").exists())
for name in missing:
    print(f"{name} is not listed in tests/meson.build")
for name in absent:
    print(f"tests/meson.build lists {name}, but there is no tests/{name}_test.cpp")
print(f"{len(files) - len(missing)} of {len(files)} test files are listed")
sys.exit(bool(missing or absent))
