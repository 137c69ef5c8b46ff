#!/usr/bin/env bash
# Which lines and branches the tests run, those of the processes that they start included. Arguments go to pytest.
#
#   bash scripts/coverage.sh [TESTS ...]      a table, and htmlcov/index.html
#
# Slower than scripts/test.sh, which measures nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
export NC_RUNNER_DATA=${NC_RUNNER_DATA:-$PWD/data}
.venv/bin/coverage erase
failed=0
.venv/bin/coverage run -m pytest --numprocesses auto --dist worksteal "$@" || failed=$? # the table is of use where a test fails, too
.venv/bin/coverage combine --quiet
.venv/bin/coverage html --quiet
.venv/bin/coverage report
exit "$failed"
