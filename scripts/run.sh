#!/usr/bin/env bash
# The first look: sets up .venv, trains a small ResNet on real digits for the paper's 350 epochs, draws the figures
# and says in words what they show. Settings may follow, as for nc-run: bash scripts/run.sh loss=ce
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""
found=(lr=0.1303) # for ResNet8 on digits, by experiment=miniature_lr (docs/results.md)
for setting in "$@"; do
    case $setting in
        lr=* | net=* | data=* | optimizer=* | experiment=* | -m | --multirun) found=() ;;
    esac
done
.venv/bin/nc-run ${found[@]+"${found[@]}"} "$@"
.venv/bin/nc-plot outputs/ --in-words
