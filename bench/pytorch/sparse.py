#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times sparse linear layers against every dense one, ours and PyTorch's, turn and turn about.

Each round gives every contestant a short slice; ratios are formed inside a round. The
dense time is that of whichever is fastest: our product, our product with weights packed
beforehand, PyTorch's linear layer, or PyTorch's traced and optimised for inference.
A ratio above 1 means that sparse is faster: `rows` is our sparse product as a model
uses it, `panels` its kernel alone, between activations that lie in panels already, and
`compiled` what compile() made of the layer, sparse or not. The last lines are a 3x3
convolution of ours against the sparse product of its windows, as if those lay in panels
already, and (the second ratio) against a dense convolution with half the channels on both
sides. LeNet-300-100 is a whole network.

Examples:
  bench/pytorch/sparse.py                               all sizes from 50 % zeros on
  bench/pytorch/sparse.py 768x3072x128@90 --rounds 9    outputs x inputs x rows @ percent of zeros
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

from compare import ROOT, Contestant, race

SIZES = ["768x3072x128", "768x3072x512", "300x784x60"]
LENET = "lenet300100,batch60"
PERCENT_ZERO = [10, 20, 30, 40, 50, 70, 80, 90, 95, 98]
FEWER_WEIGHTS = ["panels", "rows", "compiled", "half"]  # ours; PyTorch's own is "csr"


def serve(threads):
    """PyTorch's side: a child that speaks the protocol of README.md."""
    import torch  # the driver does not need it
    from steps import LeNet300100, Server, inference

    def build(workload, mode):
        size, percent = workload.split("@")
        if size == LENET:  # PyTorch computes zeros like any other weights
            return inference(LeNet300100().eval(), torch.randn(60, 784), mode.split("+"))
        outputs, inputs, rows = map(int, size.split("x"))
        torch.manual_seed(1)
        layer = torch.nn.Linear(inputs, outputs).eval()
        with torch.no_grad():
            layer.weight.masked_fill_(torch.rand(outputs, inputs) < int(percent) / 100, 0.0)
        x = torch.randn(rows, inputs)
        if mode != "csr":
            return inference(layer, x, mode.split("+"))
        weight = layer.weight.detach().to_sparse_csr()
        columns, bias = x.t().contiguous(), layer.bias.detach()[:, None].expand(outputs, rows)

        def step():
            with torch.inference_mode():
                torch.addmm(bias, weight, columns)

        return step

    workloads = {f"{size}@{percent}": ["plain", "plain+frozen", "csr"]
                 for size in SIZES for percent in PERCENT_ZERO}
    for percent in PERCENT_ZERO:
        workloads[f"{LENET}@{percent}"] = ["plain", "plain+frozen"]
    Server(threads, workloads, build).serve()


def verdict(times):
    """Ratios of the fastest dense contestant's time to each sparse one's, round by round."""
    medians = {who: statistics.median(sum(rounds, []))
               for who, rounds in times.items() if all(rounds)}
    dense = min((who for who in medians if who[1] not in (*FEWER_WEIGHTS, "csr")), key=medians.get)
    result = {"seconds": {" ".join(who): median for who, median in medians.items()},
              "dense": " ".join(dense)}
    for who in medians:
        if who[1] in FEWER_WEIGHTS:
            ratios = [statistics.median(d) / statistics.median(s)
                      for d, s in zip(times[dense], times[who])]
            result[who[1]] = {"median": statistics.median(ratios), "low": min(ratios),
                              "high": max(ratios)}
    return result


def print_row(workload, result, ours, peer):
    def ms(program, *modes):
        found = [result["seconds"].get(f"{program} {mode}", float("nan")) for mode in modes]
        return f"{min(found) * 1e3:9.3f}"

    times = [ms(ours, "dense"), ms(ours, "packed"), ms(peer, "plain", "plain+frozen"),
             ms(peer, "csr"), ms(ours, "panels"), ms(ours, "rows")]
    ratios = [f"{r['median']:8.2f} ({r['low']:.2f} to {r['high']:.2f})"
              for r in (result[mode] for mode in FEWER_WEIGHTS if mode in result)]
    print(f"{workload:28}", *times, *ratios, sep="", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__[
        __doc__.index("Each round"):], formatter_class=argparse.RawDescriptionHelpFormatter)
    venv = ROOT / ".venv" / "bin" / "python"
    parser.add_argument("workload", nargs="*", help="default: all from 50 %% zeros on")
    parser.add_argument("--ours", type=pathlib.Path, default=ROOT / "build" / "bench" / "sparse")
    parser.add_argument("--python", default=str(venv) if venv.exists() else sys.executable,
                        help="the Python that has PyTorch (default: .venv of tools/pytorch/setup)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", type=float, default=0.1, metavar="SECONDS",
                        help="time of one contestant in one round (at least one iteration)")
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured there")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.threads)
    if not args.ours.exists():
        parser.error(f"{args.ours} does not exist; build it (ninja -C build bench/sparse), "
                     "or name it with --ours")
    threads = ["--threads", args.threads]
    ours = Contestant([args.ours, "--serve", *threads])
    peer = Contestant([args.python, __file__, "--serve", *threads])
    unknown = [w for w in args.workload if w not in ours.workloads]
    if unknown:
        sys.exit(f"sparse: no workload {', '.join(unknown)}; there are {', '.join(ours.workloads)}")
    report = {"cpus": os.cpu_count(), "threads": args.threads, "rounds": args.rounds,
              "slice_seconds": args.slice, "programs": [ours.name, peer.name], "workloads": {}}
    titles = ["dense", "packed", "PyTorch", "its CSR", "panels", "rows"]
    print(f"{'median ms':28}", *(f"{title:>9}" for title in titles),
          "     best dense / panels     best dense / rows       best dense / compiled", sep="")
    everything = [*peer.workloads, *(w for w in ours.workloads if w not in peer.workloads)]
    for workload in args.workload or [w for w in everything if int(w.split("@")[1]) >= 50]:
        sides = [side for side in (ours, peer) if workload in side.workloads]
        times = race(sides, workload, args.rounds, args.slice)
        result = report["workloads"][workload] = verdict(times)
        print_row(workload, result, ours.name, peer.name)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
    for side in (ours, peer):
        side.quit()


if __name__ == "__main__":
    main()
