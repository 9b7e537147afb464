#!/usr/bin/env bash
# What only a GPU can show, in pieces of under ten minutes each, an hour together: bench/gpu.sh [PIECE ...]; --list names them.
# Every piece says what it proves and adds what it found to bench/GPU.md.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3 # a machine with an environment of its own
PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m bench.gpu "$@"
