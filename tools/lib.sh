# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts beside it: what to install, how to install it, how many jobs this machine bears.
# Everything here speaks on stderr, because stdout belongs to results.
# shellcheck shell=bash disable=SC2034

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# package | what is asked to know whether it is there | what it is for
build_needs='
g++                   | command c++               | compiles espalier
meson                 | command meson             | configures the build
ninja-build           | command ninja             | runs the build
pkg-config            | command pkg-config        | finds libraries
libeigen3-dev         | library eigen3            | linear algebra on the CPU
zlib1g-dev            | library zlib              | reads gzip-compressed data sets
libcli11-dev          | library CLI11             | command lines of the examples
dataset-fashion-mnist | file /usr/share/datasets/fashion-mnist | the images that demo and tests use
'
test_needs='
doctest-dev           | file /usr/include/doctest/doctest.h | the test framework
nlohmann-json3-dev    | library nlohmann_json     | what our JSON is compared with
cmake                 | command cmake             | finds doctest; tests the CMake package
'

there() {  # there KIND NAME
  case $1 in
    command) command -v "$2" >/dev/null ;;
    library) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
    file) [ -e "$2" ] ;;
  esac
}

# install_missing TABLE...: installs what the tables name and this machine lacks, and says so first.
install_missing() {
  local package probe why missing=()
  while IFS='|' read -r package probe why; do
    package=${package// /}
    [ -n "$package" ] || continue
    # shellcheck disable=SC2086
    there $probe && continue
    [ ${#missing[@]} -gt 0 ] || say 'these Debian packages are missing and will be installed:'
    printf '  %-22s%s\n' "$package" "${why# }" >&2
    missing+=("$package")
  done <<<"$(printf '%s' "$@")"
  [ ${#missing[@]} -gt 0 ] || return 0

  local root=() apt=(apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  command -v apt-get >/dev/null ||
    die "there is no apt-get here; install the equivalents of: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      die "installing needs root and there is no sudo; as root, run: apt-get install ${missing[*]}"
    root=(sudo)
    # Without a terminal sudo cannot ask for a password, so it should fail rather than wait.
    [ -t 0 ] || root=(sudo -n)
  fi
  root+=(env DEBIAN_FRONTEND=noninteractive)
  "${root[@]}" "${apt[@]}" update >&2 || say 'the package lists could not be refreshed; trying with the ones at hand'
  # apt's own account of hundreds of packages is worth reading only if it fails.
  local log
  log=$(mktemp)
  if ! "${root[@]}" "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "could not install: ${missing[*]}"
  fi
  rm -f "$log"
  say 'installed.'
}

# A compiler process of this project needs up to about 1.5 GB; more jobs than memory would make the machine swap.
jobs() {
  local processors gigabytes
  processors=$(nproc 2>/dev/null || echo 1)
  gigabytes=$(awk '/^MemAvailable:/ {print int($2 / 1.5e6)}' /proc/meminfo 2>/dev/null || echo "$processors")
  [ "${gigabytes:-1}" -ge 1 ] || gigabytes=1
  echo $((processors < gigabytes ? processors : gigabytes))
}

# configure FOLDER OPTION...: a build folder, made on first use and kept afterwards.
configure() {
  local folder=$1 log
  shift
  [ ! -e "$folder/build.ninja" ] || return 0
  log=$(mktemp)
  if ! meson setup "$folder" "$@" >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "meson could not configure $folder"
  fi
  rm -f "$log"
}
