#!/usr/bin/env bash
# Make the environment where it is missing, read the code with ruff and run the tests on all cores. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/make_env.sh
start=$SECONDS
.venv/bin/ruff check --quiet .
# One thread in each process: the tests share the cores.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto --dist worksteal "$@"
echo "Tests took $((SECONDS - start)) s."
