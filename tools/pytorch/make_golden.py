#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/*.safetensors: PyTorch's answers, for our tests to match.

Usage: .venv/bin/python tools/pytorch/make_golden.py [--out DIR] [NAME ...]

Every training run is done twice, in float32 and in float64, from the same exactly
representable weights and inputs: their distance shows how much of a difference is
mere rounding, and is printed. One thread and one instruction set, so that the same
version of PyTorch writes the same bytes again.

A ReLU whose input is 1e-8 is open in one rounding and shut in another, and then two
correct programs drift apart by far more than rounding. So the streams of numbers are
chosen (--search) to keep every ReLU input and every max-pool winner of the ten steps
clear of such a tie; the margin is printed and stored.
"""

import os

os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ["MKL_CBWR"] = "COMPATIBLE"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import pathlib

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import golden_ops
from formula import integers, uniform, write_safetensors
from networks import Bert, CifarResNet, LeNet300100, Vgg

STEPS = 10
SAMPLE = 64

# Found by --search 60: the stream of each net with the widest margin.
STREAM = {"lenet300100": 52, "small_vgg": 42, "resnet20_pad_both_sides": 37,
          "resnet20_average_then_pad_after": 10, "transformer2": 0}


class Margin(TorchFunctionMode):
    """Smallest distance of a ReLU input from 0 and of a max-pool winner above 0 from
    its runner-up, over everything that runs inside."""

    def __init__(self):
        super().__init__()
        self.least = math.inf

    def see(self, values):
        if values.numel():
            self.least = min(self.least, float(values.min()))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.relu:
            self.see(args[0].detach().abs())
        elif func is F.max_pool2d:
            x, kernel = args[0].detach(), args[1]
            stride = args[2] if len(args) > 2 else kwargs["stride"]
            windows = x.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
            best = windows.topk(2, dim=-1).values
            gap = best[..., 0] - best[..., 1]
            self.see(gap[best[..., 0] > 0])
        return func(*args, **(kwargs or {}))


def initial(name, parameter, rule):
    """(offset, scale) of a parameter; powers of two keep every value exact."""
    if name in rule:
        return 0.0, rule[name]
    if "embeddings.weight" in name:
        return 0.0, 0.5
    if parameter.dim() > 1:
        fan_in = parameter[0].numel()
        return 0.0, 2.0 ** round(math.log2(math.sqrt(rule["gain"] / fan_in)))
    if name.endswith("weight"):
        return rule.get("norm weight", (1.0, 0.25))
    return 0.0, rule.get("bias", 0.0625)


def buffers(model):
    return {n: b for n, b in model.named_buffers() if b.is_floating_point()}


def summary(tensor):
    """64 evenly spaced values, and the L2 norm and sum of all."""
    flat = tensor.detach().numpy().reshape(-1)
    wide = flat.astype(np.float64)
    count = min(SAMPLE, flat.size)
    return flat[np.arange(count) * flat.size // count], np.array([math.sqrt(math.fsum(wide * wide)), math.fsum(wide)])


def image_batches(net, shape, classes):
    x = uniform(f"{net}/input", (STEPS, *shape))
    labels = integers(f"{net}/labels", (STEPS, shape[0]), classes)
    return {"x": x}, labels


def text_batches(net, batch, length, vocab, classes):
    ids = 1 + integers(f"{net}/ids", (STEPS, batch, length), vocab - 1)
    lengths = length - integers(f"{net}/padding", (STEPS, batch), 6)
    mask = (np.arange(length) < lengths[..., None]).astype(np.int64)
    types = ((np.arange(length) >= length // 2) * mask).astype(np.int64)
    labels = integers(f"{net}/labels", (STEPS, batch), classes)
    return {"ids": ids * mask, "types": types, "mask": mask}, labels


def train(net, build, inputs, labels, optimiser, rule, dtype):
    model = build().to(dtype)
    inits = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            inits[name] = initial(name, p, rule)
            values = uniform(f"{net}/{name}", p.shape, *inits[name])
            assert np.array_equal(values, values.astype(np.float32).astype(np.float64))
            p.copy_(torch.from_numpy(values))
    step = optimiser(model.parameters())
    record = {"init": inits, "loss": [], "grad": {}}
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    margin = Margin()
    for s in range(STEPS):
        args = [torch.from_numpy(a[s]) for a in inputs.values()]
        args = [a.to(dtype) if a.is_floating_point() else a for a in args]
        model.train()
        with margin:
            out = model(*args)
        logits = out[0] if isinstance(out, tuple) else out
        loss = F.cross_entropy(logits, torch.from_numpy(labels[s]))
        step.zero_grad()
        loss.backward()
        record["loss"].append(float(loss.detach()))
        if s == 0:
            record["first"] = out
            record["logits"] = logits.detach().numpy()
            record["grad"] = {n: summary(p.grad) for n, p in model.named_parameters()}
        step.step()
    model.eval()
    with torch.no_grad():
        out = model(*args)
    record["eval"] = (out[0] if isinstance(out, tuple) else out).numpy()
    record["end"] = {n: summary(p) for n, p in model.named_parameters()}
    record["buffers"] = {n: summary(b) for n, b in buffers(model).items()}
    record["shapes"] = {n: tuple(p.shape) for n, p in model.named_parameters()}
    record["margin"] = margin.least
    record["moved"] = max(float((p.detach() - start[n]).abs().max())
                          for n, p in model.named_parameters())
    record["all"] = {n: p.detach().double() for n, p in model.named_parameters()}
    return record


def trajectory(out, file, stem, build, batches, optimiser, text, rule, extra=None):
    net = f"{stem}.{STREAM[stem]}"
    inputs, labels = batches(net)
    runs = {32: train(net, build, inputs, labels, optimiser, rule, torch.float32),
            64: train(net, build, inputs, labels, optimiser, rule, torch.float64)}
    tensors = {"labels": labels}
    for name, values in inputs.items():
        if values.dtype == np.int64:
            tensors[f"input/{name}"] = values
    for width, run in runs.items():
        tensors[f"loss{width}"] = np.array(run["loss"])
        tensors[f"logits{width}"] = run["logits"]
        tensors[f"eval_logits{width}"] = run["eval"]
        for name, (sample, stats) in [*run["end"].items(), *run["buffers"].items()]:
            tensors[f"sample{width}/{name}"] = sample
            tensors[f"stats{width}/{name}"] = stats
    for name, shape in runs[64]["shapes"].items():
        sample, stats = runs[64]["grad"][name]
        tensors[f"grad_sample64/{name}"] = sample
        tensors[f"grad_stats64/{name}"] = stats
        tensors[f"shape/{name}"] = np.array(shape, dtype=np.int64)
        tensors[f"init/{name}"] = np.array(runs[64]["init"][name])
    if extra:
        tensors.update(extra(runs))
    a, b = (np.array(runs[w]["loss"]) for w in (32, 64))
    far = {n: float((runs[32]["all"][n] - w).abs().max()) for n, w in runs[64]["all"].items()
           if not n.endswith(NOISE)}
    metadata = {"format": "espalier golden trajectory 1", "net": net, "optimiser": text,
                "steps": STEPS, "batch": labels.shape[1], "pytorch": torch.__version__.split("+")[0],
                "parameters": " ".join(runs[64]["shapes"]),
                "buffers": " ".join(runs[64]["buffers"]),
                "float32_loss_distance": f"{np.max(np.abs(a - b) / b):.1e}",
                "float32_weight_distance": f"{max(far.values()):.1e}",
                "weights_moved": f"{runs[64]['moved']:.1e}",
                "margin": f"{runs[64]['margin']:.1e}"}
    for name, values in inputs.items():
        metadata[f"input_shape_{name}"] = " ".join(map(str, values.shape))
    size = write_safetensors(out / f"{file}.safetensors", tensors, metadata)
    print(f"{file}: {size} bytes, loss {b[0]:.6f} -> {b[-1]:.6f}; float32 from float64: loss "
          f"{metadata['float32_loss_distance']} relative, weights "
          f"{metadata['float32_weight_distance']} (moved {metadata['weights_moved']}); "
          f"margin {metadata['margin']}")


# A shift of all scores of a row changes nothing, so the key's bias has gradient 0;
# Adam divides the rounding noise there by its own size.
NOISE = "self.key.bias"


def attention_extra(runs):
    found = {}
    for width, run in runs.items():
        _, hidden, scores, probs = run["first"]
        found[f"scores{width}"] = scores[0][0].detach().numpy().copy()
        found[f"probs{width}"] = probs[0][0].detach().numpy().copy()
        found[f"hidden{width}"] = torch.stack([h[0] for h in hidden]).detach().numpy()
        norms = torch.stack([h.detach().double().flatten(1).norm(dim=1) for h in hidden])
        found[f"hidden_norms{width}"] = norms.numpy()
    return found


def sgd(lr, decay, nesterov=False):
    def make(parameters):
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay,
                               nesterov=nesterov, foreach=False)
    text = f"sgd lr={lr} momentum=0.9 weight_decay={decay} nesterov={int(nesterov)}"
    return make, text


def adam(lr, decay=None):
    kind = torch.optim.Adam if decay is None else torch.optim.AdamW

    def make(parameters):
        return kind(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, foreach=False,
                    weight_decay=decay or 0.0)
    text = f"lr={lr} beta1=0.9 beta2=0.999 eps=1e-08 weight_decay={decay or 0.0}"
    return make, ("adam " if decay is None else "adamw ") + text


def images(shape, classes=10):
    return lambda net: image_batches(net, shape, classes)


def nets():
    """Name, model, batches, initial scales of the nets whose stream is searched."""
    relu = {"gain": 6.0}
    yield "lenet300100", LeNet300100, images((60, 784)), relu
    # A deep net is a calm walk when its convolution weights are wide (batch norm undoes
    # the scale), its last layer narrow, and its ReLU inputs spread out by their shifts.
    calm = {"gain": 96.0, "norm weight": (0.25, 0.0625), "bias": 1.0}
    for last in ("linear", "classifier.3"):
        calm |= {f"{last}.weight": 0.0625, f"{last}.bias": 0.0625}
    yield "small_vgg", lambda: Vgg([16, "M", 32, "M", 64, "M"], 64), images((16, 3, 16, 16)), calm
    for form in ("pad_both_sides", "average_then_pad_after"):
        yield (f"resnet20_{form}", lambda f=form: CifarResNet(20, f), images((8, 3, 16, 16)), calm)
    yield ("transformer2",
           lambda: Bert(vocab=97, width=32, heads=4, ffn=64, positions=12, layers=2, classes=2),
           lambda net: text_batches(net, 6, 12, 97, 2), {"gain": 3.0})


def optimisers(stem):
    """File suffix to optimiser."""
    if stem == "lenet300100":
        return {"_adam": adam(1.2e-3), "_sgd": sgd(0.05, 1e-4),
                "_nesterov": sgd(0.05, 1e-4, True), "_adamw": adam(1.2e-3, 1e-2)}
    if stem == "transformer2":
        return {"": adam(1e-3)}
    return {"": sgd(0.05 if stem == "small_vgg" else 0.02, 1e-4)}


def jobs(out):
    for stem, build, batches, rule in nets():
        extra = attention_extra if stem == "transformer2" else None
        for suffix, (make, text) in optimisers(stem).items():
            yield stem + suffix, lambda f=stem + suffix, a=(stem, build, batches, make, text, rule), \
                e=extra: trajectory(out, f, *a, e)
    yield "ops", lambda: golden_ops.write(out / "ops.safetensors")


def search(count):
    for stem, build, batches, rule in nets():
        if stem == "transformer2":
            continue
        margins = []
        for stream in range(count):
            net = f"{stem}.{stream}"
            margins.append(min(
                train(net, build, *batches(net), make, rule, torch.float64)["margin"]
                for make, _ in optimisers(stem).values()))
        best = int(np.argmax(margins))
        print(f"{stem}: stream {best} has margin {margins[best]:.1e}; "
              f"median of {count}: {np.median(margins):.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "golden")
    parser.add_argument("--search", type=int, metavar="N",
                        help="write nothing; name the best of N streams of each net")
    parser.add_argument("name", nargs="*", help="files to write; all of them if none is named")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.mkldnn.enabled = False
    if args.search:
        search(args.search)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    todo = dict(jobs(args.out))
    unknown = set(args.name) - set(todo)
    if unknown:
        parser.error(f"no golden file is called {', '.join(sorted(unknown))}; "
                     f"there are {', '.join(todo)}")
    for name in args.name or todo:
        todo[name]()


if __name__ == "__main__":
    main()
