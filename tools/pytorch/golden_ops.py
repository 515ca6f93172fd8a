# SPDX-License-Identifier: Apache-2.0
"""Single operations and optimisers in float64: inputs, outputs and all gradients.

Each case is `name: (attributes, function, inputs)`; the gradient handed in at the
output is itself a formula, so that no symmetry of a plain sum hides a mistake.
"""

import numpy as np
import torch
from torch.nn import functional as F

from formula import integers, uniform, write_safetensors


def attributes(text):
    return dict(pair.split("=") for pair in text.split())


def convolutions():
    for name, x, w, bias, text in [
        ("conv_plain", (2, 3, 7, 6), (4, 3, 3, 3), False, "stride=1,1 pad=1,1 groups=1"),
        ("conv_bias", (2, 3, 7, 6), (4, 3, 3, 3), True, "stride=1,1 pad=1,1 groups=1"),
        ("conv_no_pad", (2, 3, 7, 6), (4, 3, 3, 3), True, "stride=1,1 pad=0,0 groups=1"),
        ("conv_stride2", (2, 3, 8, 7), (5, 3, 3, 3), True, "stride=2,2 pad=1,1 groups=1"),
        ("conv_1x1", (2, 6, 5, 4), (3, 6, 1, 1), False, "stride=1,1 pad=0,0 groups=1"),
        ("conv_1x1_stride2", (2, 6, 5, 4), (3, 6, 1, 1), False, "stride=2,2 pad=0,0 groups=1"),
        ("conv_5x5", (2, 3, 8, 9), (4, 3, 5, 5), True, "stride=1,1 pad=2,2 groups=1"),
        ("conv_5x5_stride2", (2, 2, 9, 8), (3, 2, 5, 5), True, "stride=2,2 pad=2,2 groups=1"),
        ("conv_rectangle", (2, 3, 6, 8), (4, 3, 3, 2), True, "stride=2,1 pad=1,0 groups=1"),
        ("conv_groups", (2, 6, 6, 5), (4, 3, 3, 3), True, "stride=1,1 pad=1,1 groups=2"),
        ("conv_depthwise", (2, 5, 6, 7), (5, 1, 3, 3), True, "stride=1,1 pad=1,1 groups=5"),
        ("conv_depthwise_stride2", (2, 4, 7, 7), (8, 1, 3, 3), False, "stride=2,2 pad=1,1 groups=4"),
    ]:
        inputs = {"x": x, "weight": w} | ({"bias": (w[0],)} if bias else {})

        def run(a, x, weight, bias=None):
            pair = [tuple(map(int, a[k].split(","))) for k in ("stride", "pad")]
            return F.conv2d(x, weight, bias, pair[0], pair[1], groups=int(a["groups"]))

        yield name, "op=conv2d " + text, run, inputs


def pools():
    for name, op, shape, text in [
        ("max_pool", "max_pool2d", (2, 3, 6, 8), "kernel=2 stride=2 pad=0"),
        ("max_pool_odd", "max_pool2d", (2, 3, 7, 5), "kernel=2 stride=2 pad=0"),
        ("max_pool_pad", "max_pool2d", (2, 3, 7, 6), "kernel=3 stride=2 pad=1"),
        ("avg_pool", "avg_pool2d", (2, 3, 6, 8), "kernel=2 stride=2 pad=0"),
        ("avg_pool_pad", "avg_pool2d", (2, 3, 7, 6), "kernel=3 stride=2 pad=1 count_pad=1"),
        ("avg_pool_pad_excluded", "avg_pool2d", (2, 3, 7, 6), "kernel=3 stride=2 pad=1 count_pad=0"),
        ("adaptive_avg_pool_1", "adaptive_avg_pool2d", (2, 3, 7, 5), "output=1,1"),
        ("adaptive_avg_pool_2x3", "adaptive_avg_pool2d", (2, 3, 7, 5), "output=2,3"),
    ]:
        def run(a, x):
            if a["op"] == "adaptive_avg_pool2d":
                return F.adaptive_avg_pool2d(x, tuple(map(int, a["output"].split(","))))
            k, s, p = (int(a[key]) for key in ("kernel", "stride", "pad"))
            if a["op"] == "max_pool2d":
                return F.max_pool2d(x, k, s, p)
            return F.avg_pool2d(x, k, s, p, count_include_pad=a.get("count_pad") != "0")

        yield name, f"op={op} {text}", run, {"x": shape}


def attention(a, q, k, v, mask=None):
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    masked = scores if mask is None else scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    probs = masked.softmax(-1)
    return {"out": probs @ v, "scores": scores, "probs": probs}


def simple():
    rows = {"x": (5, 7)}
    yield "linear", "op=linear", lambda a, x, weight, bias: F.linear(x, weight, bias), \
        {"x": (5, 7), "weight": (4, 7), "bias": (4,)}
    yield "linear_no_bias", "op=linear", lambda a, x, weight: F.linear(x, weight), \
        {"x": (5, 7), "weight": (4, 7)}
    yield "layer_norm", "op=layer_norm eps=1e-12", \
        lambda a, x, weight, bias: F.layer_norm(x, (6,), weight, bias, float(a["eps"])), \
        {"x": (3, 4, 6), "weight": (6,), "bias": (6,)}
    yield "relu", "op=relu", lambda a, x: F.relu(x), rows
    yield "gelu", "op=gelu form=erf", lambda a, x: F.gelu(4 * x), rows
    yield "gelu_tanh", "op=gelu form=tanh", lambda a, x: F.gelu(4 * x, approximate="tanh"), rows
    yield "tanh", "op=tanh", lambda a, x: torch.tanh(x), rows
    yield "softmax", "op=softmax axis=-1", lambda a, x: x.softmax(-1), rows
    yield "log_softmax", "op=log_softmax axis=-1", lambda a, x: x.log_softmax(-1), rows
    yield "mse", "op=mse reduction=mean", lambda a, x, target: F.mse_loss(x, target), \
        {"x": (5, 7), "target": (5, 7)}
    yield "attention", "op=attention heads=2", attention, \
        {"q": (2, 2, 5, 4), "k": (2, 2, 5, 4), "v": (2, 2, 5, 4)}


