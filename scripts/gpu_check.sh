#!/usr/bin/env bash
# Everything that a GPU must show, in under eight minutes of one GPU, as a report in Markdown.
#
#   bash scripts/gpu_check.sh [--minutes M] [--out FOLDER] [--wheels FOLDER] [--device DEVICE]
#
# Takes PYTHON, else .venv's, else python3: any Python from 3.10 on with torch 2.6 or newer and torchvision. Needs no network
# and installs nothing there: what is missing is taken from the wheels of --wheels, into a folder of its own; a
# part that lacks something is skipped, and the report says so. Ends with 1 when a part failed.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

wheels='' out=gpu_check passed=()
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) wheels=$(cd "${2:?gpu_check.sh: --wheels needs a folder}" && pwd); shift 2 ;;
        --out) out=${2:?gpu_check.sh: --out needs a folder}; shift 2 ;;
        --minutes | --device) passed+=("$1" "${2:?gpu_check.sh: $1 needs a value}"); shift 2 ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "gpu_check.sh: $1 is no option; see bash scripts/gpu_check.sh --help" >&2; exit 2 ;;
    esac
done
python=${PYTHON:-}
[ -n "$python" ] || { [ -x "$checkout/.venv/bin/python" ] && python=$checkout/.venv/bin/python || python=python3; }
"$python" -c 'import sys, torch, torchvision; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    { echo "gpu_check.sh: $python lacks torch or torchvision, or is older than 3.10; name another: PYTHON=..." >&2; exit 2; }

mkdir -p "$out"
out=$(cd "$out" && pwd)
# The package as an installation has it, conf/ inside it: no build tool is needed.
rm -rf "$out/package"
mkdir "$out/package"
cp -R "$checkout/nc_runner" "$out/package/"
cp -R "$checkout/conf" "$out/package/nc_runner/conf"
export PYTHONPATH=$out/package:$out/libraries${PYTHONPATH:+:$PYTHONPATH}
if [ -n "$wheels" ]; then
    missing=$("$python" - <<'PY'
from importlib.util import find_spec

names = {
    "hydra": "hydra-core>=1.3.2,<1.4", "omegaconf": "omegaconf", "pydantic": "pydantic", "pandas": "pandas",
    "matplotlib": "matplotlib", "rich": "rich", "filelock": "filelock", "scipy": "scipy", "sklearn": "scikit-learn",
    "pytest": "pytest", "pytest_timeout": "pytest-timeout", "hypothesis": "hypothesis", "mpmath": "mpmath",
}
print("\n".join(wanted for name, wanted in names.items() if find_spec(name) is None))
PY
    )
    while read -r wanted; do
        [ -z "$wanted" ] || "$python" -m pip install --quiet --no-index --find-links "$wheels" \
            --target "$out/libraries" "$wanted" || echo "gpu_check.sh: $wanted is not among the wheels" >&2
    done <<<"$missing"
fi
exec "$python" "$checkout/scripts/gpu_check.py" --out "$out" ${passed[@]+"${passed[@]}"}
