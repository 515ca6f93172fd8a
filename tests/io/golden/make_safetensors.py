# SPDX-License-Identifier: Apache-2.0
"""Writes safetensors_golden.hpp: small files made by the reference implementation, as C++ arrays.

    pip install safetensors numpy && python3 make_safetensors.py > safetensors_golden.hpp
"""
import json
import struct

import numpy as np
import safetensors
from safetensors.numpy import save
from safetensors import TensorSpec, serialize


def mixed():
    """Every element type we read, at most one metadata key, names that need escaping."""
    r = np.arange(6, dtype=np.float32)
    raw = {
        "b.weight": ("float32", [2, 3], (r / 3).tobytes()),
        "a.weight": ("float32", [1, 2], np.array([-0.0, 1e-42], np.float32).tobytes()),
        "double": ("float64", [2], np.array([0.1, np.inf]).tobytes()),
        "half": ("float16", [3], np.array([1 / 3, 6e-8, -65504], np.float16).tobytes()),
        "brain": ("bfloat16", [2], struct.pack("<HH", 0x3F80, 0xC049)),
        "long": ("int64", [], struct.pack("<q", -(2**40))),
        "int": ("int32", [1, 1, 2], struct.pack("<ii", 7, -8)),
        "byte": ("uint8", [3], bytes([0, 128, 255])),
        "bool": ("bool", [1], b"\1"),
        "empty": ("float32", [2, 0], b""),
        'quote" tab\t é\u0001 \U0001f333': ("uint8", [2], b"\1\2"),
    }
    alive = {k: np.frombuffer(b, np.uint8) for k, (_, _, b) in raw.items()}  # serialize() is given addresses
    specs = {k: TensorSpec(dtype=d, shape=s, data_ptr=alive[k].ctypes.data, data_len=len(b)) for k, (d, s, b) in raw.items()}
    return bytes(serialize(specs, {"format": "pt"}))


GOLDEN = {
    "golden_mixed": mixed(),
    "golden_no_metadata": save({"z": np.ones((2, 2), np.float32), "y": np.array([3], np.int64)}),
    "golden_no_tensors": save({}),
    "golden_only_metadata": save({}, {"note": 'a "quoted"\nline'}),
}

print("// SPDX-License-Identifier: Apache-2.0")
print(f"// Made by make_safetensors.py with safetensors {safetensors.__version__}; do not edit.")
print("#pragma once\n")
for name, data in GOLDEN.items():
    n, = struct.unpack("<Q", data[:8])
    json.loads(data[8:8 + n])
    print(f"inline constexpr unsigned char {name}[] = {{")
    for i in range(0, len(data), 24):
        print("    " + ", ".join(str(b) for b in data[i:i + 24]) + ",")
    print("};")
