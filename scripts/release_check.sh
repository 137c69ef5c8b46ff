#!/usr/bin/env bash
# Whether what is released installs and works: builds sdist and wheel of the last commit, and tries both.
#
#   bash scripts/release_check.sh [--only PYTHON:VERSIONS] ... [--out FOLDER]
#
# PYTHON is 3.10, 3.11, 3.12 or 3.13; VERSIONS is lowest (the lowest versions of the dependencies that pyproject.toml
# admits and that have wheels for this Python) or newest. Default: both, on 3.10 and 3.13. The wheel is installed with
# the lowest versions, the sdist with the newest, each with all extras but ray, mlflow and wandb, into an environment
# that is deleted afterwards (gigabytes, with PyTorch). There each command is run. FOLDER (default dist/) has the
# sdist and the wheel in the end. Needs uv, build and twine: .venv has them (bash scripts/setup.sh dev).
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extras=(tensorboard joblib slurm search lightning torchmetrics transformers models)

wanted=() out=$checkout/dist
while [ $# -gt 0 ]; do
    case $1 in
        --only)
            case ${2:-} in
                3.1[0-3]:lowest | 3.1[0-3]:newest) wanted+=("$2") ;;
                *) echo "release_check.sh: --only ${2:-}: give PYTHON:VERSIONS, such as 3.10:lowest" >&2; exit 2 ;;
            esac
            shift 2 ;;
        --out) out=${2:?release_check.sh: --out needs a folder}; shift 2 ;;
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "release_check.sh: $1 is no option; see bash scripts/release_check.sh --help" >&2; exit 2 ;;
    esac
done
[ ${#wanted[@]} -gt 0 ] || wanted=(3.10:lowest 3.10:newest 3.13:lowest 3.13:newest)
[ -x "$checkout/.venv/bin/uv" ] && PATH="$checkout/.venv/bin:$PATH"
for tool in uv twine pyproject-build git; do
    command -v "$tool" >/dev/null || { echo "release_check.sh: there is no $tool: bash scripts/setup.sh dev" >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export UV_CACHE_DIR=${UV_CACHE_DIR:-$work/cache}

build() {
    git clone --quiet "$checkout" "$work/source" # what is not committed is not released
    pyproject-build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; exit 1; }
    twine check --strict "$work/dist"/*
    mkdir -p "$out"
    cp "$work/dist"/* "$out"
    (cd "$work/dist" && ls)
}

install() { # PYTHON VERSIONS
    local resolution=highest file all joined
    # Of antlr4, which OmegaConf needs, there is an sdist alone.
    local wheels=(--only-binary :all: --no-binary antlr4-python3-runtime) own=(--no-binary nc-runner)
    file=$(ls "$work/dist"/*.tar.gz)
    if [ "$2" = lowest ]; then
        resolution=lowest-direct own=()
        file=$(ls "$work/dist"/*.whl)
    fi
    all=("${extras[@]/#/--extra=}")
    uv pip compile --quiet --python-version "$1" --resolution "$resolution" "${wheels[@]}" "${all[@]}" \
        --output-file "$work/versions.txt" "$work/source/pyproject.toml"
    uv venv --quiet --python "$1" "$work/env"
    joined=$(IFS=,; echo "${extras[*]}")
    uv pip install --quiet --python "$work/env/bin/python" --constraint "$work/versions.txt" "${wheels[@]}" \
        ${own[@]+"${own[@]}"} "nc-runner[$joined] @ file://$file"
    grep -E '^(torch|torchvision|numpy|pandas|scipy|scikit-learn|matplotlib|pydantic|hydra-core)==' \
        "$work/versions.txt" | tr '\n' ' '
    echo
}

smoke() { # each command, from another folder than the checkout
    rm -rf "$work/try"
    mkdir "$work/try"
    cd "$work/try"
    local bin=$work/env/bin version
    version=$("$bin/python" -c 'import nc_runner; print(nc_runner.__version__)')
    [[ "$(ls "$work/dist")" == *"$version"* ]] || { echo "the version $version is not that of the files" >&2; return 1; }
    "$bin/nc-run" epochs=2 threads=1 progress=none analysis.metrics=all 'analysis.layers=[layer*]'
    "$bin/nc-run" -m launcher=joblib loss=mse,ce net=vgg6 epochs=1 threads=1 progress=none
    "$bin/nc-run" -m net=resnet18 epochs=1 data.samples_per_class=20 analysis.samples=100 threads=2 progress=none
    "$bin/nc-flow" --classes 3 --times 0.1:10
    "$bin/nc-status" outputs/ --json >status.json
    "$bin/nc-plot" outputs/ --html --latex --in-words >plot.txt
    [ -s outputs/figures/nc1.png ] && [ -s outputs/figures/report.html ]
    "$bin/nc-measure" outputs/*resnet8*/* --csv >measured.csv
    "$bin/python" - <<'PY'
import json
import pathlib

import nc_runner
import nc_runner.integrations.lightning
import nc_runner.integrations.torchmetrics
import nc_runner.integrations.transformers

for record in pathlib.Path("outputs").rglob("run.json"):
    if "flow" not in str(record):
        seen = json.loads(record.read_text())["versions"]
        assert nc_runner.__version__ in str(seen), (record, seen)
table = nc_runner.read_runs("outputs")
assert table["nc1"].notna().all() and len(table) == 5, table  # 2 epochs of the first run, 1 of the others
PY
    for shell in bash zsh fish; do "$bin/nc-run" --completion "$shell" >"completion.$shell"; done
    cd "$checkout"
}

build
failed=0
for try in "${wanted[@]}"; do
    began=$SECONDS
    echo "release_check.sh: Python ${try%:*}, ${try#*:} versions"
    set +e # not in the condition of an if: there bash goes on after a command that fails
    (set -e; install "${try%:*}" "${try#*:}"; smoke) >"$work/log" 2>&1
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        grep -E '^torch==' "$work/log" || true
        echo "release_check.sh: Python $try works ($((SECONDS - began)) s)"
    else
        tail -n 40 "$work/log" >&2
        echo "release_check.sh: Python $try FAILED" >&2
        failed=1
    fi
    rm -rf "$work/env"
done
[ "$failed" = 0 ] && echo "release_check.sh: all is well; sdist and wheel are in $out"
exit "$failed"
