"""What the GPU path is worth: compiled for cards that are not here, or run on one that is.

    python scripts/gpu_report.py                      # estimates, without any GPU
    python scripts/gpu_report.py --cards h200 a100 --levels 8 16 --dtypes float32 float64
    python scripts/gpu_report.py --check --levels 8 --dtypes float64 --cases evaluate gradient rows
    python scripts/gpu_report.py --run                # on a card, at most ten minutes

Without a card XLA compiles for a description of one: kernels, atomic instructions in the PTX, bytes
that are read and written per atom, and XLA's model of the time. All times are then ESTIMATES.
Launches take about 2 microseconds each beside them, and the model knows no contention. It does not
know the A100 at all: no card has its times where that is one of them.

``--check`` runs what the compiler made of a program on the CPU, with numbers, and compares them
with those of the program for CPUs; the code of kernels is not part of that.

This needs XLA's compiler for CUDA, 4.5 GB in an environment of its own, but neither a GPU nor a
driver:

    python -m venv gpu
    gpu/bin/pip install . "jax[cuda13]"
    gpu/bin/python scripts/gpu_report.py

With a card and its driver the same environment does for ``--run``, which checks the numbers in
float64 against those of the CPU, and that equal inputs give equal bits, before it measures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

CARDS = ("h200", "h100", "a100")
CASES = ("evaluate", "gradient", "rows", "md", "md-equilibrate", "search")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="measure on the GPU of this machine")
    parser.add_argument("--check", action="store_true", help="numbers of programs for a GPU")
    parser.add_argument("--cards", nargs="+", choices=CARDS, default=["h200"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["evaluate"])
    parser.add_argument("--levels", nargs="+", type=int, default=[16])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--forms", nargs="+", default=["parity"])
    parser.add_argument("--atoms", nargs="+", type=int, help="98304, or 1e3 to 1e6 with --run")
    parser.add_argument("--seconds", type=float, default=540.0, help="--run ends after these")
    parser.add_argument("--keep", type=Path, help="folder for the optimised programs")
    options = parser.parse_args()
    if options.run:
        # The numbers are compared with those of the CPU, which must be there too.
        platforms = os.environ.get("JAX_PLATFORMS")
        if platforms and "cpu" not in platforms.split(","):
            os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
        from gpu_run import measure

        measure(options)
        return
    dump = Path(tempfile.mkdtemp(prefix="mmtp-gpu-"))
    # XLA's model ends with an error for an A100, and reads flags only once, when it is loaded.
    model = "" if "a100" in options.cards else "--xla_gpu_collect_cost_model_stats=true"
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        "--xla_gpu_enable_analytical_latency_estimator=true"
        f" {model} --xla_dump_to={dump} {os.environ.get('XLA_FLAGS', '')}"
    )
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        from gpu_estimate import check, estimate

        check(options) if options.check else estimate(options, dump)
    finally:
        shutil.rmtree(dump, ignore_errors=True)


if __name__ == "__main__":
    main()
