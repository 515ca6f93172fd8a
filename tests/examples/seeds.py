# SPDX-License-Identifier: Apache-2.0
"""`sensitivity --seeds`: each seed's curves and accuracies are there, their mean is the mean of those that each seed has
alone, and a run that was stopped goes on to the same numbers.
usage: seeds.py SENSITIVITY"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from idx import write_images
from running import runner

program = sys.argv[1]
run = runner(program)


def scores(scan):
    return [scan["score"]] + [p["score"] for g in scan["groups"] for p in g["points"]]


refused = run("--seeds", "2", "--dry-run", status=2)
assert not refused.stdout and "--seeds" in refused.stderr and "--dry-run" in refused.stderr, refused

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    QUICK = ("--arch", "lenet300", "--quick", "--data", write_images(folder / "images", train=1000, test=600, side=12), "--scan-images", "300", "--budget-params", "0.5", "--json")
    both, halted = folder / "both", folder / "halted"
    found = json.loads(run(*QUICK, "--seed", "7", "--seeds", "2", "--check", "--out", str(both)).stdout)
    each = {s["seed"]: s for s in found["seeds"]}
    assert sorted(each) == [7, 8], each.keys()
    assert each[7]["scan"] != each[8]["scan"], "two seeds have one network"
    assert 0.48 <= found["left"] <= 0.5, found["left"]

    mean = [sum(pair) / 2 for pair in zip(scores(each[7]["scan"]), scores(each[8]["scan"]), strict=True)]
    assert all(abs(a - b) < 1e-12 for a, b in zip(scores(found["scan"]), mean, strict=True)), (scores(found["scan"]), mean)
    # 97.5 % quantile of Student's t with one degree of freedom; half the distance of two is their standard error.
    rows = dict(line.split(",")[::2] for line in (both / "results.csv").read_text().splitlines()[1:])
    for network, key in (("dense", "dense"), ("all groups alike", "all_groups_alike"), ("by sensitivity", "by_sensitivity")):
        a, b = each[7][key], each[8][key]
        assert rows[network] == f"{50 * (a + b):.2f} +- {12.706 * 50 * abs(a - b):.2f}", (rows[network], a, b)

    # Each seed alone: the same network, so the same curves and the same accuracy.
    for seed in (7, 8):
        alone = json.loads(run(*QUICK, "--seed", str(seed), "--out", str(folder / f"alone-{seed}")).stdout)
        assert scores(alone["scan"]) == scores(each[seed]["scan"]), f"seed {seed} scans otherwise alone"
        assert alone["networks"][0]["accuracy"] == each[seed]["dense"], (seed, alone["networks"][0])

    # Stopped by Ctrl-C when the first network is there, then resumed: what is there is not made again.
    process = subprocess.Popen([program, *QUICK, "--seed", "7", "--seeds", "2", "--out", str(halted)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(halted.glob("checkpoints/*.safetensors")):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    status = process.wait()
    assert status in (0, 130), status
    kept = {f: f.stat().st_mtime_ns for f in halted.glob("checkpoints/*.safetensors")}
    again = json.loads(run(*QUICK, "--seed", "7", "--seeds", "2", "--out", str(halted), "--resume").stdout)
    assert (again["scan"], again["seeds"]) == (found["scan"], found["seeds"]), "a resumed run found other numbers"
    assert kept and all(f.stat().st_mtime_ns == when for f, when in kept.items()), "a network was trained twice"

    # More seeds join a finished run: the same networks and curves; widths follow from the new mean.
    more = json.loads(run(*QUICK, "--seed", "7", "--seeds", "3", "--out", str(both), "--resume").stdout)
    assert [(s["seed"], s["dense"], s["scan"]) for s in more["seeds"][:2]] == [(s["seed"], s["dense"], s["scan"]) for s in found["seeds"]], more["seeds"]
    assert len(more["seeds"]) == 3, more["seeds"]
print(f"two seeds, their mean and band; the same alone and after a stop (status {status}, {len(kept)} kept)")
