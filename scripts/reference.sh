#!/usr/bin/env bash
# Reference runs of the paper's cells, cheapest first, within a time; the same command goes on where it ended.
#
#   bash scripts/reference.sh [--hours H] [--out FOLDER] [SETTING ...]
#
# Trains each network and data set of conf/cells/paper.yaml with both losses at the table's learning rates, for at
# most H hours in all (default 24), and then writes into FOLDER (default reference/) what can be published as it is:
# the CSVs and the record of each run, figures, claims, the report, and versions.txt. Runs themselves, with
# checkpoints, are in FOLDER/outputs. Settings such as precision=bf16 are for every run. Needs nc-run on the PATH, or
# .venv (bash scripts/setup.sh). Ends with 0 when all is trained, 3 when time ran out, 1 when a run failed.
set -uo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

hours=24 out=reference
while [ $# -gt 0 ]; do
    case $1 in
        --hours) hours=${2:?reference.sh: --hours needs a number}; shift 2 ;;
        --out) out=${2:?reference.sh: --out needs a folder}; shift 2 ;;
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *=*) break ;;
        *) echo "reference.sh: $1 is no option; see bash scripts/reference.sh --help" >&2; exit 2 ;;
    esac
done
seconds=$(awk -v h="$hours" 'BEGIN { if (h + 0 <= 0) exit 1; printf "%d", h * 3600 }') ||
    { echo "reference.sh: --hours $hours: give a number above 0, such as 8 or 0.5" >&2; exit 2; }
[ -x "$checkout/.venv/bin/nc-run" ] && PATH="$checkout/.venv/bin:$PATH"
timeout=timeout
command -v timeout >/dev/null || timeout=gtimeout # macOS has none; Homebrew's coreutils has it under this name
command -v $timeout >/dev/null || { echo "reference.sh: there is no timeout: brew install coreutils" >&2; exit 2; }
command -v nc-run >/dev/null || { echo "reference.sh: nc-run is not installed: bash scripts/setup.sh" >&2; exit 2; }

# Cost of 350 epochs, from docs/scaling.md, rising.
cells="stl10:resnet stl10:densenet stl10:vgg mnist:vgg cifar10:vgg fashionmnist:vgg svhn:vgg svhn:densenet \
mnist:densenet cifar10:densenet mnist:resnet fashionmnist:resnet svhn:resnet cifar10:resnet fashionmnist:densenet"

mkdir -p "$out" || exit 1
export NC_RUNNER_DATA=${NC_RUNNER_DATA:-$PWD/data}
NC_RUNNER_DATA=$(cd "$NC_RUNNER_DATA" 2>/dev/null && pwd || echo "$NC_RUNNER_DATA")
cd "$out" || exit 1
ends=$((SECONDS + seconds)) failed=0 late=0

for cell in $cells; do
    data=${cell%%:*} net=${cell##*:}
    left=$((ends - SECONDS))
    [ "$left" -gt 0 ] || { late=1; break; }
    echo "reference.sh: $net on $data, $((left / 60)) minutes left"
    # SIGTERM: the run saves its state, and the same command resumes it; after two more minutes it is killed
    $timeout --signal=TERM --kill-after=120 "$left" \
        nc-run -m experiment=paper "data=$data" "net=$net" loss=mse,ce "$@"
    status=$?
    case $status in
        0) ;;
        124 | 137 | 143) late=1; break ;;
        130) echo "reference.sh: stopped; the same command goes on" >&2; exit 130 ;;
        2) exit 2 ;; # a setting is wrong, for every cell
        *) failed=1 ;;
    esac
done

if compgen -G 'outputs/*/*/run.json' >/dev/null; then
    # early on, no run may have a row yet
    nc-plot outputs/ --out figures --html >plot.log 2>&1 || [ "$late" = 1 ] || failed=1
    find outputs -name metrics.csv -o -name run.json -o -name config.yaml -o -name layers.csv | grep -v '\.sweeps' |
        while read -r file; do
            mkdir -p "runs/$(dirname "${file#outputs/}")" && cp "$file" "runs/${file#outputs/}"
        done
    {
        date -u '+written %Y-%m-%d %H:%M UTC'
        git -C "$checkout" describe --always --dirty 2>/dev/null | sed 's/^/commit /'
        "$(dirname "$(command -v nc-run)")/python" - <<'PY'
import importlib.metadata as metadata
import platform

import torch

print("Python", platform.python_version(), "on", platform.platform())
for name in ("nc-runner", "torch", "torchvision", "numpy", "pandas", "matplotlib", "hydra-core"):
    print(name, metadata.version(name))
print("CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
for index in range(torch.cuda.device_count()):
    print("GPU", index, torch.cuda.get_device_name(index))
PY
    } >versions.txt
    nc-status outputs/ >status.txt 2>&1
fi
[ "$failed" = 1 ] && { echo "reference.sh: some runs failed, see $out/status.txt; the same command tries again" >&2; exit 1; }
[ "$late" = 1 ] && { echo "reference.sh: the time is over; the same command goes on. So far: $out/"; exit 3; }
echo "reference.sh: all is trained; to publish: $out/runs, figures, versions.txt"
