"""What a loop of active learning has on disk, and what is told of each iteration.

    state.json                   iteration and stage that come next
    start.mtp                    the potential before the first fit
    meshes.json                  k-points of cells alike, the same in all iterations
    table.csv, potential.mtp     one row per iteration; the newest potential
    iteration-000/train.cfg      what the potential of this iteration is fitted to
    iteration-000/potential.mtp  the fit; errors.json: before and after it
    iteration-000/active.npz     its active set
    iteration-000/candidates/    one folder per simulation; done.json in it: how it ended
    iteration-000/selected.cfg   what is to be labelled, with its grades
    iteration-000/labelled/      one folder per job; failed/: what was set aside, and why
    iteration-000/suspect/       labels that stand apart from the others, and why
    iteration-000/summary.json   the row of the table;  log: what happened, with times

Every file appears whole or not at all. The state is written after what it speaks of, so that a loop
that is killed does the stage again that it was in.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmtp_jax.io.atomic import atomic_write, writing
from mmtp_jax.io.documents import read_json, write_json
from mmtp_jax.io.fields import checked_fields
from mmtp_jax.tables import aligned

FORMAT = "mmtp_jax learning 1"

STAGES = ("fit", "simulate", "select", "label")
"""Of an iteration, in this order."""


@dataclass(frozen=True)
class Row:
    """One iteration."""

    iteration: int
    training: int
    """Configurations that the potential was fitted to."""
    energy_before: float | None
    """RMSE of the training set before the fit, meV/atom: of the potential that found the new
    configurations. None in the first iteration, and without such labels."""
    energy_after: float | None
    forces_before: float | None
    """meV/Angstrom."""
    forces_after: float | None
    magnetic_forces_before: float | None
    """meV/mu_B."""
    magnetic_forces_after: float | None
    preselected: int | None = None
    """Candidates of all simulations; None where none were run after the last fit."""
    highest_grade: float | None = None
    """Of all configurations that the simulations met."""
    selected: int | None = None
    labelled: int | None = None
    """Those that entered the training set."""
    suspect: int | None = None
    """Those whose labels stand apart from the others, and are set aside."""
    failed: int | None = None


@dataclass(frozen=True)
class State:
    """Where the loop is."""

    iteration: int = 0
    stage: str = STAGES[0]
    finished: bool = False
    converged: bool = False
    message: str = ""


@dataclass(frozen=True)
class LearnFolder:
    """The files of a loop."""

    path: Path
    callback: Callable[[str], None] | None = None

    def iteration(self, k: int) -> Path:
        """Folder of an iteration; made if it is not there."""
        folder = self.path / f"iteration-{k:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # --- state ---

    def open(self, belongs_to: str) -> State:
        """The state of a loop that was cut off, or of a new one.

        Raises:
            ValueError: if the folder holds the loop of another start.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "state.json"
        if not path.exists():
            return State()
        try:
            content = read_json(path)
            if content.pop("format", None) != FORMAT:
                raise ValueError(f"its format is not '{FORMAT}'")
            found = content.pop("belongs_to", None)
            state = State(**checked_fields(content, State, "state"))
            if state.stage not in STAGES or state.iteration < 0:
                raise ValueError(
                    f"there is no stage {state.stage!r} of iteration {state.iteration}"
                )
        except ValueError as error:
            raise ValueError(
                f"{path} is not the state of a loop of learning ({error}); give another folder"
            ) from error
        if found != belongs_to:
            raise ValueError(
                f"{self.path} holds a loop that started from another potential, training set or "
                "with other settings; give another folder, or go on with the same start"
            )
        return state

    def save(self, state: State, belongs_to: str) -> State:
        """Write the state."""
        write_json(
            self.path / "state.json", {"format": FORMAT, "belongs_to": belongs_to, **asdict(state)}
        )
        return state

    # --- what happened ---

    def log(self, iteration: int, text: str) -> None:
        """Add a line to the log of an iteration, and tell it."""
        path = self.iteration(iteration) / "log"
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
        if self.callback is not None:
            self.callback(f"iteration {iteration}: {text}")

    def summarise(self, row: Row) -> None:
        """Write the row of an iteration and the table of all."""
        write_json(self.iteration(row.iteration) / "summary.json", asdict(row))
        write_table(self.path / "table.csv", self.rows())

    def rows(self) -> list[Row]:
        """The rows so far."""
        paths = sorted(self.path.glob("iteration-*/summary.json"))
        return [Row(**read_fields(path, Row)) for path in paths]


def read_fields(path: Path, of: type) -> dict[str, Any]:
    """What a JSON file of the loop holds, with the types of a dataclass.

    Raises:
        ValueError: if it holds something else; the file is named.
    """
    try:
        return checked_fields(read_json(path), of, path.stem)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it, or start the loop in another folder"
        ) from error


def write_table(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Row)])
        for row in rows:
            writer.writerow(["" if v is None else v for v in asdict(row).values()])


_COLUMNS = (
    ("iter", "iteration", "d"),
    ("training", "training", "d"),
    ("preselected", "preselected", "d"),
    ("highest grade", "highest_grade", ".3g"),
    ("selected", "selected", "d"),
    ("labelled", "labelled", "d"),
    ("suspect", "suspect", "d"),
    ("failed", "failed", "d"),
)
_ERRORS = (("E", "energy"), ("F", "forces"), ("T", "magnetic_forces"))


def table(rows: Sequence[Row]) -> str:
    """Aligned text; errors before and after each refit, on its training set."""
    header = [title for title, _, _ in _COLUMNS] + [f"{short} before/after" for short, _ in _ERRORS]
    lines = [header]
    for row in rows:
        cells = []
        for _, name, form in _COLUMNS:
            value = getattr(row, name)
            cells.append("-" if value is None else format(value, form))
        for _, name in _ERRORS:
            pair = (getattr(row, f"{name}_before"), getattr(row, f"{name}_after"))
            cells.append("/".join("-" if v is None else f"{v:.3g}" for v in pair))
        lines.append(cells)
    units = "E: energy, meV/atom; F: forces, meV/Angstrom; T: magnetic forces, meV/mu_B"
    note = f"RMSE of the training set before and after the refit. {units}"
    return "\n".join([aligned(lines, left=()), note])
