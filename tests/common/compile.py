# SPDX-License-Identifier: Apache-2.0
"""Compiles small programs the way the tests are compiled: the flags come from the build folder, so that
include paths, language standard and processor are those of the project whatever the dependencies' origin."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

SKIP = 77
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def project_flags(build):
    """The -I, -isystem, -D, -std and -m arguments that compile tests/common/doctest_main.cpp."""
    commands = json.loads((pathlib.Path(build) / "compile_commands.json").read_text())
    entry = next(c for c in commands if c["file"].endswith("tests/common/doctest_main.cpp"))
    words = iter(shlex.split(entry["command"]))
    flags = []
    for word in words:
        if word in ("-I", "-isystem"):
            word += next(words)
        for option in ("-isystem", "-I"):
            if word.startswith(option):
                # Relative folders count from the build folder; the generated object folder does not matter here.
                flags.append(option + str(pathlib.Path(entry["directory"], word[len(option):]).resolve()))
                break
        else:
            if word.startswith(("-D", "-std=", "-march=", "-pthread")):
                flags.append(word)
    return flags


def find_compiler(name):
    """The compiler's path; where there is none, says so and ends the test as skipped."""
    path = shutil.which(name)
    if path is None:
        print(f"SKIP: no {name} on this machine")
        sys.exit(SKIP)
    return path


def run(command, source=None):
    """(worked, everything it printed)"""
    done = subprocess.run(command, input=source, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "LC_ALL": "C"}, check=False)
    return done.returncode == 0, done.stdout


def in_parallel(function, items):
    """function(item) for each item, as many at once as there are processors; results in order."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(function, items))
