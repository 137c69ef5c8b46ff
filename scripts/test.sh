#!/usr/bin/env bash
# All checks of the project on a fresh machine: style, types, tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
export NC_RUNNER_DATA=${NC_RUNNER_DATA:-$PWD/data}
bash scripts/fashion_mnist.sh "$NC_RUNNER_DATA" || echo "test: the tests on FashionMNIST will be skipped" >&2
bash scripts/chromium.sh || echo "test: the tests of the report in a browser will be skipped" >&2
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/pytest --numprocesses auto --dist worksteal "$@"
