#!/usr/bin/env bash
# Make the environment .venv with everything mmdssl needs, unless it is there and up to date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.installed-for
if [ -f "$stamp" ] && cmp -s pyproject.toml "$stamp"; then
    exit 0
fi

suitable='import sys; sys.exit(sys.version_info < (3, 10))'
for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c "$suitable" >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "error: no Python 3.10 or newer found: install one, or name it with PYTHON=/path/to/python" >&2
    exit 2
fi

start=$SECONDS
echo "Making the environment .venv with $("$python" --version), once; this takes minutes and about 6 GB."
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade pip
echo "1 of 2: PyTorch, by far the largest part ..."
.venv/bin/python -m pip install --quiet torch torchvision
echo "2 of 2: mmdssl with all that it, mmdet, mmseg and the tests need ..."
.venv/bin/python -m pip install --quiet --editable '.[test]'
cp pyproject.toml "$stamp"
echo "Installed in $((SECONDS - start)) s."
