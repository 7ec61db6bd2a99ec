"""One VASP calculation in its own folder, run once: what is complete is read, not computed again.

    unconstrained/   INCAR KPOINTS POSCAR POTCAR, then VASP's files, vasp.out, stage.json
    fit/             starts from copies of WAVECAR and CHGCAR of ``unconstrained``
    lambda-2/        starts from ``fit``, and so on
    refined/

``stage.json`` appears when VASP has come to its end. It holds a hash of the inputs of this and of
all earlier calculations, so that changed settings are not mixed with old files.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from mmtp_jax.io.documents import read_json, write_json
from mmtp_jax.oracles.vasp.outputs import Output, is_complete, read_output

DENSITIES = ("WAVECAR", "CHGCAR")
"""What the next calculation starts from."""
_OUTPUTS = (*DENSITIES, "CHG", "OUTCAR", "OSZICAR", "vasprun.xml", "stage.json")


class StageError(Exception):
    """A calculation did not come to its end."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A calculation."""

    name: str
    """Of its folder."""
    inputs: dict[str, bytes]
    """INCAR, KPOINTS, POSCAR and POTCAR."""
    command: str
    start: Stage | None = None
    """The calculation whose wave functions and density this one starts from."""

    @property
    def constrained(self) -> bool:
        """Whether it starts from another one: the first is the one without constraint."""
        return self.start is not None

    @property
    def key(self) -> str:
        """Hash of the inputs of this and of all earlier calculations."""
        digest = hashlib.sha256(b"" if self.start is None else self.start.key.encode())
        for name, content in sorted(self.inputs.items()):
            digest.update(f"{name} {len(content)} ".encode())
            digest.update(content)
        return digest.hexdigest()


def compute(stage: Stage, folder: Path, n_atoms: int) -> Output:
    """The results of a calculation, which is run unless it is complete.

    Raises:
        StageError: if VASP did not come to its end.
        FileNotFoundError: if there is no such executable.
        ValueError: if its files cannot be read.
    """
    if seconds_of(stage, folder) is None:
        _run(stage, folder)
    return read_output(folder / stage.name, n_atoms, stage.constrained)


def seconds_of(stage: Stage, folder: Path) -> float | None:
    """Wall time of a calculation that is complete, None where it is not."""
    try:
        content = read_json(folder / stage.name / "stage.json")
        complete = content["key"] == stage.key and is_complete(folder / stage.name)
        return float(content["seconds"]) if complete else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_densities(folder: Path) -> None:
    """Remove the large files of all calculations in a folder."""
    for name in (*DENSITIES, "CHG"):
        for path in folder.glob(f"*/{name}"):
            path.unlink(missing_ok=True)


def _run(stage: Stage, folder: Path) -> None:
    place = folder / stage.name
    place.mkdir(parents=True, exist_ok=True)
    for name in _OUTPUTS:
        (place / name).unlink(missing_ok=True)
    for name, content in stage.inputs.items():
        (place / name).write_bytes(content)
    if stage.start is not None:
        for path in _densities(stage.start, folder):
            # No link: VASP writes into the file that it has read.
            shutil.copyfile(path, place / path.name)
    status, seconds = _call(stage.command, place)
    if not is_complete(place):
        raise StageError(
            f"VASP ended before its end in {stage.name}, with exit status {status}"
            f"{_last_words(place / 'vasp.out')}"
        )
    content = {"key": stage.key, "seconds": round(seconds, 3), "command": stage.command}
    write_json(place / "stage.json", content)


def _densities(stage: Stage, folder: Path) -> list[Path]:
    """Files that the next calculation starts from; computed again where they were removed."""
    paths = [folder / stage.name / name for name in DENSITIES]
    if seconds_of(stage, folder) is None or not all(path.is_file() for path in paths):
        _run(stage, folder)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise StageError(f"VASP left no {' and no '.join(missing)} in {stage.name}")
    return paths


def _call(command: str, place: Path) -> tuple[int, float]:
    """Exit status and wall time.

    The process stays in the group of the job, which is stopped as a whole when its time is over.
    """
    start = time.perf_counter()
    words = shlex.split(command)
    try:
        with open(place / "vasp.out", "wb") as out:
            done = subprocess.run(
                words, cwd=place, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
    except (FileNotFoundError, PermissionError) as error:
        raise FileNotFoundError(
            f"the command {words[0]!r} cannot be started ({error.strerror}); set command and "
            "collinear_command to what starts vasp_ncl and vasp_std"
        ) from error
    return done.returncode, time.perf_counter() - start


def _last_words(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    return f"; its last words: {lines[-1][:200]}" if lines else "; it said nothing"
