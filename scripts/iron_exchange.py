"""Exchange, stiffness and Curie temperatures of iron, before and after canted labels.

Fits the recipe of the shipped potential to the collinear labels alone, and to all, and prints two
tables: how far both are off, on labels that they are fitted to and on the canted states that are
for testing, and exchange beside DFT and experiment.

    python scripts/iron_exchange.py                  # one seed; after is the shipped potential
    python scripts/iron_exchange.py --seeds 0 1 2    # fits before and after, with their spread

A fit takes some minutes on one core. DFT numbers are those of Pajda et al., Phys. Rev. B 64,
174402 (2001), at the measured lattice parameter; experiments are those that they compare with.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from make_potential import DATA, RECIPES, canted_iron, collinear_iron

import mmtp_jax as mmtp
from mmtp_jax.cli.comparison import evaluated

N_SHELLS = 5
ROWS = (
    "lattice parameter (Angstrom)",
    "moment (mu_B)",
    *(f"J_{k + 1} (meV)" for k in range(N_SHELLS)),
    "D (meV Angstrom^2)",
    "T_C, mean field (K)",
    "T_C, random phases (K)",
)
KINDS = ("energy", "magnetic_forces", "magnetic_forces_along", "magnetic_forces_across")
MRY = 13.605693
KNOWN = {
    "DFT (Pajda 2001)": [
        "2.87", "2.2", *(f"{MRY * J:.1f}" for J in (1.432, 0.815, -0.016, -0.126, -0.146)),
        "250", "1414", "950",
    ],
    "experiment": ["2.86", "2.22", *[""] * N_SHELLS, "280", "1043", "1043"],
}  # fmt: skip


def numbers_of(potential: mmtp.Potential) -> list[float]:
    """The rows of the table, of ferromagnetic bcc iron."""
    atoms = bulk("Fe", a=2.84)
    atoms.set_initial_magnetic_moments([2.2])
    found = mmtp.magnons(potential, atoms)
    exchange = found.exchange
    numbers = [
        (2 * exchange.volume) ** (1 / 3),
        abs(exchange.magmoms[0]),
        *(shell.J for shell in exchange.shells[:N_SHELLS]),
        found.mean_stiffness,
        found.mean_field_K,
        found.random_phase_K,
    ]
    return [np.nan if number is None else number for number in numbers]


def column(potentials: list[mmtp.Potential]) -> list[str]:
    """Means, and two standard deviations where there are several; how many have such a number."""
    found = np.array([numbers_of(potential) for potential in potentials])
    digits = (3, 2, *[1] * N_SHELLS, 0, 0, 0)
    cells = []
    for of, n in zip(found.T, digits, strict=True):
        known = of[np.isfinite(of)]
        cell = f"{known.mean():.{n}f}" if len(known) else "none"
        if len(known) > 1:
            cell += f" +- {2 * known.std(ddof=1):.{n}f}"
        if 0 < len(known) < len(of):
            cell += f" ({len(known)} of {len(of)})"
        cells.append(cell)
    return cells


def errors_of(potentials: list[mmtp.Potential], files: dict[str, list[Atoms]]) -> dict[str, str]:
    """RMSE over each file, the largest of several potentials."""
    found = [evaluated(potential, files).errors for potential in potentials]
    rows = {}
    for name, errors in found[0].items():
        for of in errors.kinds:
            if of.kind in KINDS and name in files:
                worst = max(each[name][of.kind].rmse for each in found)
                rows[f"{name}: {of.kind.replace('_', ' ')} ({of.unit})"] = f"{worst:.1f}"
    return rows


def main() -> None:
    """Fit what is to be fitted, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", help="of fits; else one, and what ships")
    parser.add_argument(
        "--noncollinear-terms", type=int, metavar="N",
        help="functions of terms that vanish for parallel moments (default: those of the recipe)",
    )  # fmt: skip
    parser.add_argument("--max-iterations", type=int, default=RECIPES["fe"].fit["max_iterations"])
    args = parser.parse_args()
    mmtp.compilation_cache()
    # What a potential without canted labels says of canted states is what the tables are about.
    warnings.simplefilter("ignore", mmtp.ExtrapolationWarning)

    recipe = RECIPES["fe"]
    form, fit = dict(recipe.form), {**recipe.fit, "max_iterations": args.max_iterations}
    if args.noncollinear_terms is not None:
        form["noncollinear_terms"] = args.noncollinear_terms
    seeds = args.seeds or [form["seed"]]
    collinear, canted = collinear_iron(), canted_iron()
    turned = mmtp.read(DATA / "canted" / "fe_turned.extxyz")

    def fitted(data: list[Atoms], **form: Any) -> list[mmtp.Potential]:
        starts = [mmtp.Potential.new(**{**form, "seed": seed}) for seed in seeds]
        return [mmtp.fit(start, data, **fit).potential for start in starts]

    # Nothing but canted labels determines terms of canted moments.
    before = fitted(collinear, **{**form, "noncollinear_terms": 0})
    ships = not args.seeds and args.noncollinear_terms is None
    after = [mmtp.load("Fe")] if ships else fitted([*collinear, *canted], **form)
    columns = {
        f"{len(collinear)} collinear labels": before,
        f"and {len(canted)} canted ones": after,
    }
    files = {"collinear": collinear, "canted": canted, "turned": turned}
    errors = {name: errors_of(of, files) for name, of in columns.items()}
    _print("RMSE", list(next(iter(errors.values()))), {k: v.values() for k, v in errors.items()})
    print()
    _print("bcc iron", ROWS, {name: column(of) for name, of in columns.items()} | KNOWN)


def _print(corner: str, rows: Sequence[str], columns: dict[str, Iterable[str]]) -> None:
    print(f"| {corner} | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 1))
    for row in zip(rows, *columns.values(), strict=True):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
