#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One whole training of the lottery paper, ours and PyTorch's, in turns of a few seconds: LeNet-300-100 on MNIST or
Fashion-MNIST, batch 60, Adam 1.2e-3, and every 100 iterations a look at 5,000 held-out images, the network of the lowest
loss kept. Both hold all images in memory. One side stands still while the other runs; the time of its turns is counted,
ours from its start (reading the files included), PyTorch's from its second step.

Examples:
  bench/pytorch/training.py --data MNIST_DIR
  bench/pytorch/training.py --data MNIST_DIR --iterations 5000 --ours build-native/examples/lottery_ticket
"""

import argparse
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "pytorch"))
from networks import LeNet300100  # noqa: E402

HELD_OUT, BATCH, EVERY, RATE = 5_000, 60, 100, 1.2e-3


def idx(folder, name, header):
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            return torch.from_numpy(numpy.frombuffer(data, numpy.uint8, offset=header).copy())
    sys.exit(f"{folder} has no {name}: name a folder of IDX files with --data")


def images(folder, part):
    x = idx(folder, f"{part}-images-idx3-ubyte", 16).reshape(-1, 784).float() / 255
    return (x - x.mean()) / x.std(), idx(folder, f"{part}-labels-idx1-ubyte", 8).long()


def trainer(folder):
    """A function that does some iterations, and one that says how the best network does on the test images."""
    torch.manual_seed(1)
    x, labels = images(folder, "train")
    order = torch.randperm(len(x))
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    held_x, held_labels, x, labels = x[held], labels[held], x[kept], labels[kept]
    model, loss = LeNet300100(), nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    state = {"at": 0, "batches": [], "lowest": float("inf"), "best": None}

    def run(iterations):
        for _ in range(iterations):
            if not state["batches"]:
                state["batches"] = list(torch.randperm(len(x)).split(BATCH))
            batch = state["batches"].pop()
            optimiser.zero_grad(set_to_none=True)
            loss(model(x[batch]), labels[batch]).backward()
            optimiser.step()
            state["at"] += 1
            if state["at"] % EVERY == 0:
                with torch.inference_mode():
                    found = loss(model(held_x), held_labels).item()
                if found < state["lowest"]:
                    state["lowest"], state["best"] = found, {k: v.clone() for k, v in model.state_dict().items()}

    def accuracy():
        test_x, test_labels = images(folder, "t10k")
        model.load_state_dict(state["best"] or model.state_dict())
        with torch.inference_mode():
            return (model(test_x).argmax(1) == test_labels).float().mean().item()

    return run, accuracy


def child(folder, iterations, threads):
    """Says which number of threads is faster, waits for a line, trains, says the accuracy."""
    torch.set_flush_denormal(True)
    seconds = {}
    for n in range(1, threads + 1):
        torch.set_num_threads(n)
        run, _ = trainer(folder)
        run(200)
        begin = time.perf_counter()
        run(500)
        seconds[n] = time.perf_counter() - begin
    best = min(seconds, key=seconds.get)
    torch.set_num_threads(best)
    run, accuracy = trainer(folder)
    run(1)
    print(json.dumps({"threads": best}), flush=True)
    sys.stdin.readline()
    run(iterations - 1)
    print(json.dumps({"done": True}), flush=True)
    print(json.dumps({"accuracy": accuracy()}), flush=True)


class Turns:
    """A process that runs only in its turns."""

    def __init__(self, process):
        self.process, self.seconds = process, 0.0

    def turn(self, seconds, is_done):
        os.kill(self.process.pid, signal.SIGCONT)
        begin = time.perf_counter()
        while not (done := is_done()) and time.perf_counter() - begin < seconds:
            time.sleep(0.005)
        self.seconds += time.perf_counter() - begin
        if not done:
            os.kill(self.process.pid, signal.SIGSTOP)
        return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__[__doc__.index("Examples:"):],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of IDX files")
    parser.add_argument("--ours", type=pathlib.Path, default=ROOT / "build" / "examples" / "lottery_ticket")
    parser.add_argument("--iterations", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slice", type=float, default=5, help="seconds of a turn")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.child:
        return child(o.data, o.iterations, o.threads)
    if not o.ours.is_file():
        sys.exit(f"training: found no {o.ours}; build it, or name it with --ours")

    common = ["--data", str(o.data), "--iterations", str(o.iterations), "--threads", str(o.threads)]
    children = []
    try:
        return race(o, common, children)
    finally:
        for process in children:  # one of them may be standing still
            process.kill()
            process.wait()


def race(o, common, children):
    theirs = subprocess.Popen([sys.executable, __file__, "--child", *common], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children.append(theirs)
    ready = theirs.stdout.readline()
    if not ready:
        sys.exit(f"training: PyTorch's side ended with status {theirs.wait()}; see above")
    threads = json.loads(ready)["threads"]
    with tempfile.TemporaryDirectory() as folder:
        ours = subprocess.Popen([o.ours, *common, "--rounds", "0", "--reinitialised", "0", "--out", f"{folder}/run", "--quiet", "--json"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        children.append(ours)
        os.kill(ours.pid, signal.SIGSTOP)
        theirs.stdin.write("go\n")
        theirs.stdin.flush()
        os.kill(theirs.pid, signal.SIGSTOP)
        os.set_blocking(theirs.stdout.fileno(), False)
        sides = {"ours": Turns(ours), "theirs": Turns(theirs)}
        ends = {"ours": lambda: ours.poll() is not None, "theirs": lambda: bool(theirs.stdout.readline()) or theirs.poll() is not None}
        while ends:
            for name in list(ends):
                if sides[name].turn(o.slice, ends[name]):
                    del ends[name]
                    if sides[name].process.returncode:
                        sys.exit(f"training: {name} ended with status {sides[name].process.returncode}; see above")
        os.set_blocking(theirs.stdout.fileno(), True)
        found = json.loads(ours.stdout.read())["points"][0]
    accuracy = json.loads(theirs.stdout.readline())["accuracy"]
    mine, other = sides["ours"].seconds, sides["theirs"].seconds
    print(f"{o.iterations} iterations, batch {BATCH}, Adam, a look at {HELD_OUT} images every {EVERY}; {o.threads} threads ours, {threads} (the faster) PyTorch's")
    print(f"ours               {mine:7.1f} s   test accuracy of the network of the lowest loss {100 * found['early_stop_accuracy']:.2f} %")
    print(f"PyTorch {torch.__version__.split('+')[0]:10} {other:7.1f} s   {100 * accuracy:.2f} %")
    print(f"ratio              {other / mine:7.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
