"""Preselection on the command line: the watch of a simulation, its candidates, why it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmtp_jax.cli import console

if TYPE_CHECKING:
    from mmtp_jax.active.candidates import Block
    from mmtp_jax.cli.shared_settings import Preselection as Settings
    from mmtp_jax.potential.potential import Potential


class Watched:
    """The watch of a command and what it kept; ``watch`` is None where nothing is watched.

    Args:
        settings: the section of the settings.
        potential: of the simulation.
        go_on: the file of candidates is continued.

    Raises:
        ValueError: if the active set belongs to another potential.
    """

    def __init__(self, settings: Settings, potential: Potential, go_on: bool = False) -> None:
        self.settings, self.watch, self.file = settings, None, None
        self.highest: dict[int, tuple[float, int]] = {}
        """Highest grade of each replica, and the step of it."""
        if settings.active_set is None:
            return
        from mmtp_jax.active.active_set import ActiveSet
        from mmtp_jax.active.options import Thresholds
        from mmtp_jax.active.preselection import Preselection
        from mmtp_jax.interfaces.candidates import CandidateFile

        self.watch = Preselection.of(
            ActiveSet.load(settings.active_set, potential),
            Thresholds(settings.grade_select, settings.grade_break),
            grade_every=settings.grade_every,
            grade_capacity=settings.grade_capacity,
        )
        if settings.candidates is not None:
            if not go_on:
                console.say_kept(settings.candidates)
            self.file = CandidateFile(settings.candidates, potential.species, go_on)

    @property
    def files(self) -> list[str]:
        """Files that `keep` adds to."""
        return [] if self.file is None else [str(self.file.path)]

    def keep(self, blocks: Sequence[Block]) -> None:
        """Take what the watch has kept."""
        for block in blocks:
            for grade, replica, step in zip(block.grade, block.replica, block.step, strict=True):
                met = self.highest.get(int(replica), (0.0, 0))
                self.highest[int(replica)] = max(met, (float(grade), int(step)))
        if self.file is not None:
            self.file.add(blocks)

    def stopped(self, who: str, replica: int, steps: str = "step") -> str:
        """That a replica was stopped: at which step, where steps have a name, and its grade."""
        high = self.settings.grade_break
        grade, step = self.highest.get(replica, (0.0, 0))
        if grade <= high:
            return f"{who} stopped: its grade was above {high:g} (--grade-break), or no number"
        at = f" at {steps} {step}" if steps else ""
        return f"{who} stopped{at}: its grade is {grade:.4g}, above {high:g} (--grade-break)"

    def report(self) -> None:
        """Write what is left, and say what was kept."""
        if self.watch is None:
            return
        tally = self.watch.tally
        noun = "configuration" if tally.n_kept == 1 else "configurations"
        print(
            f"{tally.n_kept} {noun} with a grade of at least {self.settings.grade_select:g}, "
            f"highest grade {tally.highest:.4g}"
        )
        if self.file is None:
            return
        self.file.write()
        if self.file.n:
            print(f"wrote {self.file.path}, {self.file.n} candidates")
        else:
            print(f"no configuration had a grade to be kept for; {self.file.path} is not written")
