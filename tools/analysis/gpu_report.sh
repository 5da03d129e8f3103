#!/usr/bin/env bash
# Report what this machine's GPU does with mmdssl: tools/analysis/gpu_report.sh [--data FOLDER] [--cpu] [arguments of gpu_report.py]
# Takes the Python of $PYTHON, else that of .venv, which is made where it is missing. A second call goes on with the rest.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    bash "$root/tools/make_env.sh"
    PYTHON=$root/.venv/bin/python
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" -u "$root/tools/analysis/gpu_report.py" "$@"
