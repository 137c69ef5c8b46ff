#!/usr/bin/env bash
# Installs what some tests need of the system, where it is missing: a Chromium to open the report in, and FashionMNIST.
#
#   bash scripts/system_packages.sh
#
# Chromium needs apt-get, and root or a sudo that asks for no password. Without it, or without FashionMNIST, the
# tests that need them are skipped (and fail where NC_RUNNER_ALL_TESTS=1, as in .ci/run).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "system_packages.sh: $1" >&2
  exit 1
}

has_chromium() {
  local name
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1 && return 0
  done
  return 1
}

install_chromium() {
  command -v apt-get >/dev/null || fail "this system has no apt-get; install chromium by hand"
  local as_root=() log
  if [[ $(id -u) -ne 0 ]]; then
    sudo -n true 2>/dev/null || fail "not root, and sudo asks for a password; install chromium by hand"
    as_root=(sudo -n)
  fi
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  echo "system_packages.sh: installing chromium"
  # Package lists may be missing, as in fresh containers.
  "${as_root[@]}" apt-get install -y --no-install-recommends chromium >"$log" 2>&1 ||
    { "${as_root[@]}" apt-get update >"$log" 2>&1 &&
      "${as_root[@]}" apt-get install -y --no-install-recommends chromium >"$log" 2>&1; } ||
    fail "apt-get install chromium failed: $(tail -n 1 "$log")"
  rm -f "$log"
}

has_chromium || install_chromium
bash scripts/fashion_mnist.sh "${NC_RUNNER_DATA:-data}"
