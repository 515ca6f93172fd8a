# SPDX-License-Identifier: Apache-2.0
"""Images of ten classes as a folder of IDX files, for tests that want any images, few and small, and want them at once:
noise, and a little of a pattern for each class."""

import pathlib
import random
import struct


def write_images(folder, train, test, side):
    folder = pathlib.Path(folder)
    folder.mkdir()
    draw = random.Random(1)
    patterns = [draw.randbytes(side * side) for _ in range(10)]
    for part, count in (("train", train), ("t10k", test)):
        labels = bytes(i % 10 for i in range(count))
        pixels = b"".join(bytes((3 * noise + signal) // 4 for noise, signal in zip(draw.randbytes(side * side), patterns[label], strict=True)) for label in labels)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, side, side) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels)
    return str(folder)
