"""``mmtp evaluate``: predictions and errors of a potential on configurations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command

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
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", nargs="+", help="configurations of any format")
    parser.add_argument("-o", "--output", metavar="FILE", help="predictions, .cfg or .extxyz")
    parser.add_argument(
        "--dtype",
        choices=("float64", "mixed", "float32"),
        default="float64",
        help="precision (default float64); mixed has neighbours in float32 and the rest in float64",
    )
    parser.add_argument("--report", metavar="FILE", help="errors as JSON")
    parser.add_argument("--plot", metavar="FILE", help="parity plot (.png, .pdf or .svg)")
    add_reading_options(parser)
    add_moments_option(parser, "zero, with a warning")
    parser.set_defaults(run=run)


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Options that say how to read potentials and .cfg files."""
    parser.add_argument(
        "--species",
        nargs="+",
        metavar="SYMBOL",
        help="chemical symbols of the types, for a potential that does not name them",
    )
    parser.add_argument(
        "--magnetic-gradient",
        action="store_true",
        help="en_der_m* of .cfg files is +dE/dm, as MLIP-3 writes it, not -dE/dm",
    )
    console.add_key_option(parser)


def add_moments_option(parser: argparse.ArgumentParser, default: str) -> None:
    """The option that says what to do about configurations without moments."""
    parser.add_argument(
        "--missing-moments",
        choices=("error", "zero", "skip"),
        help="configurations without magnetic moments: an error, take their moments for zero, or "
        f"leave them out (default {default})",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    console.check_outputs(args.report, plots=(args.plot,), configurations=(args.output,))
    for path in (args.output, args.report, args.plot):
        console.check_distinct(path, [args.potential, *args.data])

    import mmtp_jax as mmtp
    from mmtp_jax.cli.comparison import evaluate_and_compare
    from mmtp_jax.fitting.report import error_table
    from mmtp_jax.io.making import potential_making
    from mmtp_jax.io.schema import labels_of
    from mmtp_jax.structures.making import making_text
    from mmtp_jax.structures.screening import sentences

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms_list = console.read_data(args.data, potential.species, args.magnetic_gradient, args.key)
    if potential.magnetic_size > 1:
        atoms_list = settled(atoms_list, args.missing_moments)
    for sentence in sentences(mmtp.screen(atoms_list), len(atoms_list)):
        console.warn(sentence)
    results, compared, errors = evaluate_and_compare(potential, atoms_list, args.dtype)
    n_atoms = sum(map(len, atoms_list))
    n_known = sum(labels_of(atoms).moments is not None for atoms in atoms_list)
    print(
        f"{len(atoms_list)} configurations, {n_atoms} atoms, {args.dtype}; moments (magmoms) of "
        f"{n_known} configurations"
    )
    if compared:
        print()
        print(error_table({_set_name(args.data): errors}))
    else:
        print("no labels to compare with")
        print()
        print(summary(atoms_list, results))
    print()
    if args.output is not None:
        making = making_text(potential_making(args.potential))
        predictions = [
            with_predictions(a, r, making) for a, r in zip(atoms_list, results, strict=True)
        ]
        console.say_kept(args.output)
        mmtp.write(args.output, predictions, species=potential.species)
        print(f"wrote {args.output}")
    if args.report is not None:
        console.write_json(
            args.report,
            {
                "mmtp_jax": mmtp.__version__,
                "potential": args.potential,
                "data": args.data,
                "dtype": args.dtype,
                "errors": errors.as_dict(),
            },
        )
        print(f"wrote {args.report}")
    if args.plot is not None:
        from mmtp_jax.cli.fit_plots import parity_figure
        from mmtp_jax.cli.plot_style import save_figure

        save_figure(args.plot, parity_figure({_set_name(args.data): compared}))
        print(f"wrote {args.plot}")


def settled(atoms_list: list[Atoms], missing: str | None) -> list[Atoms]:
    """Configurations to predict: those without moments are left for a warning if not ``missing``.

    Raises:
        ValueError: if some have magnetic forces and no moments, or ``missing`` is "error".
    """
    from mmtp_jax.io.missing_moments import refuse_contradictions, with_moments

    if missing is not None:
        return with_moments(atoms_list, missing)
    refuse_contradictions(atoms_list)
    return atoms_list


def with_predictions(atoms: Atoms, result: Result, making: str) -> Atoms:
    """A copy of a configuration that carries predictions in place of its labels."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from mmtp_jax.io.schema import KMESH, MAKING, collapse, labels_of, set_magnetic_forces

    moments = labels_of(atoms).moments
    copy = atoms.copy()
    predicted = {"energy": result.energy, "forces": result.forces, "energies": result.energies}
    if result.stress is not None:
        predicted["stress"] = result.stress
    if moments is not None:
        predicted["magmoms"] = collapse(moments)
    copy.info.pop(KMESH, None)
    copy.info[MAKING] = making
    copy.calc = SinglePointCalculator(copy, **predicted)
    set_magnetic_forces(copy, result.magnetic_forces)
    return copy


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
