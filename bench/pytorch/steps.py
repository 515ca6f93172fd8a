#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times training steps and inference in PyTorch, on request: a child of compare.py.

Reads commands from standard input, answers each with one line of JSON (README.md).
Modes are PyTorch's ways to do the same float32 arithmetic; the comparison takes the
fastest of them for each workload.
"""

import argparse
import json
import pathlib
import sys
import time
import warnings

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "pytorch"))
from networks import VGG16, CifarResNet, LeNet300100, Vgg  # noqa: E402

IMAGE = (3, 32, 32)
NETS = {"vgg16": (lambda: Vgg(VGG16, 512), IMAGE, 14_987_722),
        "resnet56": (lambda: CifarResNet(56, "average_then_pad_after"), IMAGE, 853_018),
        "lenet300100": (LeNet300100, (784,), 266_610)}
WORKLOADS = ["vgg16/train128", "resnet56/train128", "lenet300100/train60",
             "lenet300100/train60adam", "vgg16/infer1", "vgg16/infer32", "resnet56/infer1",
             "resnet56/infer32", "lenet300100/infer1", "lenet300100/infer32"]
WARM_UP_SECONDS = 0.5


def modes(workload, compiled):
    net, task = workload.split("/")
    layouts = ["plain"] if net == "lenet300100" else ["nchw", "channels_last"]
    found = list(layouts)
    if task.startswith("infer"):
        found += [f"{layout}+frozen" for layout in layouts]
    if net == "lenet300100" or task == "infer1":
        found += [f"{mode}+1thread" for mode in found]
    if compiled:
        found += [f"{layout}+compile" for layout in layouts]
    return found


def build(workload, mode):
    """A function that does one iteration."""
    net, task = workload.split("/")
    layout, *options = mode.split("+")
    make, shape, parameters = NETS[net]
    torch.manual_seed(1)
    model = make()
    assert sum(p.numel() for p in model.parameters()) == parameters
    digits = "".join(c for c in task if c.isdigit())
    x = torch.randn(int(digits), *shape)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    if task.startswith("infer"):
        return inference(model.eval(), x, options)
    labels = torch.randint(0, 10, (len(x),))
    if task.endswith("adam"):
        optimiser = torch.optim.Adam(model.parameters(), lr=1.2e-3, fused=True)
    else:
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9,
                                    weight_decay=1e-4, fused=True)
    model.train()
    run = torch.compile(model) if "compile" in options else model
    loss = nn.CrossEntropyLoss()

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss(run(x), labels).backward()
        optimiser.step()

    return step


def inference(model, x, options):
    if "frozen" in options:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still the fastest
            model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, x)))
    if "compile" in options:
        model = torch.compile(model)

    def step():
        with torch.inference_mode():
            model(x)

    return step


class Server:
    """`workloads`: the modes of each by name; build(workload, mode) makes one iteration."""

    def __init__(self, threads, workloads, build):
        self.threads, self.workloads, self.build, self.ready = threads, workloads, build, {}

    def list(self):
        return {"program": f"PyTorch {torch.__version__.split('+')[0]}", "threads": self.threads,
                "workloads": self.workloads}

    def time(self, workload, mode, iterations):
        if mode not in self.workloads.get(workload, []):
            raise ValueError(f"time: no workload {workload} in mode {mode}; `list` names them")
        torch.set_num_threads(1 if mode.endswith("+1thread") else self.threads)
        step = self.ready.get((workload, mode))
        if step is None:
            step = self.ready[workload, mode] = self.build(workload, mode)
            end = time.perf_counter() + WARM_UP_SECONDS
            for done in range(1000):
                step()
                if done >= 2 and time.perf_counter() > end:
                    break
        else:
            step()
        seconds = []
        for _ in range(int(iterations)):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        return {"workload": workload, "mode": mode, "seconds": seconds}

    def serve(self):
        """Answers commands from standard input until `quit` or its end."""
        answers, sys.stdout = sys.stdout, sys.stderr
        for line in sys.stdin:
            words = line.split()
            if words == ["quit"]:
                break
            try:
                if words == ["list"]:
                    answer = self.list()
                elif words[:1] == ["time"] and len(words) == 4:
                    answer = self.time(*words[1:])
                else:
                    raise ValueError(f"unknown command {line.strip()!r}; "
                                     "known: list, time WORKLOAD MODE ITERATIONS, quit")
            except Exception as error:  # the driver decides what a failed mode means
                answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            print(json.dumps(answer), file=answers, flush=True)


def main():
    torch.set_flush_denormal(True)  # before its threads start, which inherit it; without, steps of a fitted network slow down
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true",
                        help="offer torch.compile modes too (20 to 60 s before the first step)")
    args = parser.parse_args()
    Server(args.threads, {w: modes(w, args.compile) for w in WORKLOADS}, build).serve()


if __name__ == "__main__":
    main()
