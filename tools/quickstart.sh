#!/usr/bin/env bash
# Make the environment where it is missing, then pretrain a tiny ViT with PQCL on the rendered sample world and show what it learned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/make_env.sh
exec .venv/bin/python tools/quickstart.py "$@"
