# SPDX-License-Identifier: Apache-2.0
"""The demonstration leaves what the README promises, and its files mean the same to another process.
usage: demo.py DEMO EVALUATE FOLDER"""

import csv
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from running import run

demo, evaluate, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])

QUICK = ("--quick", "--quiet", "--train-images", "1500", "--out", str(folder))
shutil.rmtree(folder, ignore_errors=True)
done = run(demo, *QUICK, "--json")
found = json.loads(done.stdout)
names = [n["name"] for n in found["networks"]]
assert names == ["dense", "pruned, not tuned", "pruned, fine-tuned", "same size, Scratch-E", "same size, Scratch-B"], names
for network in found["networks"]:
    missing = {"params", "macs", "bytes", "file_bytes", "accuracy", "training_seconds", "latency_batch1_seconds",
               "latency_batch32_seconds", "latency_batch1_p95_seconds", "latency_threads"} - network.keys()
    assert not missing, (network["name"], missing)
assert found["pruned"]["params"] < found["dense"]["params"] / 3, found["pruned"]
# --quiet leaves the warnings, and there is one for each layer that the clock found no faster.
warnings = done.stderr.splitlines()
assert len(warnings) == len(found["layers_not_faster"]) and all(line.startswith("warning: ") for line in warnings), done.stderr

for name in ("dense", "fine-tuned", "scratch-e", "scratch-b"):
    assert (folder / f"{name}.safetensors").stat().st_size > 100_000, name
events = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
assert events[0]["event"] == "config" and events[-1]["event"] == "result", [e["event"] for e in events]
steps = [e["step"] for e in events]
assert steps == sorted(steps) and steps[-1] > 0, steps
rows = list(csv.DictReader((folder / "metrics.csv").open()))
assert len(rows) == sum(e["event"] == "epoch" for e in events) > 4, len(rows)
report = (folder / "report.html").read_text()
assert report.count("<svg") == 2 and "http://" not in report.replace("http://www.w3.org/", "") and "https://" not in report

# Another process reads the pruned network from its file, narrower tensors and all, and finds what was measured here.
tuned = found["networks"][2]
again = json.loads(run(evaluate, "--arch", "small-vgg", "--model", str(folder / "fine-tuned.safetensors"), "--test-images", "2000", "--threads", "2", "--json").stdout)
assert (again["accuracy"], again["params"], again["macs"]) == (tuned["accuracy"], tuned["params"], tuned["macs"]), (again, tuned)
assert again["latency_threads"] == 2, again

# A second run does not overwrite the first; one that goes on has the same settings; --force begins anew.
assert "--force" in run(demo, *QUICK, status=1).stderr
other = run(demo, *QUICK, "--resume", "--lr", "0.01", status=2).stderr
assert "'lr'" in other and "--force" in other, other
resumed = json.loads(run(demo, *QUICK, "--resume", "--json").stdout)
assert [n["accuracy"] for n in resumed["networks"]] == [n["accuracy"] for n in found["networks"]]
again = [json.loads(line)["step"] for line in (folder / "run.jsonl").read_text().splitlines()]
assert [s for s in again if s >= 0][-1] == steps[-1], (again, steps)
forced = folder / "forced"
(forced / "checkpoints" / "dense").mkdir(parents=True)
(forced / "points").mkdir()
SMALL = ("--quick", "--train-images", "256", "--test-images", "300")
alone = json.loads(run(demo, *SMALL, "--json", "--out", str(forced), "--force").stdout)
assert not (forced / "points").exists()

# Ctrl-C after the first epoch: status 130, and the run goes on to the numbers of one that was left alone. Progress that is
# written to a file is whole lines.
stopped, progress = folder / "stopped", folder / "stopped.txt"
with progress.open("wb") as stderr:
    # A shell that starts this test in the background has its children ignore Ctrl-C.
    process = subprocess.Popen([demo, *SMALL, "--out", str(stopped)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while process.poll() is None and not list(stopped.glob("checkpoints/dense/ckpt.*.safetensors")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    status = process.wait()
said = progress.read_bytes()
assert status == 130, (status, said)
assert b"--resume" in said.splitlines()[-1], said
assert b"dense" in said and b"\r" not in said, said
resumed = json.loads(run(demo, *SMALL, "--out", str(stopped), "--resume", "--json").stdout)
assert [n["accuracy"] for n in resumed["networks"]] == [n["accuracy"] for n in alone["networks"]], (resumed, alone)
print(f"{len(names)} networks, {len(events)} events, {len(rows)} rows; another process finds {tuned['accuracy']:.4f} too")
