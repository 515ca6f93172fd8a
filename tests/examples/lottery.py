# SPDX-License-Identifier: Apache-2.0
"""`lottery_ticket`: the ladder of survivors is the paper's; a ticket trained again, and a run that was stopped and
resumed, end with the same bytes.
usage: lottery.py LOTTERY_TICKET"""

import ctypes
import json
import math
import os
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

# LeNet-300-100 (235,200 + 30,000 + 1,000 weights), 20 % a round and 10 % of the last layer: exact counts. The paper's
# labels 51.3, 21.1, 13.5, 7.0, 3.6, 1.9 and 1.2 % are rounds 3, 7, 9, 12, 15, 18 and 20.
LADDER = {0: 266_200, 1: 213_060, 2: 170_538, 3: 136_511, 4: 109_282, 5: 87_490, 7: 56_094, 9: 35_981, 10: 28_823,
          12: 18_506, 15: 9_537, 16: 7_650, 18: 4_928, 20: 3_179}


def f32(x):
    return ctypes.c_float(x).value


# The same from their sources: how many of a pool's `n` weights, of which `alive` live, go in round r, if no two are equal
# and a share p is to go. `everywhere` counts the layers that are left alone too.
GONE = {
    "lottery_reference": lambda n, alive, everywhere, p, r: round(p * alive) + 1,
    "torch_prune": lambda n, alive, everywhere, p, r: round(p * alive),
    "open_lth": lambda n, alive, everywhere, p, r: math.ceil(p * everywhere) + 1,
    "rethinking": lambda n, alive, everywhere, p, r: int(n * (1 - (1 - p) ** r)) + 1 - (n - alive),
    "rethinking_iterative": lambda n, alive, everywhere, p, r: int(p * alive) + 1,
    "tfmot": lambda n, alive, everywhere, p, r: alive - max(round(f32(n * f32(1 - f32(1 - (1 - p) ** r)))), 1),
}


def ladder(rule, pools, ignored=0):
    alive, found = [n for n, p in pools], []
    for r in range(1, 21):
        everywhere = sum(alive) + ignored
        found.append(everywhere)
        alive = [a - GONE[rule](n, a, everywhere, p, r) for a, (n, p) in zip(alive, pools)]
    return [*found, sum(alive) + ignored]


def fingerprints(folder):
    points = [json.loads(f.read_text()) for f in sorted(pathlib.Path(folder, "points").glob("*.json"))]
    return {(p["kind"], p["seed"], p["round"]): p["fingerprint"] for p in points}


found = json.loads(run("--arch", "lenet-300-100", "--dry-run", "--json").stdout)
assert [found["survivors"][r] for r in LADDER] == list(LADDER.values()), found["survivors"]
layer_by_layer, together = [(235_200, 0.2), (30_000, 0.2), (1_000, 0.1)], [(266_200, 0.2)]
lenet = {rule: ladder(rule, layer_by_layer) for rule in ("lottery_reference", "torch_prune", "tfmot")}
lenet |= {rule: ladder(rule, together) for rule in ("rethinking", "rethinking_iterative")}
lenet["open_lth"] = ladder("open_lth", [(265_200, 0.2)], ignored=1_000)
assert [lenet["lottery_reference"][r] for r in (3, 7, 15)] == [136_503, 56_081, 9_518]  # a weight more a layer and round than the paper says
assert found["counting"] == {"exact": found["survivors"], **lenet}, (found["counting"], lenet)

# Ranked as one without the last layer; open_lth's CIFAR ResNets have that in the pool.
found = json.loads(run("--arch", "resnet20", "--dry-run", "--json").stdout)
linear, weights = 640, found["survivors"][0]
resnet = {rule: ladder(rule, [(weights - linear, 0.2)], ignored=linear) for rule in GONE if rule != "open_lth"}
resnet["open_lth"] = ladder("open_lth", [(weights, 0.2)])
assert found["counting"] == {"exact": found["survivors"], **resnet}, (found["counting"], resnet)
for arch, weights in {"conv-2": 4_300_992, "conv-4": 2_425_024, "conv-6": 2_261_184}.items():
    found = json.loads(run("--arch", arch, "--dry-run", "--json").stdout)
    assert found["survivors"][0] == weights, (arch, found["survivors"][0])

