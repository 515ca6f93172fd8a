# SPDX-License-Identifier: Apache-2.0
"""Runs an example as a user would, and ends the test where it does not end as it should."""

import functools
import subprocess
import sys


def run(*command, status=0):
    """What the command printed, if it ended with that status."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != status:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}, not {status}:\n{done.stderr}")
    return done


def runner(program):
    """run(arguments..., status=0) of that program."""
    return functools.partial(run, program)
