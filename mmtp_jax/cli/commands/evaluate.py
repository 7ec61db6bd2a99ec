"""``mmtp evaluate``: predictions and errors of a potential on configurations."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.md_settings import Run
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    LabelReading,
    data,
    file,
    missing_moments,
    output,
)
from mmtp_jax.io.compressed import suffixes
from mmtp_jax.language import counted
from mmtp_jax.options import Bounds, like, option, options

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.cli.comparison import Evaluated
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.structures.results import Result

_EPILOG = """\
examples:
  mmtp evaluate pot.mtp test.cfg --plot parity.png
  mmtp evaluate pot.mtp structures.extxyz -o predicted.extxyz
  mmtp evaluate level8.mtp level12.mtp bulk.cfg surfaces.cfg --plot parity.png
  mmtp evaluate pot.0.mtp pot.1.mtp pot.2.mtp new.extxyz --committee -o predicted.extxyz
  mmtp evaluate pot.mtp test.extxyz --prefix mmtp_ -o both.extxyz

Of several potentials and files there is a table for each potential with a row for each file, and
the figure lays the potentials over each other. Configurations with the largest errors are listed,
each by its worst kind of label in units of the error of all. With --committee there is one table,
of the mean over the potentials, and how far they differ; -o FILE.extxyz has energy_std, forces_std
and magnetic_forces_std beside the means.

