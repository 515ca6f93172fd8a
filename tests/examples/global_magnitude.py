# SPDX-License-Identifier: Apache-2.0
"""`global_magnitude`: exact counts, seeds that have the bits they have alone, and a run that goes on where it stopped.
usage: global_magnitude.py GLOBAL_MAGNITUDE"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from running import runner

program = sys.argv[1]
run = runner(program)


def fingerprints(folder):
    points = [json.loads(f.read_text()) for f in sorted(pathlib.Path(folder, "points").glob("*.json"))]
    return {(p["kind"], p["seed"], p["round"]): p["fingerprint"] for p in points}


# VGG-16's convolutions: 14,710,464 weights, of which 20 % and 5 % survive; its linear layers are kept.
found = json.loads(run("--arch", "vgg16", "--dry-run", "--json", "--sparsity", "0.8", "--sparsity", "0.95").stdout)
convolutions = sum(v for k, v in found["pruned"][0]["layers"].items() if k.startswith("features"))
assert found["weights"] == 14_710_464 + 512 * 512 + 512 * 10, found["weights"]
assert convolutions == 14_710_464 - round(0.8 * 14_710_464), convolutions
assert found["pruned"][1]["survivors"] == found["weights"] - round(0.95 * 14_710_464), found["pruned"][1]["survivors"]

if not pathlib.Path(os.environ.get("ESPALIER_FASHION_MNIST", "/nowhere")).is_dir():
    print("the counts are right")
    print("SKIP: no Fashion-MNIST here; the trainings were left out")
    sys.exit(77)

QUICK = ("--arch", "lenet300", "--quick", "--train-images", "1000")
with tempfile.TemporaryDirectory() as folder:
    both, alone, halted = f"{folder}/both", f"{folder}/alone", f"{folder}/halted"
    table = json.loads(run(*QUICK, "--seeds", "2", "--out", both, "--json").stdout)
    expected = fingerprints(both)
    assert len(table["points"]) == len(expected) == 2 * 5, len(expected)
    for wanted in ("results.csv", "removed.csv", "accuracy.csv", "report.html", "run.jsonl"):
        assert pathlib.Path(both, wanted).stat().st_size > 0, wanted
    run(*QUICK, "--seed", "2", "--out", alone)
    assert fingerprints(alone) == {k: v for k, v in expected.items() if k[1] == 2}, "a seed alone found other networks"

    # Stopped by Ctrl-C when the first network is there, then resumed: it is not trained again.
    process = subprocess.Popen([program, *QUICK, "--seeds", "2", "--out", halted], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(pathlib.Path(halted, "points").glob("*.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    status = process.wait()
    assert status in (0, 130), status
    kept = {f: f.stat().st_mtime_ns for f in pathlib.Path(halted, "points").glob("*.json")}
    run(*QUICK, "--seeds", "2", "--out", halted, "--resume")
    assert fingerprints(halted) == expected, "a resumed run found other networks"
    assert all(f.stat().st_mtime_ns == when for f, when in kept.items()), "a network was trained twice"
    print(f"the counts are right; {len(expected)} networks, the same alone and after a stop (status {status}, {len(kept)} kept)")
