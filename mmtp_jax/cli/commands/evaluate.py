"""``mmtp evaluate``: predictions and errors of a potential on configurations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.md_settings import Run
from mmtp_jax.cli.shared_settings import (
    LabelReading,
    data,
    file,
    missing_moments,
    output,
    potential,
)
from mmtp_jax.options import like, options

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.structures.results import Result

_EPILOG = """\
examples:
  mmtp evaluate pot.mtp test.cfg --plot parity.png
  mmtp evaluate pot.mtp structures.extxyz -o predicted.extxyz

Predictions are written as labels: energy, forces, stress, moments and magnetic forces -dE/dm. In
a .cfg file these go to en_der_m* with the sign of published data sets, -dE/dm.
"""


@options
class EvaluateSettings(LabelReading):
    """A potential, configurations, and what is written."""

    potential: str | None = potential()
    data: tuple[str, ...] = data("Configurations of any format.", "configurations")
    output: str | None = output("Predictions, .cfg or .extxyz.", "predicted.extxyz")
    dtype: str = like(
        Run, "dtype",
        help="Precision; mixed has neighbours in float32 and the rest in float64.",
    )  # fmt: skip
    report: str | None = file("Errors as JSON.", "report.json")
    plot: str | None = file("Parity plot (.png, .pdf or .svg).", "parity.png")
    missing_moments: str | None = missing_moments(None)


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "evaluate",
        help="predictions and errors of a potential",
        description="Evaluate a potential; print its errors where the configurations are "
        "labelled, and a summary of the predictions where they are not.",
        epilog=_EPILOG,
    )
    declare(parser, EvaluateSettings)
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
    from mmtp_jax.cli.comparison import evaluate_and_compare, settled
    from mmtp_jax.fitting.report import error_table
    from mmtp_jax.io.making import potential_making
    from mmtp_jax.io.schema import labels_of
    from mmtp_jax.structures.making import making_text
    from mmtp_jax.structures.screening import sentences

    potential = mmtp.load(settings.potential, species=settings.species)
    atoms_list = console.read_data(
        settings.data, potential.species, settings.magnetic_gradient, settings.keys
    )
    if potential.magnetic_size > 1:
        atoms_list = settled(atoms_list, settings.missing_moments)
    for sentence in sentences(mmtp.screen(atoms_list), len(atoms_list)):
        console.warn(sentence)
    results, compared, errors = evaluate_and_compare(potential, atoms_list, settings.dtype)
    n_atoms = sum(map(len, atoms_list))
    n_known = sum(labels_of(atoms).moments is not None for atoms in atoms_list)
    print(
        f"{len(atoms_list)} configurations, {n_atoms} atoms, {settings.dtype}; "
        f"moments (magmoms) of {n_known} configurations"
    )
    if compared:
        print()
        print(error_table({_set_name(settings.data): errors}))
    else:
        print("no labels to compare with")
        print()
        print(summary(atoms_list, results))
    print()
    if settings.output is not None:
        making = making_text(potential_making(settings.potential))
        predictions = [
            with_predictions(a, r, making) for a, r in zip(atoms_list, results, strict=True)
        ]
        console.say_kept(settings.output)
        mmtp.write(settings.output, predictions, species=potential.species)
        print(f"wrote {settings.output}")
    if settings.report is not None:
        console.write_json(
            settings.report,
            {
                "mmtp_jax": mmtp.__version__,
                "potential": settings.potential,
                "data": list(settings.data),
                "dtype": settings.dtype,
                "errors": errors.as_dict(),
            },
        )
        print(f"wrote {settings.report}")
    if settings.plot is not None:
        from mmtp_jax.cli.fit_plots import parity_figure
        from mmtp_jax.cli.plot_style import save_figure

        save_figure(settings.plot, parity_figure({_set_name(settings.data): compared}))
        print(f"wrote {settings.plot}")


def with_predictions(atoms: Atoms, result: Result, making: str) -> Atoms:
    """A copy of a configuration that carries predictions in place of its labels."""
    from mmtp_jax.io.atoms import found_in, with_results
    from mmtp_jax.io.schema import KMESH, MAKING, collapse, labels_of

    moments, copy = labels_of(atoms).moments, atoms.copy()
    copy.info.pop(KMESH, None)
    copy.info[MAKING] = making
    magmoms = None if moments is None else collapse(moments)
    return with_results(copy, {**found_in(result), "magmoms": magmoms}, result.magnetic_forces)


def summary(atoms_list: Sequence[Atoms], results: Sequence[Result]) -> str:
    """Smallest, mean and largest prediction of each kind as a table."""
    import numpy as np

    from mmtp_jax.fitting.report import EV_PER_CUBIC_ANGSTROM_IN_GPA

    rows = {
        "energy (eV/atom)": [r.energy / len(a) for a, r in zip(atoms_list, results, strict=True)],
        "|force| (eV/Angstrom)": np.concatenate(
            [np.linalg.norm(r.forces, axis=1) for r in results]
        ),
        "|magnetic force| (eV/mu_B)": np.concatenate([abs(r.magnetic_forces) for r in results]),
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


def _set_name(files: Sequence[str]) -> str:
    return Path(files[0]).name if len(files) == 1 else f"{len(files)} files"