Predictions are written as labels: energy, forces, stress, moments and magnetic forces -dE/dm. In
a .cfg file these go to en_der_m* with the sign of published data sets, -dE/dm.
"""


@options
class EvaluateSettings(LabelReading):
    """A potential, configurations, and what is written."""

    potential: tuple[str, ...] = option(
        "Potentials, .mtp, or names of 'mmtp potentials'.",
        (), example=("pot.mtp",), required=True, positional="a potential", metavar="POTENTIAL",
    )  # fmt: skip
    data: tuple[str, ...] = data("Configurations of any format.", "configurations")
    committee: bool = option(
        "Mean and standard deviation of several potentials, in place of a comparison.", False
    )
    output: str | None = output("Predictions, .cfg or .extxyz.", "predicted.extxyz")
    prefix: str | None = option(
        "Write predictions beside the labels, under names with this prefix.", example="mmtp_"
    )
    worst: int = option(
        "Configurations with the largest errors that are listed.", 5,
        bounds=Bounds(least=0, most=10_000),
    )  # fmt: skip
    dtype: str = like(
        Run, "dtype",
        help="Precision; mixed has neighbours in float32 and the rest in float64.",
    )  # fmt: skip
    report: str | None = file("Errors as JSON.", "report.json", aliases=("json",))
    plot: str | None = file("Parity plot (.png, .pdf or .svg).", "parity.png")
    missing_moments: str | None = missing_moments(None)


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "evaluate",
        help="predictions and errors of potentials",
        description="Evaluate potentials; print their errors where the configurations are "
        "labelled, and a summary of the predictions where they are not.",
        epilog=_EPILOG,
    )
    declare(parser, EvaluateSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    console.check_outputs(
        settings.report, plots=(settings.plot,), configurations=(settings.output,)
    )
    for path in (settings.output, settings.report, settings.plot):
        console.check_distinct(path, inputs_of(settings, args))

    import mmtp_jax as mmtp
    from mmtp_jax.cli.comparison import evaluated, short_names, side_by_side, spread_table
    from mmtp_jax.potential.committee import committee_of
    from mmtp_jax.structures.screening import sentences

    names = short_names(settings.potential)
    found: dict[str, Evaluated] = {}
    read: dict[tuple[str, ...], dict[str, list[Atoms]]] = {}
    asked: dict[str, tuple[str, ...]] = {names[path]: (path,) for path in settings.potential}
    if settings.committee:
        asked = {f"mean of {' '.join(names.values())}": settings.potential}
    for name, paths in asked.items():
        members = [console.load_fitted(path, settings.species) for path in paths]
        potential = members[0]
        if settings.committee:
            committee_of(members, paths)
        if potential.species not in read:
            read[potential.species] = _read(settings, potential)
            atoms_list = [a for of in read[potential.species].values() for a in of]
            if len(read) == 1:
                for sentence in sentences(mmtp.screen(atoms_list), len(atoms_list)):
                    console.warn(sentence)
                _print_counts(settings, atoms_list)
        of = found[name] = evaluated(
            members if settings.committee else potential, read[potential.species], settings.dtype
        )
        _print(settings, of, name if len(settings.potential) > 1 else "")
        if settings.committee:
            print(f"\n{spread_table(of.atoms_list, of.results)}")
    if len(found) > 1 and of.whole[0]:
        print(f"\n{side_by_side(found)}")
    print()
    if settings.output is not None:
        console.say_kept(settings.output)
        vectors = settings.vectors or None
        mmtp.write(
            settings.output,
            _predictions(settings, found),
            species=potential.species,
            vectors=vectors,
        )
        print(f"wrote {settings.output}")
    if settings.report is not None:
        console.write_json(settings.report, _content(settings, found))
        print(f"wrote {settings.report}")
    if settings.plot is not None:
        from mmtp_jax import plot
        from mmtp_jax.plot.style import save_figure

        (one, *others) = found.values()
        sets = {name: of.whole[0] for name, of in found.items()}
        if not others:
            sets = {name: one.sets[name][0] for name in one.counts}
        save_figure(settings.plot, plot.parity_of(sets))
        print(f"wrote {settings.plot}")


def check(settings: EvaluateSettings, given: Values) -> None:
    """Refuse predictions of several potentials under one name, and a prefix that names none.

    Raises:
        ValueError: in words.
    """
    several = len(settings.potential) > 1 and not settings.committee
    if several and settings.output is not None and settings.prefix is None:
        raise ValueError(
            "-o holds the predictions of one potential as labels; with several give --prefix, e.g. "
            "--prefix mmtp_, for names beside the labels, or --committee for their mean"
        )
    if settings.prefix is not None:
        if settings.output is None or not suffixes(settings.output)[0].endswith("xyz"):
            raise ValueError("--prefix needs -o FILE.extxyz, the format with room for more names")
        if not settings.prefix.replace("_", "").isalnum():
            raise ValueError(
                f"--prefix takes letters, digits and _, e.g. mmtp_, got {settings.prefix!r}"
            )


def _read(settings: EvaluateSettings, potential: Potential) -> dict[str, list[Atoms]]:
    """The configurations of each file."""
    from mmtp_jax.cli.comparison import settled, short_names

    found = {}
    for path, name in short_names(settings.data).items():
        atoms_list = console.read_data(path, potential.species, settings)
        if potential.magnetic_size > 1:
            atoms_list = settled(atoms_list, settings.missing_moments, potential.non_magnetic)
        found[name] = atoms_list
    return found


def _print_counts(settings: EvaluateSettings, atoms_list: Sequence[Atoms]) -> None:
    from mmtp_jax.io.schema import labels_of

    n_atoms = sum(map(len, atoms_list))
    n_known = sum(labels_of(atoms).moments is not None for atoms in atoms_list)
    print(
        f"{counted(len(atoms_list), 'configuration')}, {counted(n_atoms, 'atom')}, "
        f"{settings.dtype}; moments (magmoms) of {counted(n_known, 'configuration')}"
    )


def _print(settings: EvaluateSettings, of: Evaluated, potential: str) -> None:
    """The tables of one potential, with its name where there are several."""
    from mmtp_jax.fitting.report import error_table, worst_table
    from mmtp_jax.io.schema import SOURCE

    print(f"\n{potential}:" if potential else "")
    if not of.whole[0]:
        print("no labels to compare with\n")
        print(summary(of.atoms_list, of.results))
        return
    print(error_table(of.errors))
    labelled = [k for k, one in enumerate(of.each) if one]
    if settings.worst and len(labelled) > 1:
        names = [getattr(of.atoms_list[k], SOURCE, f"configuration {k + 1}") for k in labelled]
        print()
        print(worst_table(names, [of.each[k] for k in labelled], settings.worst))


def _content(settings: EvaluateSettings, found: dict[str, Evaluated]) -> dict[str, Any]:
    """What the report holds: the errors over all files, and of each."""
    from mmtp_jax.cli.comparison import spreads_of
    from mmtp_jax.fitting.report import UNITS, errors_of

    paths: Sequence[str] = settings.potential
    if settings.committee:
        paths = list(found)
    content: list[dict[str, Any]] = [
        {
            "potential": path,
            "errors": errors_of(*of.whole).as_dict(),
            "files": {name: of.errors[name].as_dict() for name in of.counts},
        }
        for path, of in zip(paths, found.values(), strict=True)
    ]
    if settings.committee:
        (of,) = found.values()
        content[0]["potentials"] = list(settings.potential)
        content[0]["spread"] = {
            kind: {"unit": UNITS[kind][0], "rms": UNITS[kind][1] * float((values**2).mean() ** 0.5)}
            for kind, values in spreads_of(of.atoms_list, of.results).items()
        }
    head = {"data": list(settings.data), "dtype": settings.dtype}
    return head | (content[0] if len(content) == 1 else {"potentials": content})


def _predictions(settings: EvaluateSettings, found: dict[str, Evaluated]) -> list[Atoms]:
    """Configurations with predictions in place of their labels, or beside them by a prefix."""
    from mmtp_jax.io.making import potential_making
    from mmtp_jax.structures.making import making_text

    (first, *others) = found.values()
    if settings.prefix is None:
        makings = [potential_making(path) for path in settings.potential]
        making = makings[0] | {"potential": " ".join(of["potential"] for of in makings)}
        pairs = zip(first.atoms_list, first.results, strict=True)
        return [
            _with_spread(with_predictions(atoms, result, making_text(making)), result)
            for atoms, result in pairs
        ]
    prefixes = [settings.prefix]
    if others:
        stems = [re.sub(r"\W", "_", Path(name).stem) for name in found]
        prefixes = [f"{settings.prefix}{stem}_" for stem in stems]
    copies = []
    for k, atoms in enumerate(first.atoms_list):
        copy = atoms.copy()
        copy.calc = atoms.calc
        for prefix, of in zip(prefixes, found.values(), strict=True):
            result = of.results[k]
            copy.info[f"{prefix}energy"] = result.energy
            copy.arrays[f"{prefix}forces"] = result.forces
            copy.arrays[f"{prefix}magnetic_forces"] = result.magnetic_forces
            if result.stress is not None:
                copy.info[f"{prefix}stress"] = result.stress
            _with_spread(copy, result, prefix)
        copies.append(copy)
    return copies


def _with_spread(atoms: Atoms, result: Result, prefix: str = "") -> Atoms:
    """The same atoms with the standard deviations over a committee, where there is one."""
    from mmtp_jax.structures.results import CommitteeResult

    if isinstance(result, CommitteeResult):
        atoms.info[f"{prefix}energy_std"] = result.energy_std
        atoms.arrays[f"{prefix}forces_std"] = result.forces_std
        atoms.arrays[f"{prefix}magnetic_forces_std"] = result.magnetic_forces_std
    return atoms


def with_predictions(atoms: Atoms, result: Result, making: str) -> Atoms:
    """A copy of a configuration that carries predictions in place of its labels."""
    from mmtp_jax.io.atoms import found_in, with_results
    from mmtp_jax.io.schema import KMESH, MAKING, collapse, labels_of
    from mmtp_jax.potential.vector_moments import are_vectors

    moments, copy = labels_of(atoms).moments, atoms.copy()
    copy.info.pop(KMESH, None)
    copy.info[MAKING] = making
    magmoms = moments
    if moments is not None and not are_vectors(result.magnetic_forces):
        magmoms = collapse(moments)
    return with_results(copy, {**found_in(result), "magmoms": magmoms}, result.magnetic_forces)


def summary(atoms_list: Sequence[Atoms], results: Sequence[Result]) -> str:
    """Smallest, mean and largest prediction of each kind as a table."""
    import numpy as np

    from mmtp_jax.fitting.report import EV_PER_CUBIC_ANGSTROM_IN_GPA
    from mmtp_jax.structures.structure import lengths

    rows = {
        "energy (eV/atom)": [r.energy / len(a) for a, r in zip(atoms_list, results, strict=True)],
        "|force| (eV/Angstrom)": np.concatenate(
            [np.linalg.norm(r.forces, axis=1) for r in results]
        ),
        "|magnetic force| (eV/mu_B)": np.concatenate([lengths(r.magnetic_forces) for r in results]),
        "pressure (GPa)": [
            -r.stress[:3].mean() * EV_PER_CUBIC_ANGSTROM_IN_GPA
            for r in results
            if r.stress is not None
        ],
    }
    lines = [f"{'prediction':<28}{'smallest':>14}{'mean':>14}{'largest':>14}"]
    for name, values in rows.items():
        if len(values):
            lines.append(
                f"{name:<28}{np.min(values):>14.5f}{np.mean(values):>14.5f}{np.max(values):>14.5f}"
            )
    return "\n".join(lines)
