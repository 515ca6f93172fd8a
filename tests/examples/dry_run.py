# SPDX-License-Identifier: Apache-2.0
"""`filter_pruning --dry-run --json` prints one JSON object with the integers behind the tables of Li et al. 2017,
and `sensitivity --dry-run --json` what each layer alone contributes to them.
usage: dry_run.py FILTER_PRUNING SENSITIVITY"""

import json
import sys

from running import run

# (architecture, variant): dense parameters and MACs, pruned parameters and MACs
PAPER = {
    ("vgg16", None): (14_987_722, 313_463_808, 5_397_034, 206_279_680),
    ("resnet56", "a"): (853_018, 125_485_696, 773_336, 112_435_840),
    ("resnet56", "b"): (853_018, 125_485_696, 735_712, 90_907_264),
    ("resnet110", "a"): (1_727_962, 252_887_680, 1_688_522, 212_779_648),
    ("resnet110", "b"): (1_727_962, 252_887_680, 1_168_424, 155_124_352),
}
# Which share of each stage's first convolutions goes, and which convolutions stay, counted from the stem, number 1.
RATES = {
    ("resnet56", "a"): ((0.1, 0.1, 0.1), (16, 20, 38, 54)),
    ("resnet56", "b"): ((0.6, 0.3, 0.1), (16, 18, 20, 34, 38, 54)),
    ("resnet110", "a"): ((0.5, None, None), (36,)),
    ("resnet110", "b"): ((0.5, 0.4, 0.3), (36, 38, 74)),
}


def printed(*command):
    return json.loads(run(*command).stdout)


def alone(scan, rates, skipped, what):
    """The dense count less what each layer saves alone: layers inside of blocks do not meet, so the savings add up."""
    left, per_stage = scan[what], (int(scan["arch"].removeprefix("resnet")) - 2) // 6
    points = {g["name"]: {p["remove"]: p for p in g["points"]} for g in scan["groups"]}
    for stage, rate in enumerate(rates):
        for block in range(per_stage):
            if rate is not None and 2 * (stage * per_stage + block) + 2 not in skipped:
                left -= scan[what] - points[f"layer{stage + 1}.{block}.conv1"][rate][what]
    return left


wrong = 0
for (arch, variant), expected in PAPER.items():
    found = printed(sys.argv[1], "--arch", arch, "--dry-run", "--json", *(["--variant", variant] if variant else []))
    numbers = tuple(found[net][what] for net in ("dense", "pruned") for what in ("params", "macs"))
    wrong += numbers != expected
    print(arch, variant or "", numbers, "as printed" if numbers == expected else f"but the paper has {expected}")

for (arch, variant), (rates, skipped) in RATES.items():
    grid = ",".join(str(r) for r in sorted({r for r in rates if r is not None}))
    scan = printed(sys.argv[2], "--arch", arch, "--dry-run", "--json", "--fractions", grid)
    numbers = (scan["params"], scan["macs"], alone(scan, rates, skipped, "params"), alone(scan, rates, skipped, "macs"))
    wrong += numbers != PAPER[arch, variant]
    print(arch, variant, "layer by layer:", numbers, "as printed" if numbers == PAPER[arch, variant] else "but the paper has others")
sys.exit(bool(wrong))
