#!/usr/bin/env bash
# All checks of the project: style, types, imports, documentation, tests. Arguments go to pytest; with any, the
# documentation site is left out. Installs nothing outside .venv;
# scripts/system_packages.sh brings what some tests need of the system.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
export NC_RUNNER_DATA=${NC_RUNNER_DATA:-$PWD/data}
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
[ $# -gt 0 ] || bash scripts/docs.sh
.venv/bin/pytest --numprocesses auto --dist worksteal "$@"
