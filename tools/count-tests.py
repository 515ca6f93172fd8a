# SPDX-License-Identifier: Apache-2.0
"""Turns Meson's testlog.json into skips with their reasons and the closing line of tools/test.
usage: count-tests.py TESTLOG [STATUS_OF_MESON]"""

import json
import sys

tests = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8", errors="replace") if line.strip()]
meson_status = int(sys.argv[2]) if len(sys.argv) > 2 else 0
passed, failed, skipped = [], [], []
for test in tests:
    kind = {"OK": passed, "EXPECTEDFAIL": passed, "SKIP": skipped}.get(test["result"], failed)
    kind.append(test)


def reasons(test):
    """The distinct lines with which a test says what it left out."""
    lines = (test.get("stdout") or "").splitlines() + (test.get("stderr") or "").splitlines()
    said = dict.fromkeys(line.strip()[len("SKIP: "):] for line in lines if line.strip().startswith("SKIP: "))
    return list(said)


for test in skipped:
    print(f"skipped  {test['name']}: {'; '.join(reasons(test)) or 'no reason given'}")
for test in passed:
    if reasons(test):
        print(f"passed without some cases  {test['name']}: {'; '.join(reasons(test))}")
for test in failed:
    print(f"FAILED   {test['name']} ({test['result'].lower()})")
if meson_status and not failed:
    print(f"no test failed, but meson ended with status {meson_status}")
print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
sys.exit(bool(failed) or meson_status != 0 or not tests)
