#!/usr/bin/env bash
# Builds the documentation site into site/: pages made from the code, then MkDocs, strictly; then checks that all links
# and anchors of the site are there, that no page asks another server, and the spelling. Fails on any.
#
#   bash scripts/docs.sh            then: python3 -m http.server --directory site
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev
export NO_MKDOCS_2_WARNING=1
.venv/bin/python scripts/docs.py
.venv/bin/mkdocs build --strict --clean
.venv/bin/python scripts/docs.py site
