#!/usr/bin/env bash
# The tests that are too long for every run.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/test.sh --collect-only -q > /dev/null
exec "${MMTP_TEST_ENV:-.venv-test}/bin/python" -m pytest -m slow "$@"
