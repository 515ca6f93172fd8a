# SPDX-License-Identifier: Apache-2.0
"""Numbers from a name, and safetensors files with the same bytes every time.

Initial weights and inputs of the golden files are functions of (key, index), so
the files need not hold them: tests/golden/README.md gives the pseudo code.
"""

import json
import struct

import numpy as np

MASK = (1 << 64) - 1


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def bits(key, count):
    """SplitMix64 outputs 0..count-1 of the stream whose seed is fnv1a64(key)."""
    with np.errstate(over="ignore"):
        i = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(fnv1a64(key)) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(key, shape, offset=0.0, scale=1.0):
    """offset + scale * v, v on a grid of 2^20 points in [-1, 1); float64."""
    k = (bits(key, int(np.prod(shape))) >> np.uint64(44)).astype(np.float64)
    return (offset + scale * ((k - 524288.0) / 524288.0)).reshape(shape)


def integers(key, shape, below):
    k = bits(key, int(np.prod(shape))) >> np.uint64(44)
    return (k % np.uint64(below)).astype(np.int64).reshape(shape)


KINDS = {np.dtype(np.float64): "F64", np.dtype(np.int64): "I64", np.dtype(np.float32): "F32"}
ORDER = ["F64", "I64", "F32"]


def write_safetensors(path, tensors, metadata):
    """The format's own order (wider element type first, then name), metadata by name:
    the reference writer leaves the order of its metadata to a hash map."""
    entries = sorted(tensors.items(), key=lambda e: (ORDER.index(KINDS[e[1].dtype]), e[0]))
    header = {"__metadata__": {k: str(metadata[k]) for k in sorted(metadata)}}
    begin, blobs = 0, []
    for name, array in entries:
        blob = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": KINDS[array.dtype], "shape": list(array.shape),
                        "data_offsets": [begin, begin + len(blob)]}
        begin += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return 8 + len(text) + begin
