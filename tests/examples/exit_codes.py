# SPDX-License-Identifier: Apache-2.0
"""Every example explains itself, and a mistake on its command line is status 2 and a sentence on stderr.
usage: exit_codes.py PROGRAM..."""

import subprocess
import sys


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


for program in sys.argv[1:]:
    done = run(program, "--help")
    assert done.returncode == 0 and done.stdout.startswith("Examples:\n  " + program.rsplit("/", 1)[-1]) and not done.stderr, (program, done)
    done = run(program, "--version")
    assert done.returncode == 0 and "espalier" in done.stdout, (program, done)
    done = run(program, "--jsn")
    assert done.returncode == 2 and not done.stdout and "--json" in done.stderr, (program, done)
    done = run(program, "--threads", "many")
    assert done.returncode == 2 and not done.stdout and "--threads" in done.stderr, (program, done)
    # A folder without data is not a crash: it is named, and nothing is printed as a result.
    done = run(program, "--data", "/nowhere/at/all", "--json")
    assert done.returncode in (1, 2) and not done.stdout and len(done.stderr) > 20, (program, done)
print(f"{len(sys.argv) - 1} programs explain themselves")
