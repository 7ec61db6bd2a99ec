"""Active sets on the command line: of a file, of a training set, or that beside the potential."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mmtp_jax.active.beside import set_of
from mmtp_jax.active.options import Choice
from mmtp_jax.cli import console
from mmtp_jax.cli.shared_settings import LabelReading, data, file, missing_moments, potential
from mmtp_jax.io.names import GRADE
from mmtp_jax.io.shipped import FOLDER
from mmtp_jax.options import POSITIVE, like, option, options

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.potential.potential import Potential


@options
class SetSettings(LabelReading):
    """A potential, an active set, and the configurations to look at."""

    potential: str | None = potential()
    data: tuple[str, ...] = data(
        "The training set, then the configurations to look at. Only these with --train, with an "
        "active set, or of one file where pot.active.npz is beside the potential.",
        "configurations",
    )
    active_set: str | None = file(
        "Use this one, .npz; no training set is given then.", "active.npz"
    )
    train: tuple[str, ...] = option(
        "Files of the training set; then all others are looked at.",
        (), example=("train.cfg",), metavar="FILE",
    )  # fmt: skip
    save_active_set: str | None = file("Write the active set, .npz.", "active.npz")
    mode: str | None = like(Choice, "mode", default=None, example="configuration")
    missing_scale: float | None = option(
        "Size of the rows for directions that the training set lacks, relative to it; smaller is "
        "stricter.",
        example=1e-3, bounds=POSITIVE,
    )  # fmt: skip
    missing_moments: str = missing_moments()


def read_settled(settings: SetSettings, files: Sequence[str], potential: Potential) -> list[Atoms]:
    """Configurations of files, all with moments, or without those that have none."""
    from mmtp_jax.io.missing_moments import with_moments

    atoms_list = console.read_data(files, potential.species, settings)
    if potential.magnetic_size == 1:
        return atoms_list
    return with_moments(atoms_list, settings.missing_moments, non_magnetic=potential.non_magnetic)


def split_data(settings: SetSettings) -> tuple[list[str], list[str]]:
    """The files of the training set, and those to look at.

    Raises:
        ValueError: if options contradict.
    """
    if settings.active_set is not None:
        for name in ("mode", "missing_scale"):
            if getattr(settings, name) is not None:
                option = "--" + name.replace("_", "-")
                made = f"was chosen when {settings.active_set} was made"
                raise ValueError(f"{option} {made}; omit it")
        if settings.train:
            raise ValueError("give --train or an --active-set; one of them says what is known")
        return [], settings.data
    if settings.train:
        return settings.train, settings.data
    return ([], settings.data) if _is_beside(settings) else (settings.data[:1], settings.data[1:])


def _is_beside(settings: SetSettings) -> bool:
    """Whether the only file is to be looked at, by the active set beside the potential."""
    own = (settings.mode, settings.missing_scale, settings.save_active_set)
    alone = len(settings.data) == 1 and own == (None, None, None)
    return alone and set_of(settings.potential).is_file()


def no_data(settings: SetSettings, what: str) -> str:
    """That there is nothing to look at, and what would be."""
    beside = set_of(settings.potential)
    return (
        f"there are no {what}; give files with them after the training set, or --train FILE for "
        f"that (there is no active set {beside} beside the potential)"
    )


def active_set(settings: SetSettings, potential: Potential) -> ActiveSet:
    """The active set of a file, or of the training set, whose labels are compared."""
    import mmtp_jax as mmtp
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.structures.making import makings_of

    if settings.active_set is not None:
        return mmtp.ActiveSet.load(settings.active_set, potential)
    training, data = split_data(settings)
    if not training:
        path = set_of(settings.potential)
        print(f"by {path}, to look at: {' '.join(data)}")
        return mmtp.ActiveSet.load(path, potential)
    print(f"training set: {' '.join(training)}" + (f"; to look at: {' '.join(data)}" * bool(data)))
    shipped = set_of(settings.potential)
    if data and not settings.train and shipped.parent == FOLDER:
        # Who has a potential from us has no training set of it.
        console.warn(
            f"{training[0]} is taken as the training set; to look at all files by the active set "
            f"of {settings.potential} give --active-set {shipped}"
        )
    atoms_list = read_settled(settings, training, potential)
    makings = makings_of(structures_for(potential, atoms_list, vectors=True), potential.species)
    if hasattr(settings, "making"):
        makings.check(settings.making)
    for difference in (*makings.differences, *makings.mesh_differences):
        console.warn(f"labels of different making: {difference}")
    options = {"mode": settings.mode, "missing_scale": settings.missing_scale}
    return mmtp.ActiveSet.from_configurations(
        potential, atoms_list, **{k: v for k, v in options.items() if v is not None}
    )


def head(settings: SetSettings, active: ActiveSet) -> dict[str, Any]:
    """Of JSON files: what was graded, and by what."""
    train, data = split_data(settings)
    beside = None if train else str(set_of(settings.potential))
    return {
        "potential": settings.potential,
        "data": list(data),
        "train": list(train),
        "active_set": settings.active_set or beside,
        "mode": active.mode,
    }


def named_grades(atoms_list: Sequence[Atoms], grades: Iterable[float]) -> list[dict[str, Any]]:
    """Of JSON files: configurations by their names, and their grades."""
    from mmtp_jax.io.schema import SOURCE

    names = [getattr(atoms, SOURCE, f"configuration {k}") for k, atoms in enumerate(atoms_list, 1)]
    return [{"name": n, "grade": float(g)} for n, g in zip(names, grades, strict=True)]


def with_grade(atoms: Atoms, grade: float) -> Atoms:
    """A copy with its labels and a grade."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.info[GRADE] = float(grade)
    return copy
