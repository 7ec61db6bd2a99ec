"""Settings that several simulations share: input, the start of the moments, preselection.

`collect` puts the settings of a command together from its file and its options. This module imports
no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.bounds import POSITIVE, STEPS, Bounds
from mmtp_jax.cli.settings import (
    Values,
    add_options,
    build,
    label_keys,
    merge,
    options_given,
    read_settings,
    setting,
)
from mmtp_jax.io.label_keys import checked_keys

MAX_MOMENT = 100.0
"""mu_B; no atom has more."""


@dataclass(frozen=True)
class Input:
    """Potential and start."""

    potential: str | None = setting(
        "Potential, .mtp.", example="pot.mtp", required=True, metavar="FILE"
    )
    start: tuple[str, ...] = setting(
        "Configurations to start from, of any format, with moments.",
        (), example=("start.cfg",), required=True, metavar="FILE",
    )  # fmt: skip
    species: tuple[str, ...] | None = setting(
        "Chemical symbols of the types, for a potential that does not name them.",
        example=("Fe", "Al"), metavar="SYMBOL",
    )  # fmt: skip
    keys: tuple[str, ...] = label_keys()


@dataclass(frozen=True)
class LabelledInput(Input):
    """Potential and start."""

    magnetic_gradient: bool = setting(
        "The columns en_der_m* of .cfg files are +dE/dm, as MLIP-3 writes it, not -dE/dm.",
        False, off="--no-magnetic-gradient",
    )  # fmt: skip


@dataclass(frozen=True)
class StartMoments:
    """Magnetic moments."""

    start: tuple[str, ...] | None = setting(
        "Start from a moment for each species, mu_B, not from those of the file.",
        example=("Fe=2.2", "Al=-0.1"), metavar="SYMBOL=MOMENT",
    )  # fmt: skip
    scale: float = setting("Factor of the moments at the start.", 1.0)
    allow_flips: bool = setting("Moments may change their sign.", False, off="--no-flips")


def treatment(shortcut: str) -> Any:
    """A field: whether moments follow; ``shortcut`` is the option that fixes them."""
    return setting(
        "'equilibrate': moments minimise the energy; 'fixed': their magnitudes stay.",
        "equilibrate", choices=("equilibrate", "fixed"), words={shortcut: "fixed"},
    )  # fmt: skip


def magnetic() -> Any:
    """A field: which species change their signs."""
    return setting(
        "Species whose signs change, if not all atoms with a moment.",
        example=("Fe",), metavar="SYMBOL",
    )  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """What simulations keep, and when they stop (Kotykhov 2025: 2 or 4, and 10)."""

    low: float = setting(
        "Grade from which on a configuration is kept.",
        2.0, flag="--grade-select", aliases=("--grade-low",), bounds=POSITIVE,
    )  # fmt: skip
    high: float = setting(
        "Grade above which a simulation stops.",
        10.0, flag="--grade-break", aliases=("--grade-high",), bounds=POSITIVE,
    )  # fmt: skip
    every: int | None = setting(
        "Keep at most one configuration of a replica in so many steps; all if not given.",
        example=10, flag="--grade-every", bounds=STEPS,
    )  # fmt: skip


@dataclass(frozen=True)
class Preselection(Thresholds):
    """What is kept because the potential extrapolates to it, and when to stop for that."""

    active_set: str | None = setting(
        "Watch the grade by this active set, which 'mmtp grade --save-active-set' writes.",
        example="active.npz", metavar="NPZ",
    )  # fmt: skip
    candidates: str | None = setting(
        "File for the configurations that are kept, .cfg or .extxyz.",
        example="candidates.cfg", metavar="FILE",
    )  # fmt: skip
    capacity: int = setting(
        "Configurations of a replica that memory has room for; at least those of one step.",
        256, flag="--grade-capacity", bounds=Bounds(least=1, most=10**6),
    )  # fmt: skip


def check_thresholds(low: float, high: float) -> None:
    """Refuse thresholds that are out of order.

    Raises:
        ValueError: if not 0 < low < high.
    """
    if not 0.0 < low < high:
        raise ValueError(f"preselection needs 0 < low < high, got low {low:g} and high {high:g}")


def check_preselection(settings: Any, given: Values) -> None:
    """Refuse a preselection that cannot be.

    Args:
        settings: those of a command with a section ``preselection``.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words.
    """
    checked_keys(settings.input.keys)
    watched: Preselection = settings.preselection
    check_thresholds(watched.low, watched.high)
    if watched.active_set is None and given.get("preselection"):
        raise ValueError("--grade-select, --grade-break and --candidates need an --active-set")
    candidates = watched.candidates
    if candidates is not None and not candidates.lower().endswith((".cfg", ".extxyz", ".xyz")):
        raise ValueError(
            f"cannot write candidates to {candidates}: its name must end in .cfg, .extxyz or .xyz"
        )


def check_single_start(settings: Input) -> None:
    """Refuse several files to start from where the first configuration alone counts.

    Raises:
        ValueError: if there are several files.
    """
    checked_keys(settings.keys)
    if len(settings.start) > 1:
        raise ValueError(
            f"give one file to start from, got {' and '.join(settings.start)}; its first "
            "configuration counts"
        )


def moments_of_words(words: Sequence[str] | None) -> dict[str, float] | None:
    """Moments by species from words like ``Fe=2.2``, which may also stand in one argument."""
    if words is None:
        return None
    found = {}
    for word in " ".join(words).replace(",", " ").split():
        symbol, _, value = word.partition("=")
        try:
            found[symbol] = float(value)
            if not abs(found[symbol]) <= MAX_MOMENT:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"--start takes a moment for each species, e.g. --start Fe=2.2 Al=-0.1, and got "
                f"{word!r}; put files before it"
            ) from None
    return found


def add_settings(parser: argparse.ArgumentParser, settings_class: type) -> None:
    """Add files, ``--settings`` and the options of a class whose first section is an `Input`."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="potential (.mtp) and start configurations"
    )
    parser.add_argument(
        "--settings", metavar="TOML", help="file with any of the settings; options here win"
    )
    add_options(parser, settings_class, skip=frozenset({"input.potential", "input.start"}))


