#!/usr/bin/env bash
# Put FashionMNIST, all 70,000 images, where nc-run looks for it: ROOT/FashionMNIST/raw/.
#
#   bash scripts/fashion_mnist.sh [ROOT] [FOLDER]
#
# ROOT defaults to $NC_RUNNER_DATA, else ./data. The four .gz files come from FOLDER if given, else from Debian's
# package dataset-fashion-mnist: as installed, or else downloaded (not installed) with apt-get.
# Where there is internet, none of this is needed: nc-run data=fashionmnist downloads by itself.
set -euo pipefail

root=${1:-${NC_RUNNER_DATA:-data}}
given=${2:-}
package=dataset-fashion-mnist
installed=/usr/share/datasets/fashion-mnist
names=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
target=$root/FashionMNIST/raw

fail() {
  echo "fashion_mnist.sh: $1" >&2
  exit 1
}

has_all() { # FOLDER SUFFIX
  local name
  for name in "${names[@]}"; do
    [[ -f $1/$name$2 ]] || return 1
  done
}

if has_all "$target" ""; then
  echo "FashionMNIST is already in $target"
  exit 0
fi

mkdir -p "$target"
work=$(mktemp -d "$target/.unpacking-XXXXXX") # beside the target, so that moving is renaming
trap 'rm -rf "$work"; rmdir "$target" "$root/FashionMNIST" 2>/dev/null || true' EXIT # rmdir: only if empty

if [[ -n $given ]]; then
  has_all "$given" .gz || fail "$given does not hold the four files ${names[*]/%/.gz}"
  source=$given
elif has_all "$installed" .gz; then
  source=$installed
else
  advice="get the four .gz files elsewhere and give their folder: bash scripts/fashion_mnist.sh $root FOLDER"
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "this system has no apt; $advice"
  fi
  download() { (cd "$work" && apt-get download "$package") >"$work/log" 2>&1; }
  if ! download; then
    # Package lists may be missing, as in fresh containers; only root can fetch them.
    if [[ $(id -u) -ne 0 ]] || ! apt-get update >"$work/log" 2>&1 || ! download; then
      fail "apt-get download $package failed: $(tail -n 1 "$work/log"); $advice"
    fi
  fi
  dpkg-deb -x "$work/$package"_*.deb "$work/package"
  source=$work/package$installed
  has_all "$source" .gz || fail "the package does not hold the four files; $advice"
fi

for name in "${names[@]}"; do
  gunzip -c "$source/$name.gz" >"$work/$name"
done
for name in "${names[@]}"; do
  mv -f "$work/$name" "$target/$name"
done
echo "FashionMNIST is in $target"
