"""Progress of a fit: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from mmtp_jax.structures.structure import LABELS

if TYPE_CHECKING:
    from mmtp_jax.fitting.fit import Progress
    from mmtp_jax.fitting.report import Errors

LOG_EVERY = 5.0
"""Seconds between lines where there is no terminal."""

_SHORT = {"energy": "E", "forces": "F", "stress": "S", "magnetic_forces": "T"}


class FitProgress:
    """Callback of `mmtp_jax.fit` that shows how it goes on, and keeps the errors it is told.

    Errors are evaluated now and then only; shown are the latest known.

    Use it as a context manager, so that the bar is closed whatever happens.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.errors: dict[int, Errors] = {}
        """Errors of the training set by iteration, where they were evaluated."""
        self._bar: Any = None
        self._latest: Errors | None = None
        self._next_line = 0.0
        self._last: Progress | None = None
        self._printed = -1

    def __enter__(self) -> FitProgress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if not self.terminal and self._last is not None and self._last.iteration != self._printed:
            self._line(self._last)

    def __call__(self, progress: Progress) -> None:
        """Take the news of one step."""
        self._last = progress
        if progress.training is not None:
            self._latest = self.errors[progress.iteration] = progress.training
        if self.terminal:
            self._show(progress)
        elif time.monotonic() >= self._next_line:
            self._line(progress)
            self._next_line = time.monotonic() + LOG_EVERY

    def _show(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            size = shutil.get_terminal_size((100, 24))
            # Made only now: a resumed fit starts in the middle, and messages come before the bar.
            self._bar = tqdm(
                total=progress.max_iterations,
                initial=progress.iteration,
                # Some terminals say that their size is 0 x 0, and tqdm would believe it.
                ncols=size.columns,
                nrows=size.lines,
                bar_format="{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}",
                file=sys.stderr,
            )
        text = f"loss {progress.loss:.3e}"
        if self._latest is not None:
            text += "".join(f" {_SHORT[k.kind]} {k.rmse:.3g}" for k in self._latest.kinds)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(progress.iteration - self._bar.n)

    def _line(self, progress: Progress) -> None:
        text = f"step {progress.iteration:>5}/{progress.max_iterations}  loss {progress.loss:.4e}"
        if self._latest is not None:
            text += "  RMSE" + ",".join(
                f" {k.kind.replace('_', ' ')} {k.rmse:.4g} {k.unit}" for k in self._latest.kinds
            )
        print(text, flush=True)
        self._printed = progress.iteration


def legend() -> str:
    """What the short names of the bar mean."""
    from mmtp_jax.fitting.report import UNITS

    return ", ".join(f"{_SHORT[k]}: {k.replace('_', ' ')} in {UNITS[k][0]}" for k in LABELS)


def history_rows(history: Any, errors: dict[int, Errors]) -> list[list[str]]:
    """Header and rows of the CSV with the loss of each step and the errors where known."""
    from mmtp_jax.fitting.report import UNITS

    rows = [["iteration", "loss", *(f"{kind} RMSE ({UNITS[kind][0]})" for kind in LABELS)]]
    for iteration, loss in enumerate(history):
        of = errors.get(iteration)
        cells = ["" if of is None or kind not in of else f"{of[kind].rmse:.6g}" for kind in LABELS]
        rows.append([str(iteration), repr(float(loss)), *cells])
    return rows
