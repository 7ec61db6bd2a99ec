"""Progress of fits and counts: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from mmtp_jax.structures.structure import LABELS

if TYPE_CHECKING:
    from mmtp_jax.fitting.fit import Fit
    from mmtp_jax.fitting.progress import Progress
    from mmtp_jax.fitting.report import Errors
    from mmtp_jax.fitting.series import Task

OF_STAGE = {"part": "part of the data", "all": "all data"}
"""What the stages of a fit are called."""

LOG_EVERY = 5.0
"""Seconds between lines where there is no terminal."""

_SHORT = {"energy": "E", "forces": "F", "stress": "S", "magnetic_forces": "T"}


def _shows_bars() -> bool:
    """Whether what is written to stderr can be written over: on a terminal and in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class FitProgress:
    """Callback of `mmtp_jax.fit` that shows how it goes on.

    Errors are evaluated now and then only; a bar says of which step they are, and lines are of
    such steps.

    Use it as a context manager, so that the bar is closed whatever happens.

    Args:
        terminal: whether stderr is one, or a notebook, if not given.
        name: of one of several fits. What stays of it is the line with its result: the bar is
            removed, and a short fit has no other lines.
    """

    def __init__(self, terminal: bool | None = None, name: str = "") -> None:
        self.terminal = _shows_bars() if terminal is None else terminal
        self.name = name
        self._bar: Any = None
        self._latest: Progress | None = None
        self._next_line = time.monotonic() + LOG_EVERY if name else 0.0
        self._last: Progress | None = None
        self._printed = -1

    def __enter__(self) -> FitProgress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if self.terminal or self.name:
            return
        if self._last is not None and self._last.iteration != self._printed:
            self._line(self._last)

    def __call__(self, progress: Progress) -> None:
        """Take the news of one step."""
        if self._last is not None and progress.stage != self._last.stage:
            self._end_stage()
        self._last = progress
        if progress.training is not None:
            self._latest = progress
        late = time.monotonic() - self._next_line
        if self.terminal:
            self._show(progress)
        # A line waits for a step of which the errors are known, but not for long.
        elif late >= 0.0 and (progress.training is not None or late >= LOG_EVERY):
            self._line(progress)
            self._next_line = time.monotonic() + LOG_EVERY

    def _end_stage(self) -> None:
        """Close the bar of a stage, or print its last step; losses start anew with other data."""
        self.__exit__()
        self._bar, self._latest, self._printed = None, None, -1
        if not self.name:
            self._next_line = 0.0

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
                desc=self.name + _stage(progress, " "),
                leave=not self.name,
                bar_format="{desc}{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}",
                file=sys.stderr,
            )
        text = f"loss {progress.loss:.3e}"
        if (of := self._latest) is not None:
            text += f" | step {of.iteration}:{_short(of.training)}"
            if of.validation is not None:
                text += f", validation{_short(of.validation)}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(progress.iteration - self._bar.n)

    def _line(self, progress: Progress) -> None:
        text = (f"{self.name}: " if self.name else "") + _stage(progress, ": ")
        text += f"step {progress.iteration:>5}/{progress.max_iterations}  loss {progress.loss:.4e}"
        if progress.training is not None:
            kinds = progress.training.kinds
            text += "  RMSE" + ",".join(
                f" {k.kind.replace('_', ' ')} {k.rmse:.4g} {k.unit}" for k in kinds
            )
        if progress.validation_loss is not None:
            errors = _short(progress.validation)
            text += f"; validation loss {progress.validation_loss:.4e},{errors}"
        print(text, flush=True)
        self._printed = progress.iteration


def _stage(progress: Progress, after: str) -> str:
    """Which stage of several it is."""
    return OF_STAGE[progress.stage] + after if len(progress.stages) > 1 else ""