def with_fixed_inputs():
    labels = integers("ops/cross_entropy/labels", (6,), 5)
    yield "cross_entropy", "op=cross_entropy reduction=mean", \
        lambda a, x, labels: F.cross_entropy(x, labels), {"x": (6, 5)}, {"labels": labels}
    ids = integers("ops/embedding/ids", (3, 4), 6)
    yield "embedding", "op=embedding", \
        lambda a, weight, ids: F.embedding(ids, weight), {"weight": (6, 5)}, {"ids": ids}
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=np.int64)
    yield "attention_masked", "op=attention heads=2", attention, \
        {"q": (2, 2, 5, 4), "k": (2, 2, 5, 4), "v": (2, 2, 5, 4)}, {"mask": mask}
    for dims, shape in (("1d", (6, 4)), ("2d", (3, 4, 5, 2))):
        for mode in ("train", "eval"):
            name = f"batch_norm_{dims}_{mode}"
            running = {"running_mean": uniform(f"ops/{name}/running_mean", (4,)),
                       "running_var": uniform(f"ops/{name}/running_var", (4,), 1.0, 0.5)}

            def run(a, x, weight, bias, running_mean, running_var):
                mean, var = running_mean.clone(), running_var.clone()
                y = F.batch_norm(x, mean, var, weight, bias, a["mode"] == "train",
                                 float(a["momentum"]), float(a["eps"]))
                return {"out": y, "running_mean_after": mean, "running_var_after": var}

            yield name, f"op=batch_norm mode={mode} momentum=0.1 eps=1e-05", run, \
                {"x": shape, "weight": (4,), "bias": (4,)}, running


def optimisers():
    """Five steps over given gradients; the parameters after each step."""
    for name, text, make in [
        ("sgd", "op=sgd lr=0.1 momentum=0 weight_decay=0.01",
         lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01, foreach=False)),
        ("sgd_momentum", "op=sgd lr=0.1 momentum=0.9 weight_decay=0.01",
         lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False)),
        ("sgd_nesterov", "op=sgd lr=0.1 momentum=0.9 weight_decay=0.01 nesterov=1",
         lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True,
                                   foreach=False)),
        ("adam", "op=adam lr=0.01 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0",
         lambda p: torch.optim.Adam(p, lr=0.01, foreach=False)),
        ("adam_l2", "op=adam lr=0.01 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0.01",
         lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01, foreach=False)),
        ("adamw", "op=adamw lr=0.01 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0.01",
         lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01, foreach=False)),
    ]:
        p = torch.from_numpy(uniform(f"ops/optimiser_{name}/start", (8,))).requires_grad_()
        grads = uniform(f"ops/optimiser_{name}/grads", (5, 8))
        start, after, optimiser = p.detach().numpy().copy(), [], make([p])
        for g in grads:
            p.grad = torch.from_numpy(g.copy())
            optimiser.step()
            after.append(p.detach().numpy().copy())
        yield f"optimiser_{name}", text, {"in/start": start, "in/grads": grads,
                                          "after": np.stack(after)}


def run_case(name, text, function, shapes, fixed):
    inputs = {k: uniform(f"ops/{name}/{k}", s) for k, s in shapes.items()}
    leaves = {k: torch.from_numpy(v).requires_grad_() for k, v in inputs.items()}
    constants = {k: torch.from_numpy(v) for k, v in fixed.items()}
    result = function(attributes(text), **leaves, **constants)
    if not isinstance(result, dict):
        result = {"out": result}
    out = result["out"]
    grad_out = uniform(f"ops/{name}/grad_out", tuple(out.shape))
    out.backward(torch.from_numpy(grad_out))
    tensors = {f"in/{k}": v for k, v in (inputs | fixed).items()}
    tensors |= {k: v.detach().numpy() for k, v in result.items()}
    tensors |= {f"grad/{k}": v.grad.numpy() for k, v in leaves.items()}
    tensors["grad_out"] = grad_out
    return tensors


def write(path):
    tensors = {}
    metadata = {"format": "espalier golden operations 1", "pytorch": torch.__version__.split("+")[0]}
    cases = [(*c, {}) for group in (convolutions, pools, simple) for c in group()]
    for name, text, function, shapes, fixed in [*cases, *with_fixed_inputs()]:
        found = run_case(name, text, function, shapes, fixed)
        tensors |= {f"{name}/{k}": np.asarray(v) for k, v in found.items()}
        metadata[name] = text
    for name, text, found in optimisers():
        tensors |= {f"{name}/{k}": v for k, v in found.items()}
        metadata[name] = text
    size = write_safetensors(path, tensors, metadata)
    print(f"ops: {size} bytes, {len(metadata) - 2} cases")
