# SPDX-License-Identifier: Apache-2.0
"""Include arrows point one way, and each dependency is met in the one place that is meant for it.
usage: arrows.py SOURCE_ROOT      reads include/espalier and prints every line that breaks a rule"""

import pathlib
import re
import sys

# A folder may include itself and every folder of a lower layer; folders of one layer do not see each other.
LAYERS = [
    ["config.hpp"],
    ["error.hpp"],
    ["backend"],
    ["tensor"],
    ["autograd"],
    ["op"],
    ["nn"],
    ["models", "data", "train"],
    ["prune", "distill"],
    ["io", "report"],
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}

# io's readers and writers know files and bytes, not networks, so data sets and checkpoints may stand on them.
ALSO = {"data": {"io"}, "train": {"io", "data"}, "report": {"io"}}
# Pruning works on what any model lists, never on the models that we happen to ship.
NEVER = {"prune": {"models"}, "distill": {"models"}}

# Which files may include a header that is not ours nor the standard library's.
OUTSIDE = [
    (re.compile(r"Eigen/.*|unsupported/.*"), re.compile(r"backend/(eigen_cpu\.hpp|detail/.*)")),
    (re.compile(r"\w*intrin\.h|arm_\w+\.h"), re.compile(r"backend/detail/.*")),
    (re.compile(r"zlib\.h"), re.compile(r"io/gzip\.hpp")),
    (re.compile(r"cuda.*|thrust/.*|cub/.*|cublas.*"), re.compile(r".*\.cuh")),
    (re.compile(r"iostream"), re.compile(r"(?!)")),
]
LONGEST = 300

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def strip_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def complaints(path, text):
    """What is wrong with one header; `path` counts from include/espalier."""
    found = []
    code = strip_comments(text)
    home = path.split("/")[0]
    if home != "espalier.hpp" and home not in LAYER:
        found.append(f"'{home}' is in no layer; add it to LAYERS in tests/headers/arrows.py")
    for bracket, target in INCLUDE.findall(code):
        if target.startswith("espalier/"):
            there = target[len("espalier/"):].split("/")[0]
            if home == "espalier.hpp" or home not in LAYER:
                continue
            if there in NEVER.get(home, set()):
                found.append(f"{home}/ never includes {there}/, but here is <{target}>")
            elif there == "espalier.hpp":
                found.append("includes the umbrella header, which is for users only")
            elif there not in LAYER:
                found.append(f"<{target}> is in no layer")
            elif there != home and there not in ALSO.get(home, set()) and LAYER[there] >= LAYER[home]:
                found.append(f"{home}/ may not look up or sideways to <{target}>")
        elif bracket == '"':
            found.append(f'"{target}" is not spelt from the include folder, as "espalier/..."')
        else:
            for outside, allowed in OUTSIDE:
                if outside.fullmatch(target) and not allowed.fullmatch(path):
                    found.append(f"<{target}> does not belong in this file")
    if "__CUDACC__" in code and path != "config.hpp" and not path.endswith(".cuh"):
        found.append("says __CUDACC__; config.hpp does that for all")
    if "#pragma once" not in code:
        found.append("has no #pragma once")
    if not text.startswith("// SPDX-License-Identifier: Apache-2.0\n"):
        found.append("does not start with the SPDX line")
    lines = text.count("\n")
    if lines > LONGEST:
        found.append(f"has {lines} lines; split what is over {LONGEST}")
    return found


def header(*includes, body=""):
    lines = ["// SPDX-License-Identifier: Apache-2.0", "#pragma once", *(f"#include <{i}>" for i in includes), body]
    return "\n".join(lines) + "\n"


def check_the_checker():
    """A rule that cannot fail is no rule: each of these must be refused, or allowed, as said."""
    refused = [
        ("backend/x.hpp", header("espalier/tensor/tensor.hpp")),
        ("models/x.hpp", header("espalier/train/sgd.hpp")),
        ("prune/x.hpp", header("espalier/models/vgg.hpp")),
        ("prune/x.hpp", header("espalier/distill/patient.hpp")),
        ("nn/x.hpp", header("espalier/espalier.hpp")),
        ("tensor/x.hpp", header("Eigen/Core")),
        ("tensor/x.hpp", header(body='#include "shape.hpp"')),
        ("tensor/x.hpp", header(body='#include "espalier/op/relu.hpp"')),
        ("data/x.hpp", header("zlib.h")),
        ("op/x.hpp", header("immintrin.h")),
        ("report/x.hpp", header("iostream")),
        ("op/x.hpp", header(body="#ifdef __CUDACC__\n#endif")),
        ("op/x.hpp", "#pragma once\n"),
        ("op/x.hpp", "// SPDX-License-Identifier: Apache-2.0\n"),
        ("op/x.hpp", header(body="\n" * 300)),
        ("cellar/x.hpp", header()),
    ]
    allowed = [
        ("backend/eigen_cpu.hpp", header("Eigen/Core", "espalier/error.hpp")),
        ("data/x.hpp", header("espalier/io/gzip.hpp")),
        ("io/gzip.hpp", header("zlib.h")),
        ("report/x.hpp", header("espalier/prune/plan.hpp", "ostream", body="// not <iostream>, no __CUDACC__")),
        ("espalier.hpp", header("espalier/report/table.hpp")),
    ]
    for path, text in refused:
        assert complaints(path, text), f"should refuse {path}:\n{text}"
    for path, text in allowed:
        assert not complaints(path, text), f"should allow {path}: {complaints(path, text)}"


def main():
    check_the_checker()
    root = pathlib.Path(sys.argv[1]) / "include/espalier"
    headers = sorted(p for p in root.rglob("*") if p.suffix in (".hpp", ".cuh"))
    broken = 0
    for path in headers:
        name = path.relative_to(root).as_posix()
        for complaint in complaints(name, path.read_text()):
            broken += 1
            print(f"{name}: {complaint}")
    print(f"{len(headers)} headers, {broken} complaints")
    return broken > 0 or not headers


sys.exit(main())