def collect(
    args: argparse.Namespace,
    settings_class: type,
    command: str,
    check: Callable[[Any, Values], None],
) -> Any:
    """The settings of a command, from its file and its options.

    Raises:
        ValueError: if they cannot be, or there is no potential or no start.
    """
    in_file = read_settings(args.settings, settings_class, command) if args.settings else {}
    given = merge(in_file, options_given(args, settings_class), _files(args.files, in_file))
    settings = build(settings_class, given)
    check(settings, given)
    if settings.input.potential is None or not settings.input.start:
        raise ValueError(
            f"give a potential and a start, e.g. mmtp {command} pot.mtp start.cfg, or a file with "
            "--settings"
        )
    console.check_species(settings.input.species)
    return settings


def inputs_of(settings: Any, args: argparse.Namespace) -> list[str]:
    """The files that a command reads."""
    found = [settings.input.potential, *settings.input.start, args.settings]
    watched = getattr(settings, "preselection", None)
    found += [watched.active_set] if watched is not None else []
    return [path for path in found if path is not None]


def _files(files: list[str], in_file: Values) -> Values:
    """The potential is the file that ends in .mtp, or where none does and there is none, the first.

    Raises:
        ValueError: if there are several potentials.
    """
    potentials = [file for file in files if file.lower().endswith(".mtp")]
    if len(potentials) > 1:
        raise ValueError(f"give one potential, got {' and '.join(potentials)}")
    if not potentials and "potential" not in in_file.get("input", {}):
        potentials = files[:1]
    given: dict[str, Any] = {}
    if potentials:
        given["potential"] = potentials[0]
    start = tuple(file for file in files if file not in potentials)
    if start:
        given["start"] = start
    return {"input": given}
