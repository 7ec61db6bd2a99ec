"""Exchange, stiffness and Curie temperatures of iron, before and after canted labels.

Prints a table: the shipped potential, or fits of its recipe from several seeds, and with
``--canted`` fits to canted labels as well, beside DFT and experiment.

    python scripts/iron_exchange.py                                  # the shipped potential
    python scripts/iron_exchange.py --seeds 0 1 2                    # fits to the collinear data
    python scripts/iron_exchange.py --canted mmtp_jax/data/canted/fe.extxyz --seeds 0 1 2

A fit takes some minutes on one core. DFT numbers are those of Pajda et al., Phys. Rev. B 64,
174402 (2001), at the measured lattice parameter; experiments are those that they compare with.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from ase.build import bulk
from make_potential import RECIPES

import mmtp_jax as mmtp

N_SHELLS = 5
ROWS = (
    "lattice parameter (Angstrom)",
    "moment (mu_B)",
    *(f"J_{k + 1} (meV)" for k in range(N_SHELLS)),
    "D (meV Angstrom^2)",
    "T_C, mean field (K)",
    "T_C, random phases (K)",
)
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mmtp.ExtrapolationWarning)
        found = mmtp.magnons(potential, atoms)
    exchange = found.exchange
    phases = found.random_phase_K
    return [
        (2 * exchange.volume) ** (1 / 3),
        abs(exchange.magmoms[0]),
        *(shell.J for shell in exchange.shells[:N_SHELLS]),
        found.mean_stiffness,
        found.mean_field_K,
        np.nan if phases is None else phases,
    ]


def column(potentials: list[mmtp.Potential]) -> list[str]:
    """Means, and two standard deviations where there are several."""
    found = np.array([numbers_of(potential) for potential in potentials])
    digits = (3, 2, *[1] * N_SHELLS, 0, 0, 0)
    mean, cells = found.mean(axis=0), []
    for k, n in enumerate(digits):
        width = f" +- {2 * found[:, k].std(ddof=1):.{n}f}" if len(found) > 1 else ""
        cells.append(f"{mean[k]:.{n}f}{width}")
    return cells


def main() -> None:
    """Fit what is to be fitted, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--canted", metavar="FILE", help="canted labels, e.g. of make_iron_data.py")
    parser.add_argument("--seeds", type=int, nargs="+", help="of fits; else the shipped potential")
    parser.add_argument(
        "--noncollinear-terms", type=int, default=0, metavar="N",
        help="functions of terms that vanish for parallel moments, in fits to canted labels",
    )  # fmt: skip
    parser.add_argument("--max-iterations", type=int, default=RECIPES["fe"].fit["max_iterations"])
    args = parser.parse_args()
    mmtp.compilation_cache()

    recipe = RECIPES["fe"]
    collinear = recipe.data()

    def fitted(data: list, **form: int) -> list[mmtp.Potential]:
        found = []
        for seed in args.seeds or [recipe.form["seed"]]:
            start = mmtp.Potential.new(**{**recipe.form, "seed": seed, **form})
            # Spinors are another making, but near a line of moments their energies are only 3
            # meV/atom below those of numbers: a constant of their own would take up what the form
            # lacks, some ten times as much.
            fit = mmtp.fit(start, data, max_iterations=args.max_iterations, making="ignore")
            print(fit.report, flush=True)
            found.append(fit.potential)
        return found

    columns = {}
    if args.seeds:
        columns[f"{len(collinear)} collinear labels"] = column(fitted(collinear))
    else:
        columns["`Fe`, collinear labels"] = column([mmtp.load("Fe")])
    if args.canted:
        canted = mmtp.read(args.canted)
        every, terms = [*collinear, *canted], args.noncollinear_terms
        columns[f"and {len(canted)} canted ones"] = column(
            fitted(every, noncollinear_terms=terms) if terms else fitted(every)
        )
    columns |= KNOWN
    print(f"| bcc iron | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 1))
    for row in zip(ROWS, *columns.values(), strict=True):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
