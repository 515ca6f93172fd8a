#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times exact selection by rank, the 80 % smallest magnitudes, against PyTorch's ways, turn and turn about.

Both sides get the same scores and must find the same threshold. Ratios are formed within
a round, because neighbours on a shared machine change its speed by the minute.

Examples:
  bench/pytorch/selection.py                                15 M scores, 5 rounds
  bench/pytorch/selection.py --scores 138000000 --rounds 3 --sorts 1
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = {"read": 9, "find_cut": 9, "remove_smallest": 9, "nth_element": 1}  # calls in a round


class Child:
    """build/bench/selection --serve; answers 'NAME COUNT' with seconds and the threshold."""

    def __init__(self, program, scores, threads):
        command = [str(program), "--serve", str(scores), "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def time(self, name, count):
        self.process.stdin.write(f"{name} {count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"selection: the child ended, status {self.process.wait()}; see above")
        answer = json.loads(answer)
        return answer["seconds"], answer["result"]


def timed(call):
    begin = time.perf_counter()
    result = call()
    return [time.perf_counter() - begin], result


def round_of(child, scores, rank, with_sort):
    """Seconds of every contestant, and the thresholds found."""
    seconds, found = {}, {}
    time.sleep(0.05)  # lets the other side's waiting threads fall asleep
    for name, count in OURS.items():
        child.time(name, 1)  # the caches are the other side's
        seconds[name], found[name] = child.time(name, count)
    seconds["torch.kthvalue"], found["torch.kthvalue"] = timed(
        lambda: torch.kthvalue(scores.abs(), rank).values.item())
    if with_sort:
        seconds["torch.sort"], found["torch.sort"] = timed(
            lambda: torch.sort(scores.abs()).values[rank - 1].item())
    answers = {torch.tensor(v, dtype=torch.float32).item()
               for name, v in found.items() if name not in ("read", "remove_smallest")}
    if len(answers) != 1:
        sys.exit(f"selection: the thresholds differ: {found}")
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_ratios(rounds):
    names = list(max(rounds, key=len))
    print(f"{'':18}{'median ms':>12}{'rounds':>8}   {'of one read':>24}   {'against find_cut':>26}")
    for name in names:
        having = [r for r in rounds if name in r]
        line = f"{name:18}{statistics.median(r[name] for r in having) * 1e3:12.2f}{len(having):8}"
        for base in ("read", "find_cut"):
            ratios = sorted(r[name] / r[base] for r in having)
            line += f"   {statistics.median(ratios):9.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__[
        __doc__.index("Examples"):], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=pathlib.Path, default=ROOT / "build" / "bench" / "selection")
    parser.add_argument("--scores", type=int, default=15_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sorts", type=int, metavar="N", help="torch.sort in so many rounds only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="write the seconds of every round there")
    args = parser.parse_args()
    if not args.ours.exists():
        parser.error(f"{args.ours} does not exist; ninja -C build bench/selection, or --ours")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    scores = torch.randn(args.scores)
    rank = args.scores // 5 * 4
    sorts = args.rounds if args.sorts is None else args.sorts
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        scores.numpy().tofile(file.name)
        child = Child(args.ours, file.name, args.threads)
        rounds = []
        for turn in range(args.rounds):
            rounds.append(round_of(child, scores, rank, turn < sorts))
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
        child.process.stdin.close()
        child.process.wait(timeout=30)
    print(f"{args.scores} scores, {args.threads} threads, PyTorch {torch.__version__.split('+')[0]}")
    print_ratios(rounds)
    if args.json:
        args.json.write_text(json.dumps({"scores": args.scores, "threads": args.threads,
                                         "pytorch": torch.__version__, "rounds": rounds}) + "\n")


if __name__ == "__main__":
    main()
