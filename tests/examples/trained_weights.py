# SPDX-License-Identifier: Apache-2.0
"""Weights that somebody else trained: ResNet-56 reaches its published 93.39 % on the CIFAR-10 test images.
Reads $ESPALIER_DATA/models/*resnet56*.safetensors and $ESPALIER_DATA/cifar10 (or $ESPALIER_CIFAR10), binary version.
usage: trained_weights.py EVALUATE"""

import json
import os
import pathlib
import subprocess
import sys

data = pathlib.Path(os.environ.get("ESPALIER_DATA", "/nowhere"))
models = sorted(data.glob("models/**/*resnet56*.safetensors"))
folders = [pathlib.Path(f) for f in (os.environ.get("ESPALIER_CIFAR10", "/nowhere"), data / "cifar10", data / "cifar10/cifar-10-batches-bin")]
images = [f for f in folders if (f / "test_batch.bin").is_file()]
if not models or not images:
    print("SKIP:", "no models/*resnet56*.safetensors in ESPALIER_DATA" if not models else "no test_batch.bin in ESPALIER_CIFAR10 or in cifar10 of ESPALIER_DATA")
    sys.exit(77)
done = subprocess.run([sys.argv[1], "--arch", "resnet56", "--model", models[0], "--data", images[0], "--json"],
                      stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
assert done.returncode == 0, done.stderr
found = json.loads(done.stdout)
assert found["images"] == 10_000 and found["params"] == 853_018, found
assert round(100 * found["accuracy"], 2) == 93.39, found["accuracy"]
print("ResNet-56: 93.39 % of 10,000 images")
