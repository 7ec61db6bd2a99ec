"""One program in several processes (`jax.distributed`): how they join, and which of them speaks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmtp_jax import interruption
from mmtp_jax.cli.fit_settings import FitSettings, Output

_VARIABLES = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}


@contextmanager
def joined(settings: FitSettings) -> Iterator[FitSettings]:
    """A block that several processes run together, with the settings that each of them needs.

    The first has those that were given. The others print nothing, and what they write does not
    stay. Who they are is found out by JAX under SLURM, Open MPI and others, and else read from
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
        ValueError: if there is neither.
    """
    import jax

    _initialise()
    if jax.process_index() == 0:
        devices = jax.devices()
        print(
            f"{jax.process_count()} processes with {len(devices)} devices ({devices[0].platform})",
            flush=True,
        )
        yield settings
        return
    with (
        tempfile.TemporaryDirectory(prefix="mmtp-") as folder,
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        # A fit always writes its potential.
        yield replace(settings, output=Output(potential=str(Path(folder) / "pot.mtp")))


def _initialise() -> None:
    import jax

    if jax.distributed.is_initialized():
        return
    options: dict[str, Any] = {}
    for option, variable in _VARIABLES.items():
        if (text := os.environ.get(variable)) is not None:
            if not text.isdigit():
                raise ValueError(f"{variable} must be a whole number, got {text!r}")
            options[option] = int(text)
    try:
        jax.distributed.initialize(**options)
    except (ValueError, RuntimeError) as error:
        known = ", ".join(("JAX_COORDINATOR_ADDRESS", *_VARIABLES.values()))
        raise ValueError(
            f"the processes cannot join ({error}); start them with srun or mpirun, or set {known}"
        ) from error
    # JAX has a handler of its own, for programs that ask it whether they are to end.
    interruption.handle_again()
