"""How to fit: one frozen dataclass, checked when it is made, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtp_jax.fitting.weights import Weights
from mmtp_jax.io.fields import shown
from mmtp_jax.language import named
from mmtp_jax.options import COUNT, MAX_CUTOFF, NOT_NEGATIVE, Bounds, by_name, option, options
from mmtp_jax.structures.rules import RULES


@options
class Domain:
    """Intervals of distances and moments that the potential covers."""

    min_dist: float | None = option(
        "Shortest distance, Angstrom; a fit takes that of its training set and 10 % less if not "
        "given.",
        example=1.9, bounds=Bounds(above=0.0, below=MAX_CUTOFF),
    )  # fmt: skip
    max_magmom: Sequence[float] | float | None = option(
        "Largest moment in mu_B, one number or one per species, 0 for one that is non-magnetic; a "
        "fit takes that of its training set and 10 % more if not given.",
        example=(3.0, 0.3), bounds=Bounds(least=0.0, most=100.0),
    )  # fmt: skip
    keep_domain: bool = option(
        "Keep the intervals of the start potential, whatever the data are.", False, old=("keep",)
    )
    confine: bool = option(
        "Add what keeps atoms and moments inside of the intervals: a repulsion below min_dist, and "
        "an energy of moments beyond max_magmom.",
        True, off="--no-confine",
        off_help="Leave the polynomials alone outside of the intervals; simulations stop there.",
    )  # fmt: skip


def making() -> Any:
    """A field: what to do about labels of different making."""
    return option(
        "Labels of different making (code, functional, U, datasets, spheres, cutoffs, meshes of "
        "cells alike): 'refuse' them; 'shift', fit a constant of the energy for each making and "
        "species; or 'ignore' it.",
        "refuse", choices=RULES,
    )  # fmt: skip


@options
class Method:
    """How to fit."""

    method: str = option(
        "'lbfgs' takes many cheap steps; 'gauss-newton' (Levenberg-Marquardt) few dear ones, which "
        "pays for up to some hundred parameters.",
        "lbfgs", choices=("lbfgs", "gauss-newton"),
    )  # fmt: skip
    max_iterations: int | None = option(
        "Largest number of steps, also of those to a part of the data; 2000 of L-BFGS or 60 of "
        "Gauss-Newton if not given.",
        example=2000, bounds=Bounds(least=0, most=10**9),
    )  # fmt: skip
    tolerance: float = option(
        "The fit ends when the loss falls by less than this fraction over 100 steps of L-BFGS or "
        "3 of Gauss-Newton.",
        1e-3, bounds=NOT_NEGATIVE,
    )  # fmt: skip
    coarse_to_fine: str = option(
        "Fit to a D-optimal part of the data first, then to all of it: 'on', 'off', or 'auto', "
        "where the data have many more atoms than the part, and the start was not fitted before.",
        "auto", choices=("auto", "on", "off"),
    )  # fmt: skip
    best_validation: bool = option(
        "Keep the parameters of the step whose validation loss is lowest, of those at which errors "
        "are evaluated, and not those of the lowest training loss.",
        False,
    )  # fmt: skip
    patience: int | None = option(
        "End early where the validation loss has not fallen for so many steps; the best is kept.",
        example=200, bounds=COUNT,
    )  # fmt: skip
    initialise: bool = option(
        "Solve the linear coefficients by least squares before the first step.",
        True, off="--no-initialise",
        off_help="Start from the linear coefficients as they are, not from their least-squares "
        "solution.",
    )  # fmt: skip
    checkpoint: str | Path | None = option(
        "File that the state of the fit is saved to, and from which the same fit goes on if it "
        "exists.",
        example="fit.npz", metavar="FILE",
    )  # fmt: skip
    devices: int | str | None = option(
        "Divide the data over so many devices, or 'all'; one if not given.",
        example="all", metavar="N|all",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_devices(self.devices)

    @property
    def follows_validation(self) -> bool:
        """Does the validation set decide what is kept?"""
        return self.best_validation or self.patience is not None


@by_name
@options
class FitOptions(Method, Domain):
    """How to fit; what to fit are the arguments of `fit_structures`.

    Where `jax.distributed` has joined several processes, ``devices`` are all if not given.
    """

    weights: Weights = option("Of the loss.", Weights)
    making: str = making()
    checkpoint_every: int = option("Steps between two checkpoints.", 100, bounds=COUNT)
    report_every: int = option(
        "Steps between evaluations of the errors that a callback is told.", 20, bounds=COUNT
    )

    def __post_init__(self) -> None:
        if self.keep_domain and (self.min_dist is not None or self.max_magmom is not None):
            raise ValueError(
                f"{named('keep_domain')} leaves no room for {named('min_dist')} or "
                f"{named('max_magmom')}; drop one"
            )


def check_following(options: Method, has_validation: bool) -> None:
    """Refuse that a validation set decides where there is none.

    Raises:
        ValueError: in words.
    """
    if not options.follows_validation:
        return
    if not has_validation:
        raise ValueError(
            f"{named('best_validation')} and {named('patience')} need a validation set; give one "
            f"({named('validation')}), or leave them out"
        )


def check_deciding(chosen: Method, has_validation: bool) -> None:
    """Refuse folds that decide themselves: they measure errors of what was not looked at.

    Raises:
        ValueError: in words.
    """
    if chosen.follows_validation and not has_validation:
        raise ValueError(
            "what is held out in turn must not decide where a fit ends; give "
            f"{named('validation')} for a part that decides and is in no fold, or leave out "
            f"{named('best_validation')} and {named('patience')}"
        )
    if has_validation and not chosen.follows_validation:
        raise ValueError(
            "folds hold each configuration out once, so a validation set is needed only to decide "
            f"where a fit ends; give {named('best_validation')} or {named('patience')}, or leave "
            f"out {named('validation')}"
        )


def check_devices(devices: int | str | None) -> None:
    """Raise ValueError unless it is a positive number, "all" or None."""
    number = isinstance(devices, int) and not isinstance(devices, bool)
    if not (devices is None or devices == "all" or (number and devices >= 1)):
        raise ValueError(
            f"{named('devices')} must be a positive number or all, got {shown(devices)}"
        )
