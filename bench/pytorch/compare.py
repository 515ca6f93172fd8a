#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times our steps against PyTorch's, turn and turn about, and prints the ratios.

Neighbours on a shared machine change its speed by the minute, so each round gives
every contestant a short slice, and only times of one round are divided by one another.

Examples:
  bench/pytorch/compare.py                          all workloads both sides know
  bench/pytorch/compare.py vgg16/train128 --rounds 9 --json vgg.json
  bench/pytorch/compare.py --pytorch-only --rounds 2
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_ITERATIONS = 2000


class Contestant:
    """A child process that speaks the protocol of README.md."""

    def __init__(self, command):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        about = self.ask("list")
        self.name, self.workloads = about["program"], about["workloads"]
        self.threads = about["threads"]

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            sys.exit(f"compare: {self.command[0]} ended (status {self.process.wait()}) "
                     f"when asked to '{line}'; its last words are above")
        answer = json.loads(answer)
        if "error" in answer and line == "list":
            sys.exit(f"compare: {self.command[0]} cannot list its workloads: {answer['error']}")
        return answer

    def time(self, workload, mode, iterations):
        """Seconds of each iteration, or None (and a line on stderr) where the mode fails."""
        answer = self.ask(f"time {workload} {mode} {iterations}")
        if "error" in answer:
            note(f"{self.name} {workload} {mode}: {answer['error']}")
            return None
        return answer["seconds"]

    def quit(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def note(text):
    print(text, file=sys.stderr, flush=True)


def summary(seconds):
    ordered = sorted(seconds)
    return {"median": statistics.median(ordered), "least": ordered[0],
            "high": ordered[(len(ordered) * 9) // 10], "iterations": len(ordered)}


def calibrate(entries, workload, slice_seconds):
    """(contestant, mode, iterations of a slice) of the modes that run at all."""
    found = []
    for contestant in entries:
        for mode in contestant.workloads[workload]:
            first = contestant.time(workload, mode, 5)
            if first:
                wanted = round(slice_seconds / max(min(first), 1e-7))
                found.append((contestant, mode, min(max(wanted, 1), MOST_ITERATIONS)))
    return found


def race(entries, workload, rounds, slice_seconds):
    """Per contestant and mode: the seconds of each round."""
    runners = calibrate(entries, workload, slice_seconds)
    times = {(c.name, mode): [] for c, mode, _ in runners}
    for turn in range(rounds):
        for contestant, mode, iterations in runners:
            time.sleep(0.02)  # lets the other side's waiting threads fall asleep
            times[contestant.name, mode].append(contestant.time(workload, mode, iterations) or [])
        note(f"{workload}: round {turn + 1} of {rounds}")
    return times


def best_mode(times, name):
    medians = {mode: statistics.median(sum(rounds, []))
               for (who, mode), rounds in times.items() if who == name and all(rounds)}
    return min(medians, key=medians.get) if medians else None


def verdict(times, ours, peer):
    """Peer's best mode divided by our best mode: above 1 we are faster."""
    left = best_mode(times, ours.name) if ours else None
    right = best_mode(times, peer.name)
    result = {"modes": [{"program": who, "mode": mode, **summary(sum(rounds, []))}
                        for (who, mode), rounds in times.items() if all(rounds)],
              "best": {"peer": right, "ours": left}}
    if left and right:
        pairs = zip(times[peer.name, right], times[ours.name, left])
        ratios = [statistics.median(p) / statistics.median(o) for p, o in pairs]
        result["ratio"] = {"median": statistics.median(ratios), "low": min(ratios),
                           "high": max(ratios), "rounds": ratios}
    return result


def print_table(workload, result):
    for row in sorted(result["modes"], key=lambda row: (row["program"], row["median"])):
        best = row["mode"] in result["best"].values()
        print(f"{workload:24} {row['program']:18} {row['mode']:28} {row['median'] * 1e3:10.3f} "
              f"{row['least'] * 1e3:10.3f} {row['high'] * 1e3:10.3f} {row['iterations']:6}"
              f"{'  *' if best else ''}")
    if "ratio" in result:
        r = result["ratio"]
        print(f"{workload:24} ratio {r['median']:.2f} (rounds {r['low']:.2f} to {r['high']:.2f})")
    sys.stdout.flush()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__[
        __doc__.index("Examples"):], formatter_class=argparse.RawDescriptionHelpFormatter)
    venv = ROOT / ".venv" / "bin" / "python"
    parser.add_argument("workload", nargs="*", help="default: all that both sides know")
    parser.add_argument("--ours", type=pathlib.Path, default=ROOT / "build" / "bench" / "steps")
    parser.add_argument("--pytorch-only", action="store_true")
    parser.add_argument("--python", default=str(venv) if venv.exists() else sys.executable,
                        help="the Python that has PyTorch (default: .venv of tools/pytorch/setup)")
    parser.add_argument("--compile", action="store_true", help="try torch.compile too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slice", type=float, default=1.0, metavar="SECONDS",
                        help="time of one contestant in one round (at least one iteration)")
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured there")
    args = parser.parse_args()
    if not args.pytorch_only and not args.ours.exists():
        parser.error(f"{args.ours} does not exist; build it (ninja -C build bench/steps), "
                     "or name it with --ours, or say --pytorch-only")
    return args


def main():
    args = arguments()
    threads = ["--threads", args.threads]
    ours = None if args.pytorch_only else Contestant([args.ours, "--serve", *threads])
    peer = Contestant([args.python, ROOT / "bench" / "pytorch" / "steps.py", *threads,
                       *(["--compile"] if args.compile else [])])
    entries = [side for side in (ours, peer) if side]
    known = [w for w in peer.workloads if all(w in side.workloads for side in entries)]
    unknown = [w for w in args.workload if w not in known]
    if unknown:
        sys.exit(f"compare: no workload {', '.join(unknown)}; known to "
                 f"{' and '.join(s.name for s in entries)}: {', '.join(known)}")
    report = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(),
              "threads": args.threads, "rounds": args.rounds, "slice_seconds": args.slice,
              "programs": [side.name for side in entries], "workloads": {}}
    print(f"{'workload':24} {'program':18} {'mode':28} {'median ms':>10} {'least':>10} {'90 %':>10} "
          f"{'count':>6}   (* best)")
    for workload in args.workload or known:
        times = race(entries, workload, args.rounds, args.slice)
        result = report["workloads"][workload] = verdict(times, ours, peer)
        print_table(workload, result)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
    for side in entries:
        side.quit()


if __name__ == "__main__":
    main()
