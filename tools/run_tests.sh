#!/usr/bin/env bash
# Make the environment where it is missing and run the tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/make_env.sh
start=$SECONDS
.venv/bin/python -m pytest "$@"
echo "Tests took $((SECONDS - start)) s."
