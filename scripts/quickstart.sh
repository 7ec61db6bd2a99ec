#!/usr/bin/env bash
# Fit a potential to real DFT data, on a machine that has nothing but Python 3.11 to 3.13 and pip:
# makes a virtual environment (.venv here, or $MMTP_ENV), installs the package and runs
# `mmtp quickstart`. Arguments go to it:  bash scripts/quickstart.sh --output demo
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
environment="${MMTP_ENV:-$root/.venv}"
if [ ! -x "$environment/bin/python" ]; then
    python="${PYTHON:-python3}"
    if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
        echo "quickstart: Python 3.11 to 3.13 is needed; set PYTHON to one, e.g. PYTHON=python3.12" >&2
        exit 2
    fi
    echo "making a virtual environment in $environment"
    "$python" -m venv "$environment"
fi
echo "installing mmtp_jax into $environment; the first time takes a minute or more"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$root"
"$environment/bin/mmtp" quickstart "$@"
echo
echo "mmtp and Python with the package are in $environment:  source $environment/bin/activate"
