# SPDX-License-Identifier: Apache-2.0
"""Runs an example as a user would, and ends the test where it does not end as it should."""

import subprocess
import sys


def runner(program):
    """run(arguments..., status=0) of that program: what it printed, if it ended with that status."""

    def run(*arguments, status=0):
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != status:
            sys.exit(f"{program} {' '.join(arguments)} ended with status {done.returncode}, not {status}:\n{done.stderr}")
        return done

    return run
