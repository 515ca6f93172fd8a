# SPDX-License-Identifier: Apache-2.0
"""`filter_pruning --dry-run --json` prints one JSON object with the integers behind the tables of Li et al. 2017.
usage: dry_run.py FILTER_PRUNING"""

import json
import subprocess
import sys

# (architecture, variant): dense parameters and MACs, pruned parameters and MACs
PAPER = {
    ("vgg16", None): (14_987_722, 313_463_808, 5_397_034, 206_279_680),
    ("resnet56", "a"): (853_018, 125_485_696, 773_336, 112_435_840),
    ("resnet56", "b"): (853_018, 125_485_696, 735_712, 90_907_264),
    ("resnet110", "a"): (1_727_962, 252_887_680, 1_688_522, 212_779_648),
    ("resnet110", "b"): (1_727_962, 252_887_680, 1_168_424, 155_124_352),
}

wrong = 0
for (arch, variant), expected in PAPER.items():
    command = [sys.argv[1], "--arch", arch, "--dry-run", "--json", *(["--variant", variant] if variant else [])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    found = json.loads(done.stdout)
    numbers = tuple(found[net][what] for net in ("dense", "pruned") for what in ("params", "macs"))
    wrong += numbers != expected
    print(arch, variant or "", numbers, "as printed" if numbers == expected else f"but the paper has {expected}")
sys.exit(bool(wrong))
