#!/usr/bin/env bash
# A conda environment sees no PYTHONPATH, so the package itself is installed in it, from the folder the run starts in.
set -euo pipefail
python -m pip install --quiet --no-deps --editable .
