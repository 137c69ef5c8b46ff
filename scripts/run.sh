#!/usr/bin/env bash
# The first look: sets up .venv, trains a small ResNet on real digits for the paper's 350 epochs, draws the figures.
# Settings may follow, as for nc-run: bash scripts/run.sh loss=ce
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""
.venv/bin/nc-run "$@"
.venv/bin/nc-plot outputs/
