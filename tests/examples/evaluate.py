# SPDX-License-Identifier: Apache-2.0
"""`evaluate` finds in a file what the program that saved it measured: each architecture that an example trains, weights
and tickets; and a LeNet-5 that nobody here trained.
usage: evaluate.py LOTTERY_TICKET GLOBAL_MAGNITUDE SENSITIVITY EVALUATE"""

import json
import math
import pathlib
import struct
import sys
import tempfile

from idx import write_images
from running import run

lottery_ticket, global_magnitude, sensitivity, evaluate = sys.argv[1:]


def evaluated(arch, file, data):
    return json.loads(run(evaluate, "--arch", arch, "--model", str(file), "--data", data, "--json").stdout)


def write_lenet_5(path, answer):
    """Whatever it sees, it answers one class: all weights are zero, one bias of the last layer is not."""
    shapes = {"conv1.weight": (20, 1, 5, 5), "conv1.bias": (20,), "conv2.weight": (50, 20, 5, 5), "conv2.bias": (50,),
              "fc1.weight": (500, 800), "fc1.bias": (500,), "fc2.weight": (10, 500), "fc2.bias": (10,)}
    head, data = {}, b""
    for name, shape in shapes.items():
        values = [0.0] * math.prod(shape)
        if name == "fc2.bias":
            values[answer] = 1.0
        start = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


compared = 0
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)

    data = write_images(folder / "images", train=200, test=100, side=8)
    little = ("--data", data, "--json")

    # A ticket trained again is saved as plain weights.
    for arch in ("lenet-300-100", "conv-2", "conv-4", "conv-6", "resnet20"):
        ticket, trained = folder / arch, folder / f"{arch}-trained"
        run(lottery_ticket, "--arch", arch, "--quick", "--batch", "20", "--iterations", "9", "--rounds", "0", "--rewind", "0", "--out", str(ticket), *little)
        found = json.loads(run(lottery_ticket, "--ticket", f"{ticket}/tickets/seed-1-round-0.safetensors", "--out", str(trained), *little).stdout)
        again = evaluated(arch, trained / "trained.safetensors", data)
        assert again["accuracy"] == found["points"][0]["final_accuracy"] and again["images"] == 100, (arch, again, found)
        compared += 1
    assert evaluated("lenet300", folder / "lenet-300-100-trained/trained.safetensors", data)["params"] == 64 * 300 + 30_000 + 1_000 + 410
    wrong = run(evaluate, "--arch", "conv-4", "--model", f"{folder}/conv-2-trained/trained.safetensors", "--data", data, status=1)
    assert not wrong.stdout and "conv3" in wrong.stderr, wrong

    # Tickets of two rounds rewind to one network; what differs is the mask.
    run(lottery_ticket, "--quick", "--iterations", "5", "--rounds", "1", "--reinitialised", "0", "--out", str(folder / "rounds"), *little)
    losses = [evaluated("lenet-300-100", folder / f"rounds/tickets/seed-1-round-{n}.safetensors", data)["loss"] for n in (0, 1)]
    assert losses[0] != losses[1], losses

    # Trained networks and their masks, in the form of tickets.
    out = folder / "magnitude"
    run(global_magnitude, "--arch", "lenet300", "--quick", "--out", str(out), *little)
    points = [json.loads(f.read_text()) for f in (out / "points").glob("*.json")]
    assert {p["kind"] for p in points} == {"dense", "fine-tuned", "Scratch-E", "Scratch-B", "in rounds"}, points
    for p in points:
        file = out / f"tickets/seed-1-{p['kind']}-{p['round']}.safetensors"
        assert evaluated("lenet300", file, data)["accuracy"] == p["final_accuracy"], p
        compared += 1

    # A scan begins with the whole network; these are all the test images but one, which is too few to measure on.
    out = folder / "scan"
    found = json.loads(run(sensitivity, "--quick", "--scan-images", "99", "--fractions", "0.5", "--out", str(out), *little).stdout)
    dense = json.loads(run(evaluate, "--arch", "small-vgg", "--model", f"{out}/dense.safetensors", "--test-images", "99", *little).stdout)
    assert dense["accuracy"] == found["scan"]["score"], (dense, found["scan"]["score"])
    slim = evaluated("small-vgg", out / "by_sensitivity.safetensors", data)
    assert (slim["params"], slim["macs"]) == (found["pruned"]["params"], found["pruned"]["macs"]), (slim, found["pruned"])
    compared += 2

    # Of fifteen images two are of class 3, one of class 8.
    data = write_images(folder / "large", train=10, test=15, side=28)
    for answer, share in ((3, 2 / 15), (8, 1 / 15)):
        write_lenet_5(folder / "lenet-5.safetensors", answer)
        found = evaluated("lenet-5", folder / "lenet-5.safetensors", data)
        assert found["params"] == 430_500 + 580 and found["accuracy"] == share, found
print(f"{compared} files evaluate as they were measured; a LeNet-5 is read")