if not pathlib.Path(os.environ.get("ESPALIER_FASHION_MNIST", "/nowhere")).is_dir():
    print("the ladder is right")
    print("SKIP: no Fashion-MNIST here; the trainings were left out")
    sys.exit(77)

QUICK = ("--quick", "--seeds", "2", "--iterations", "100", "--rounds", "2", "--structured")
with tempfile.TemporaryDirectory() as folder:
    whole, halted = f"{folder}/whole", f"{folder}/halted"
    table = run(*QUICK, "--out", whole, "--json").stdout
    points = json.loads(table)["points"]
    kinds = {p["kind"] for p in points}
    assert kinds == {"ticket", "re-initialised 1", "random mask", "structured"}, kinds
    expected = fingerprints(whole)
    assert len(expected) == len(points) == 2 * (3 + 2 + 1), len(points)

    again = json.loads(run("--ticket", f"{whole}/tickets/seed-2-round-2.safetensors", "--iterations", "7", "--out", f"{folder}/again", "--json").stdout)
    assert again["points"][0]["fingerprint"] == expected["ticket", 2, 2], "the ticket trained to other bytes"

    # On other images it would end with other bytes, so it is refused.
    other = write_images(f"{folder}/other", 300, 100, 16)
    refused = run("--ticket", f"{whole}/tickets/seed-2-round-2.safetensors", "--data", other, "--out", f"{folder}/refused", status=1).stderr
    assert "needed 3000 of Fashion-MNIST" in refused, refused
    run(*QUICK[:1], "--iterations", "5", "--rounds", "0", "--train-images", "200", "--out", f"{folder}/few")
    refused = run("--ticket", f"{folder}/few/tickets/seed-1-round-0.safetensors", "--data", other, "--out", f"{folder}/refused", status=1).stderr
    assert "found 200 images of" in refused and "needed 200 of Fashion-MNIST" in refused, refused

    # Without its dead neurons (here there are none) the ticket is a file that trains like any other.
    slim = run("--ticket", f"{whole}/tickets/seed-2-round-2.safetensors", "--structured", "--out", f"{folder}/slim").stdout
    assert slim.startswith("dead channels: 0 go, 266610 -> 266610 parameters"), slim
    dead = json.loads(run("--ticket", f"{whole}/tickets/seed-2-round-2.safetensors", "--structured", "--out", f"{folder}/slim", "--force", "--json").stdout)["dead"]
    assert (dead["removed_channels"], dead["params_before"], dead["params_after"], dead["groups"]) == (0, 266_610, 266_610, []), dead
    again = json.loads(run("--ticket", f"{folder}/slim/without-dead.safetensors", "--out", f"{folder}/slimmer", "--json").stdout)
    assert again["points"][0]["fingerprint"] == expected["ticket", 2, 2], "the slim ticket trained to other bytes"

    # A ResNet-20 rewound to step 4, not to 0.
    run("--arch", "resnet20", "--quick", "--iterations", "9", "--rewind", "4", "--rounds", "1", "--reinitialised", "0", "--data", other, "--out", f"{folder}/late")
    again = json.loads(run("--ticket", f"{folder}/late/tickets/seed-1-round-1.safetensors", "--data", other, "--out", f"{folder}/late-again", "--json").stdout)
    assert again["points"][0]["fingerprint"] == fingerprints(f"{folder}/late")["ticket", 1, 1], "the late ticket trained to other bytes"

    # Stopped by Ctrl-C when the first points are there, then resumed.
    process = subprocess.Popen([program, *QUICK, "--out", halted], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(pathlib.Path(halted, "points").glob("*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    status = process.wait()
    assert status in (0, 130), status
    run(*QUICK, "--out", halted, "--resume")
    assert fingerprints(halted) == expected, "a resumed run found other networks"
    print(f"the ladder is right; {len(expected)} networks, the same after a stop (status {status}) and from a ticket's file")
