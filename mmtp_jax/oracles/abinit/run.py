"""Runs of ABINIT in folders: input, process, output, and what is kept of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase import Atoms

from mmtp_jax.oracles.abinit.datasets import Dataset
from mmtp_jax.oracles.abinit.inputs import Attempt, input_text, variables_of
from mmtp_jax.oracles.abinit.output import Output, messages_of, negative_points, parse_output
from mmtp_jax.oracles.abinit.settings import AbinitSettings

DENSITY = "runo_DEN"
_LONGEST = 300
"""Characters of a message of ABINIT that are kept."""


class Broken(Exception):
    """ABINIT ended without a result."""


class Run:
    """Runs of ABINIT for one attempt."""

    def __init__(
        self, settings: AbinitSettings, datasets: dict[str, Dataset], atoms: Atoms, folder: Path
    ) -> None:
        self.settings, self.datasets, self.atoms, self.folder = settings, datasets, atoms, folder
        self.warnings: list[str] = []
        self.negative_points: int | None = None

    def __call__(self, attempt: Attempt, density: str | None = None) -> Output:
        """Run it, from a file with a density or, for a restart, from that without constraint."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if attempt.restart:
            free = self.folder / "free"
            try:
                self._abinit(free, attempt, constrain=False)
            except Broken as error:
                raise Broken(f"without constraint, {error}") from None
            density = f"free/{DENSITY}"
        try:
            return self._abinit(self.folder, attempt, density=density)
        finally:
            if attempt.restart:
                _clean(self.folder / "free")

    def negative_share(self, output: Output) -> float | None:
        """Share of the fine grid with negative densities; None where others are no measure."""
        if self.negative_points is None or not output.fine_grid:
            return None
        return self.negative_points / output.fine_grid

    def _abinit(self, folder: Path, attempt: Attempt, **options: Any) -> Output:
        """One run in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for symbol, dataset in self.datasets.items():
            dataset.install(folder, f"{symbol}.xml")
        variables = variables_of(self.settings, self.datasets, self.atoms, attempt, **options)
        (folder / "run.abi").write_text(input_text(variables), encoding="utf-8")
        threads = str(self.settings.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        with open(folder / "log", "wb") as log:
            # An input that waits for a terminal would wait for ever.
            status = subprocess.run(
                [*shlex.split(self.settings.mpi), self.settings.executable, "run.abi"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **dict.fromkeys(names, threads)},
                check=False,
            ).returncode
        log_text = (folder / "log").read_text(encoding="utf-8", errors="replace")
        self.warnings += [w[:_LONGEST] for w in messages_of(log_text, "WARNING")]
        # The density of free atoms, from which others start, is what most messages are about.
        from_density = options.get("density") is not None
        self.negative_points = None if from_density else negative_points(log_text)
        errors = messages_of(log_text, "ERROR") + messages_of(log_text, "BUG")
        if errors:
            raise Broken(f"ABINIT stopped: {errors[0][:_LONGEST]}")
        output_file = folder / "run.abo"
        text = output_file.read_text(errors="replace") if output_file.exists() else ""
        try:
            output = parse_output(text)
        except ValueError as error:
            raise Broken(f"ABINIT ended with exit status {status}: {error}") from None
        if output.converged:
            (folder / "log").unlink()
        if options.get("constrain", True):
            _clean(folder, kept=() if output.converged else (DENSITY,))
        return output


def _clean(folder: Path, kept: Sequence[str] = ()) -> None:
    """Keep what is read by people: input, output, and the log where something went wrong."""
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.name.startswith(("runo_", "runi_")) or path.suffix == ".xml":
            path.unlink()


@lru_cache(maxsize=10)
def version_of(executable: str) -> str:
    """The version that an executable says it has, or "unknown"."""
    try:
        answer = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