class CountProgress:
    """Callback that shows how many of a number of things are done.

    Use it as a context manager, so that the bar is closed whatever happens. Where there is no
    terminal, a line every few seconds.
    """

    def __init__(self, total: int, what: str, terminal: bool | None = None) -> None:
        self.total, self.what = total, what
        self.terminal = _shows_bars() if terminal is None else terminal
        self._bar: Any = None
        self._next_line = time.monotonic() + LOG_EVERY

    def __enter__(self) -> CountProgress:
        if self.terminal:
            from tqdm import tqdm

            size = shutil.get_terminal_size((100, 24))
            self._bar = tqdm(
                total=self.total,
                ncols=size.columns,
                nrows=size.lines,
                bar_format="{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}",
                file=sys.stderr,
                leave=False,
            )
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, n_done: int) -> None:
        """Take the number that are done."""
        if self._bar is not None:
            self._bar.n = n_done
            self._bar.refresh()
        elif time.monotonic() >= self._next_line and n_done < self.total:
            print(f"{n_done} of {self.total} {self.what}", flush=True)
            self._next_line = time.monotonic() + LOG_EVERY


class SeriesProgress:
    """Callback of several fits: the running one as `FitProgress`, and a line for each at its end.

    Use it as a context manager, so that a bar is closed whatever happens.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = terminal
        self._task: Task | None = None
        self._running: FitProgress | None = None
        self._since = 0.0

    def __enter__(self) -> SeriesProgress:
        self._since = time.monotonic()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._running is not None:
            self._running.__exit__()
        self._task = self._running = None

    def __call__(self, task: Task, news: Progress | Fit) -> None:
        """Take the news of one step, or the result of one fit."""
        if hasattr(news, "report"):
            self._finish(task, news)
            return
        if task != self._task:
            self.__exit__()
            self._task = task
            name = f"{task.name} " if self._is_terminal() else task.name
            self._running = FitProgress(self.terminal, name)
        self._running(news)

    def _is_terminal(self) -> bool:
        return sys.stderr.isatty() if self.terminal is None else self.terminal

    def _finish(self, task: Task, fit: Fit) -> None:
        # Members that run together end at the same time: only the first line has one.
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        alone = task == self._task
        self.__exit__()
        errors, of = fit.report.validation, "validation"
        if errors is None:
            errors, of = fit.report.training, "training"
        before = "" if fit.part is None else f"{len(fit.part.history) - 1} + "
        stopped = "stopped, " if fit.interrupted else ""
        print(
            f"{task.name}: {stopped}{before}{fit.n_iterations} steps, "
            + (f"{seconds:.1f} s, " if alone else "")
            + f"loss {fit.loss:.3e}, {of} RMSE{_short(errors)}",
            flush=True,
        )


def _short(errors: Errors) -> str:
    return "".join(f" {_SHORT[k.kind]} {k.rmse:.3g}" for k in errors.kinds if k.kind in _SHORT)


def legend() -> str:
    """What the short names of the bar mean."""
    from mmtp_jax.fitting.report import UNITS

    return ", ".join(f"{_SHORT[k]}: {k.replace('_', ' ')} in {UNITS[k][0]}" for k in LABELS)


def history_rows(fit: Fit) -> list[list[str]]:
    """Header and rows of the CSV with the loss of each step and the errors where known.

    Steps count from 0 in each stage, and loss and errors are those of its data.
    """
    from mmtp_jax.fitting.report import UNITS

    stages = [("all", fit.history, fit.errors, fit.validation_losses)]
    if fit.part is not None:
        stages.insert(0, ("part", fit.part.history, fit.part.errors, {}))
    errors_of = [f"{kind} RMSE ({UNITS[kind][0]})" for kind in LABELS]
    rows = [["iteration", "loss", *errors_of, "validation loss", "stage"]]
    for stage, history, errors, validation in stages:
        for iteration, loss in enumerate(history):
            of = errors.get(iteration, {})
            cells = [f"{of[kind].rmse:.6g}" if kind in of else "" for kind in LABELS]
            cells.append(f"{validation[iteration]:.6g}" if iteration in validation else "")
            rows.append([str(iteration), repr(float(loss)), *cells, stage])
    return rows
