#!/usr/bin/env bash
# Installs Debian's chromium, in which the tests open the report; does nothing where a browser of its kind is there.
#
#   bash scripts/chromium.sh
#
# It needs apt-get, and root or a sudo that asks for no password.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
    exit 0
  fi
done

fail() {
  echo "chromium.sh: $1; install chromium by hand" >&2
  exit 1
}

command -v apt-get >/dev/null || fail "this system has no apt-get"
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  sudo -n true 2>/dev/null || fail "not root, and sudo is not to be had without a password"
  as_root=(sudo -n)
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "${as_root[@]}" apt-get install -y --no-install-recommends chromium >"$log" 2>&1; }
echo "chromium.sh: installing chromium"
if ! install; then
  # Package lists may be missing, as in fresh containers.
  "${as_root[@]}" apt-get update >"$log" 2>&1 && install ||
    fail "apt-get install chromium failed: $(tail -n 1 "$log")"
fi
