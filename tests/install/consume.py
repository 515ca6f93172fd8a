# SPDX-License-Identifier: Apache-2.0
"""A ten-line program finds espalier the way users do: through pkg-config or CMake after an installation into
an empty folder, or as a Meson subproject. usage: consume.py pkgconfig|cmake|subproject SOURCE_ROOT CXX"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

way, source, cxx = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
consumer = source / "tests/install/consumer.cpp"
environment = {**os.environ, "CXX": cxx}
for name in ("DESTDIR", "CXXFLAGS", "LDFLAGS"):
    environment.pop(name, None)


def need(tool):
    if shutil.which(tool) is None:
        print(f"SKIP: no {tool} on this machine")
        sys.exit(77)


def run(*command, fails=False, **variables):
    print("+", *command, flush=True)
    done = subprocess.run([str(c) for c in command], env={**environment, **variables}, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if bool(done.returncode) != fails:
        sys.exit(f"{done.stdout}\nexit status {done.returncode} of {command[0]}")
    return done.stdout


def check(output):
    print(output, end="")
    assert output.startswith("espalier ") and "266610 parameters" in output, output


def install(work):
    """Installs into work/root; the prefix inside it is /usr. Returns that root."""
    run("meson", "setup", "--wrap-mode=nodownload", "--prefix=/usr", "-Dtests=disabled", "-Dexamples=disabled",
        "-Dbenchmarks=disabled", work / "build", source)
    run("meson", "install", "-C", work / "build", "--destdir", work / "root")
    installed = {p.relative_to(work / "root/usr/include/espalier") for p in
                 (work / "root/usr/include/espalier").rglob("*") if p.is_file()}
    ours = {p.relative_to(source / "include/espalier") for p in (source / "include/espalier").rglob("*") if p.is_file()}
    assert installed == ours, f"the tree was not kept: {installed ^ ours}"
    return work / "root"


def pkgconfig(work):
    need("pkg-config")
    root = install(work)
    words = run("pkg-config", "--define-prefix", "--cflags", "--libs", "espalier",
                PKG_CONFIG_PATH=str(root / "usr/share/pkgconfig")).split()
    run(cxx, "-std=c++20", consumer, *words, "-o", work / "program")
    check(run(work / "program"))


def cmake(work):
    need("cmake")
    root = install(work)
    project = work / "project"
    project.mkdir()
    shutil.copy(consumer, project)
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\n"
        "project(consumer CXX)\n"
        "find_package(espalier 0.1 CONFIG REQUIRED)\n"
        "add_executable(consumer consumer.cpp)\n"
        "target_link_libraries(consumer PRIVATE espalier::espalier)\n")
    run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={root}/usr")
    run("cmake", "--build", project / "build")
    check(run(project / "build/consumer"))
    # A version that was never released is refused rather than taken for this one.
    listing = project / "CMakeLists.txt"
    listing.write_text(listing.read_text().replace("espalier 0.1 ", "espalier 9.9 "))
    run("cmake", "-G", "Ninja", "-S", project, "-B", project / "other", f"-DCMAKE_PREFIX_PATH={root}/usr", fails=True)


def subproject(work):
    project = work / "project"
    embedded = project / "subprojects/espalier"
    embedded.mkdir(parents=True)
    shutil.copy(consumer, project)
    # Only what the library needs: a subproject must not look into tests/, examples/ or bench/ unasked.
    for name in ("meson.build", "meson_options.txt"):
        shutil.copy(source / name, embedded)
    for name in ("include", "packaging"):
        shutil.copytree(source / name, embedded / name)
    (project / "meson.build").write_text(
        "project('consumer', 'cpp', default_options: ['cpp_std=c++20', 'warning_level=3', 'werror=true'])\n"
        "espalier = dependency('espalier', fallback: 'espalier')\n"
        "executable('consumer', 'consumer.cpp', dependencies: espalier)\n")
    run("meson", "setup", "--wrap-mode=nodownload", "--force-fallback-for=espalier", project / "build", project)
    run("meson", "compile", "-C", project / "build")
    check(run(project / "build/consumer"))


need("meson")
with tempfile.TemporaryDirectory() as folder:
    {"pkgconfig": pkgconfig, "cmake": cmake, "subproject": subproject}[way](pathlib.Path(folder))
