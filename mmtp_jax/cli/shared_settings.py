"""Settings that several commands share: input, the start of the moments, preselection, output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmtp_jax.active.beside import set_of
from mmtp_jax.active.options import Keeping, Thresholds
from mmtp_jax.cli.settings import Values
from mmtp_jax.io.label_keys import checked_keys
from mmtp_jax.options import MULTIPLES, Bounds, option, options
from mmtp_jax.simulation.moments.options import allow_flips

NO_ACTIVE_SET = "none"
"""In place of the file of an active set."""

MAX_MOMENT = 100.0
"""mu_B; no atom has more."""


def potential() -> Any:
    """A field: the potential, an argument."""
    return option(
        "Potential, .mtp, or the name of one of 'mmtp potentials'.", example="pot.mtp",
        required=True, positional="a potential", metavar="POTENTIAL",
    )  # fmt: skip


def potentials(**more: Any) -> Any:
    """A field: the potential, or several, arguments."""
    return option(
        "Potential, .mtp, or the name of one of 'mmtp potentials'; or several, a committee.",
        (), example=("pot.mtp",), required=True, positional="a potential", metavar="POTENTIAL",
        **more,
    )  # fmt: skip


def committee() -> Any:
    """A field: what is done with several potentials."""
    return option(
        "Of several potentials: 'members' does all with each, and gives mean and two standard "
        "deviations over them; 'mean' does it once, with the mean of their energies.",
        "members", choices=("members", "mean"),
    )  # fmt: skip


def data(help: str, called: str) -> Any:
    """A field: configurations, arguments."""
    return option(help, (), example=("data.cfg",), required=True, positional=called, metavar="DATA")


def species() -> Any:
    """A field: what the types are."""
    return option(
        "Chemical symbols of the types, for a potential that does not name them.",
        example=("Fe", "Al"), metavar="SYMBOL",
    )  # fmt: skip


def keys() -> Any:
    """A field: names that labels have in files."""
    return option(
        "Names that labels have in the files, LABEL=NAME; 'none' for one that is not to be read.",
        (), example=("magmoms=spins",), flag="--key", each=True, metavar="LABEL=NAME",
    )  # fmt: skip


def magnetic_gradient() -> Any:
    """A field: the sign of the magnetic forces in .cfg files."""
    return option(
        "The columns en_der_m* of .cfg files are +dE/dm, as MLIP-3 writes after it evaluated a "
        "potential, and not the magnetic forces -dE/dm of published data sets.",
        False,
    )  # fmt: skip


def moments_at_equilibrium() -> Any:
    """A field: moments that are free ones."""
    return option(
        "Files or patterns whose moments nothing held, as those of VASP without a constraint; "
        "'all', or no word, for all files. Their magnetic forces are labels of 0 where there are "
        "none in the file.",
        (), example=("all",), alone="all", metavar="FILE",
    )  # fmt: skip


def vectors() -> Any:
    """A field: moments along one axis as vectors."""
    return option(
        "Moments that are vectors stay so where those of a configuration lie along one axis, too; "
        "such are collinear if not given.",
        False,
    )  # fmt: skip


def missing_moments(default: str | None = "error") -> Any:
    """A field: what to do about labelled configurations without moments."""
    return option(
        "Configurations without magnetic moments: 'error', 'zero' takes their moments for zero, "
        "'skip' leaves them out.",
        default, choices=("error", "zero", "skip"), example="zero",
    )  # fmt: skip


def repeat() -> Any:
    """A field: multiples of a cell."""
    return option(
        "Repeat the cell of each so many times along its vectors.",
        example=(2, 2, 2), bounds=MULTIPLES,
    )  # fmt: skip


def start_moments() -> Any:
    """A field: moments to start from."""
    return option(
        "Start from a moment for each species, mu_B, not from those of the file.",
        example=("Fe=2.2", "Al=-0.1"), metavar="SYMBOL=MOMENT",
    )  # fmt: skip


def output(help: str, example: str | None = None, **more: Any) -> Any:
    """A field: the file that is written, ``-o``."""
    return option(help, example=example, short="-o", flag="--output", metavar="FILE", **more)


def file(help: str, example: str, **more: Any) -> Any:
    """A field: a file."""
    return option(help, example=example, metavar="FILE", **more)


def prefix(name: str) -> Any:
    """A field: of the names of all files that a property is written to, ``-o``."""
    return option("Of the names of all files.", name, short="-o", metavar="PREFIX")


def executor(instead: str) -> Any:
    """A field: where jobs run."""
    return option(
        f"Where they run, {instead}: settings of local processes, executorlib or parsl; see "
        "'mmtp template executor'.",
        example="executor.toml", metavar="TOML",
    )  # fmt: skip


@options
class Reading:
    """How files are read."""

    species: tuple[str, ...] | None = species()
    keys: tuple[str, ...] = keys()


@options
class LabelReading(Reading):
    """How files with labels are read."""

    magnetic_gradient: bool = magnetic_gradient()
    moments_at_equilibrium: tuple[str, ...] = moments_at_equilibrium()
    vectors: bool = vectors()


@options
class Input(Reading):
    """Potential and start."""

    potential: tuple[str, ...] = potentials()
    start: tuple[str, ...] = option(
        "Configurations to start from, of any format, with moments.",
        (), example=("start.cfg",), required=True, positional="a start", metavar="START",
    )  # fmt: skip
    repeat: tuple[int, int, int] | None = repeat()
    committee: str = committee()


@options
class LabelledInput(Input, LabelReading):
    """Potential and start."""


@options
class Crystal(Reading):
    """Potential and crystal."""

    potential: tuple[str, ...] = potentials()
    data: str | None = option(
        "Crystal with moments, of any format; the first configuration counts.",
        example="cell.cfg", required=True, positional="a crystal", metavar="DATA",
    )  # fmt: skip
    repeat: tuple[int, int, int] | None = repeat()
    committee: str = committee()


@options
class StartMoments:
    """Magnetic moments."""

    start: tuple[str, ...] | None = start_moments()
    scale: float = option("Factor of the moments at the start.", 1.0, bounds=Bounds())
    allow_flips: bool = allow_flips()


@options
class Preselection(Keeping, Thresholds):
    """What is kept because the potential extrapolates to it, and when to stop for that."""

    active_set: str | None = option(
        "Watch the grade of each step by this active set, with the thresholds --grade-select and "
        "--grade-break. That beside the potential, pot.active.npz, is looked for without: then the "
        "grades of some configurations (of md about 100) are reported and stop nothing, unless a "
        "threshold or --candidates is given; 'none' for no grades.",
        example="active.npz", metavar="NPZ",
    )  # fmt: skip
    candidates: str | None = file(
        "File for the configurations that are kept, .cfg or .extxyz.", "candidates.cfg"
    )


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
    if watched.active_set in (None, NO_ACTIVE_SET) and given.get("preselection", {}).keys() - {
        "active_set"
    }:
        files = settings.input.potential or ()
        beside = set_of(files[0]) if len(files) == 1 else None
        if watched.active_set is not None or not beside or not beside.exists():
            where = f"; there is no {beside} beside the potential" if beside else ""
            raise ValueError(
                f"--grade-select, --grade-break and --candidates need an --active-set{where}"
            )
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
