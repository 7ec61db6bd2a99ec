"""Grades on the command line: the watch of a simulation, its candidates, why it stopped.

Without an active set, that beside the potential grades some configurations of a simulation, which
costs little and stops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.shared_settings import NO_ACTIVE_SET
from mmtp_jax.language import counted

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.active.candidates import Block
    from mmtp_jax.cli.shared_settings import Preselection as Settings
    from mmtp_jax.potential.potential import Potential


SAMPLES = 100
"""Configurations of a simulation that are graded where nothing is watched."""


def tell_start(path: str, potential: Potential, atoms: Atoms) -> None:
    """Warn of a start that is far from the training set, by the active set beside the potential."""
    from mmtp_jax.active.beside import find_beside, set_of
    from mmtp_jax.active.options import Thresholds

    active, why_not = find_beside(path, potential)
    if why_not:
        console.warn(why_not)
    if active is None:
        return
    (grade,) = active.grade([atoms], missing_moments="zero")
    limit = Thresholds().grade_break
    if grade > limit:
        console.warn(
            f"the start has a grade of {grade:.4g} by {set_of(path)}, above {limit:g}: it is far "
            "from the training set of the potential, and so is what is made of it"
        )


class Watched:
    """The watch of a command and what it kept; ``watch`` is None where nothing is watched.

    Args:
        settings: the section of the settings.
        path: the file of the potential.
        potential: of the simulation.
        go_on: the file of candidates is continued.
        every: steps between configurations that are graded where nothing is watched; 0 where those
            of the end are.

    Raises:
        ValueError: if the active set that is asked for belongs to another potential.
    """

    def __init__(
        self,
        settings: Settings,
        path: str,
        potential: Potential,
        go_on: bool = False,
        every: int = 0,
    ) -> None:
        self.settings, self.watch, self.file, self.every = settings, None, None, every
        self.highest: dict[int, tuple[float, int]] = {}
        """Highest grade of each replica, and the step of it."""
        self.sampled: ActiveSet | None = None
        """The active set beside the potential, where nothing is watched."""
        self._path, self._n_sampled, self._n_above, self._last = path, 0, 0, -1
        if settings.active_set == NO_ACTIVE_SET:
            return
        from mmtp_jax.active.active_set import ActiveSet
        from mmtp_jax.active.beside import find_beside
        from mmtp_jax.active.options import Thresholds
        from mmtp_jax.active.preselection import Preselection
        from mmtp_jax.interfaces.candidates import CandidateFile

        if settings.active_set is not None:
            active = ActiveSet.load(settings.active_set, potential)
        else:
            active, why_not = find_beside(path, potential)
            if settings == type(settings)():
                self.sampled = active
                if why_not:
                    console.warn(why_not)
                return
            if active is None:
                raise ValueError(f"thresholds of grades need an active set; {why_not}")
        self.watch = Preselection.of(
            active,
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

    def sample(self, step: int, atoms_list: Sequence[Atoms]) -> None:
        """Grade what a simulation has come to, by the active set beside the potential."""
        if self.sampled is None or step == self._last:
            # The end of a run may be due as any step is, too.
            return
        self._last = step
        grades = self.sampled.grade(atoms_list, missing_moments="zero")
        for replica, grade in enumerate(grades):
            met = self.highest.get(replica, (0.0, 0))
            self.highest[replica] = max(met, (float(grade), step))
        self._n_sampled += len(grades)
        self._n_above += int((grades >= self.settings.grade_select).sum())

    def stopped(self, who: str, replica: int, steps: str = "step") -> str:
        """That a replica was stopped: at which step, where steps have a name, and its grade."""
        high = self.settings.grade_break
        grade, step = self.highest.get(replica, (0.0, 0))
        if grade <= high:
            return f"{who} stopped: its grade was above {high:g} (--grade-break), or no number"
        at = f" at {steps} {step}" if steps else ""
        return f"{who} stopped{at}: its grade is {grade:.4g}, above {high:g} (--grade-break)"

    def content(self) -> dict[str, Any] | None:
        """What `report` says, for JSON; None where no grades are known."""
        if self.watch is not None:
            tally, low = self.watch.tally, self.settings.grade_select
            return {"watched": True, "highest": tally.highest, "n_kept": tally.n_kept, "from": low}
        if not self._n_sampled:
            return None
        return {
            "watched": False, "highest": max(self.highest.values())[0], "n_graded": self._n_sampled,
            "n_above": self._n_above, "from": self.settings.grade_select,
        }  # fmt: skip

    def report(self) -> None:
        """Write what is left, and say what was kept."""
        if self.watch is None:
            self._report_sampled()
            return
        tally = self.watch.tally
        print(
            f"{counted(tally.n_kept, 'configuration')} with a grade of at least "
            f"{self.settings.grade_select:g}, highest grade {tally.highest:.4g}"
        )
        if self.file is None:
            return
        self.file.write()
        if self.file.n:
            print(f"wrote {self.file.path}, {self.file.n} candidates")
        else:
            print(f"no configuration had a grade to be kept for; {self.file.path} is not written")

    def _report_sampled(self) -> None:
        if not self._n_sampled:
            return
        from mmtp_jax.active.beside import set_of
        from mmtp_jax.active.options import NEIGHBORHOOD

        low, high = self.settings.grade_select, self.settings.grade_break
        grade, step = max(self.highest.values())
        at = f" at step {step}" if step else ""
        which = f"at every step that {self.every} divides" if self.every else "at the end"
        if self.every == 1:
            which = "at every step"
        print(
            f"extrapolation grades by {set_of(self._path)} of "
            f"{counted(self._n_sampled, 'configuration')} {which}: highest "
            f"{grade:.4g}{at}, {self._n_above} of at least {low:g}"
        )
        others = ", and no other step was graded" if self.every > 1 else ""
        print(
            f"  only looked at: nothing was stopped or kept for its grade{others}; --grade-break "
            "X, --grade-select X or --candidates FILE watch each step"
        )
        if grade > 1.0 and self.sampled.mode != NEIGHBORHOOD:
            print("  by whole cells: those larger than the training cells have larger grades")
        if grade > high:
            console.warn(
                f"a grade of {grade:.4g} is far from the training set: label such configurations "
                "(mmtp select) and fit again before results are used"
            )
