#!/usr/bin/env bash
# Makes .venv in the checkout and installs nc-runner into it: bash scripts/setup.sh [EXTRA ...]
# Sourced by run.sh and test.sh. Does nothing where the same was installed before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "setup: Python 3.10 to 3.13 is needed; install one, or name it: PYTHON=/path/to/python3.12 bash $0" >&2
    exit 1
fi

extras=${1:-}
stamp=.venv/.installed-with
wanted="$extras $(sha256sum pyproject.toml 2>/dev/null || shasum -a 256 pyproject.toml)"
if [ ! -x .venv/bin/python ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing nc-runner${extras:+[$extras]} into .venv (torch is large: a few minutes)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
    echo "$wanted" > "$stamp"
fi
