"""What simulations keep, and how a loop of active learning runs: frozen dataclasses."""

from __future__ import annotations

from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.language import named
from mmtp_jax.options import COUNT, POSITIVE, STEPS, Bounds, by_name, option, options
from mmtp_jax.oracles.options import JobOptions

CONFIGURATION = "configuration"
NEIGHBORHOOD = "neighborhood"
MODES = (CONFIGURATION, NEIGHBORHOOD)


@options
class Thresholds:
    """Grades at which a configuration is kept, and at which a simulation stops.

    Kotykhov 2025 keeps above 2 during relaxation and above 4 during dynamics (where more is met
    than can be selected from), and stops above 10. Burov 2026 takes 3 and 5, because many
    trajectories at several volumes give many candidates. 2 and 10 are the usual ones.
    """

    grade_select: float = option(
        "Grade from which on a configuration is kept as a candidate for a label; the simulation "
        "goes on.", 2.0, bounds=POSITIVE, old=("low",),
        old_flags={"--grade-low": "--grade-select", "--grade-save": "--grade-select"},
    )  # fmt: skip
    grade_break: float = option(
        "Grade above which a simulation stops, for what it does is no longer what the potential "
        "was fitted to.", 10.0, bounds=POSITIVE, old=("high",),
        old_flags={"--grade-high": "--grade-break"},
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.grade_select < self.grade_break:
            raise ValueError(
                f"{named('grade_select')} must be below {named('grade_break')}, got "
                f"{self.grade_select:g} and {self.grade_break:g}"
            )


@options
class Keeping:
    """How many candidates are kept."""

    grade_every: int | None = option(
        "Keep at most one configuration of a replica in so many steps, but where it stops; all if "
        "not given.",
        example=10, bounds=STEPS, old=("every",),
    )  # fmt: skip
    grade_capacity: int = option(
        "Configurations of a replica that memory has room for; at least those of one step.",
        256, bounds=Bounds(least=1, most=10**6), old=("capacity",),
    )  # fmt: skip


@options
class Choice:
    """What is labelled."""

    mode: str = option(
        "Rows of the active set: whole cells ('configuration'), or atoms ('neighborhood'), for "
        "simulations of larger cells than those that can be labelled.",
        CONFIGURATION, choices=MODES,
    )  # fmt: skip
    limit: int | None = option(
        "Label at most so many configurations in an iteration.", example=50, bounds=COUNT
    )


@options
class Loop:
    """The loop."""

    max_iterations: int = option("Rounds of simulations.", 20, bounds=Bounds(least=1, most=999))
    min_dist_margin: float = option(
        "R_min of a fit over the shortest distance of its training set: room for simulations to "
        "come closer before they stop.",
        0.95, bounds=Bounds(above=0.0, most=1.0),
    )  # fmt: skip


@by_name
@options
class LearnOptions(JobOptions, Loop, Keeping, Choice):
    """Preselection, selection, labels and fit of every iteration.

    The grade watches configurations that come closer than the training set does, as
    `fitting.initial.MAGMOM_MARGIN` leaves room for moments.
    """

    thresholds: Thresholds = option("What simulations keep, and when they stop.", Thresholds)
    fit: FitOptions = option(
        "Of the first fit and of every refit, which starts from the parameters before.", FitOptions
    )

    def __post_init__(self) -> None:
        if self.fit.checkpoint is not None:
            raise ValueError("the fits of a loop have no checkpoint: an iteration is done again")
