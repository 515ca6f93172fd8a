# SPDX-License-Identifier: Apache-2.0
"""`lottery_ticket --check` ends with 0 where every claim holds, with 4 and the claim where one does not, and with 4 where
a run has nothing to check. The results of a short run are replaced by made-up ones, and the run goes on from those.
usage: lottery_check.py LOTTERY_TICKET"""

import csv
import json
import pathlib
import sys
import tempfile

from idx import write_images
from running import runner

program = sys.argv[1]
run = runner(program)


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    data = write_images(folder / "images", train=200, test=100, side=8)
    little = ("--quick", "--data", data, "--iterations", "9", "--reinitialised", "0")
    run(*little, "--rounds", "3", "--out", str(folder / "run"))

    def check(dense, ticket, status):
        for round, accuracy in ((0, dense), (3, ticket)):
            file = folder / f"run/points/seed-1-round-{round}-ticket.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"early_stop_accuracy": accuracy}))
        done = run(*little, "--rounds", "3", "--out", str(folder / "run"), "--resume", "--check", status=status)
        with (folder / "run/claims.csv").open() as rows:
            return done, [row["holds"] for row in csv.DictReader(rows)]

    done, holds = check(dense=0.9, ticket=0.95, status=0)
    assert "at 51 % of the weights" in done.stdout and holds == ["yes"], (done.stdout, holds)
    done, holds = check(dense=0.9, ticket=0.89, status=4)
    assert "at 51 % of the weights" in done.stderr and "-1.00 points" in done.stderr and holds == ["no"], (done.stderr, holds)
    assert "at 51 % of the weights" in done.stdout, "the results are not printed where a claim fails"
    run(*little, "--rounds", "3", "--out", str(folder / "run"), "--resume")

    # What is claimed begins at round 3, and is of LeNet-300-100.
    for arguments in (("--rounds", "2"), ("--rounds", "3", "--arch", "resnet20", "--rewind", "0")):
        done = run(*little, *arguments, "--check", "--out", str(folder / arguments[-1]), status=4)
        assert "nothing to check" in done.stderr, done.stderr
print("--check: what holds, what does not, and nothing to check")
