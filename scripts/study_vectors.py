"""Fits to noncollinear data of others: Fe16 (Magesty.jl) and NiO (DeepMD-kit), five folds.

    python scripts/study_vectors.py --fe16 fe16_pm_magesty.extxyz --nio nio_deepspin.extxyz
    python scripts/study_vectors.py --fe16 fe16_pm_magesty.extxyz --levels 8 10 -o vectors.jsonl

The data are not part of this project: 90 configurations of 16 iron atoms on the ideal bcc lattice
with constraint fields (test/integration of Magesty.jl), and 151 of 32 atoms of NiO with moments
canted by up to 24 degrees (examples/spin of deepmd-kit). Errors are those of configurations that a
fit has not seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp

SETS: dict[str, dict[str, Any]] = {
    "fe16": {
        "field": "constraint_field",
        "potential": {"species": ("Fe",), "cutoff": 5.0, "min_dist": 2.3, "max_magmom": 1.8},
        # Nothing moves: forces and stresses are no labels.
        "weights": {"energy": 1.0, "forces": 0.0, "stress": 0.0, "magnetic_forces": 0.1},
    },
    "nio": {
        "field": "magnetic_forces",
        "potential": {
            "species": ("Ni", "O"), "cutoff": 5.0, "min_dist": 1.8,
            "max_magmom": (1.5, 0.0),
        },
        "weights": {"energy": 1.0, "forces": 0.01, "stress": 0.0, "magnetic_forces": 1.0},
    },
}  # fmt: skip


def read(name: str, path: Path) -> list[Atoms]:
    """Labelled configurations; fields are the part of -dE/dm across the moment."""
    found = []
    for image in ase.io.read(path, ":"):
        atoms = Atoms(image.symbols, image.positions, cell=image.cell, pbc=True)
        moments = image.arrays["magnetic_moments"]
        atoms.set_initial_magnetic_moments(moments)
        results = {"energy": image.get_potential_energy(), "magmoms": moments}
        if name == "nio":
            results["forces"] = image.get_forces()
        atoms.calc = SinglePointCalculator(atoms, **results)
        mmtp.set_magnetic_forces(atoms, image.arrays[SETS[name]["field"]], transverse=True)
        found.append(atoms)
    return found


def main() -> None:
    """Fit, print and write one line for each form and level."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SETS:
        parser.add_argument(f"--{name}", type=Path, help="the file of this set")
    parser.add_argument("--levels", type=int, nargs="+", default=[8])
    parser.add_argument("--sizes", type=int, nargs="+", default=[3], help="N_psi")
    parser.add_argument("--radial", type=int, nargs="+", default=[8], help="N_phi")
    parser.add_argument("--forms", nargs="+", default=["parity", "symmetrised"],
                        help="forms, or patterns of the form parity")  # fmt: skip
    parser.add_argument("--terms", type=int, nargs="+", default=[0],
                        help="functions of noncollinear terms")  # fmt: skip
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--weight", type=float, help="of magnetic forces, mu_B^2")
    parser.add_argument("--energy-weight", type=float, help="of energies")
    parser.add_argument("-o", "--output", type=Path, help="lines of JSON")
    args = parser.parse_args()
    for name, known in SETS.items():
        path = getattr(args, name)
        if path is None:
            continue
        data = read(name, path)
        spread = 1e3 * np.std([a.get_potential_energy() / len(a) for a in data])
        print(f"{name}: {len(data)} configurations, energies spread {spread:.3g} meV/atom")
        weights = dict(known["weights"])
        if args.weight is not None:
            weights["magnetic_forces"] = args.weight
        if args.energy_weight is not None:
            weights["energy"] = args.energy_weight
        kinds = args.levels, args.sizes, args.radial, args.forms, args.terms
        for kind in itertools.product(*kinds):
            row = {"set": name, **study(data, known, weights, *kind, args)}
            print(json.dumps(row), flush=True)
            if args.output:
                with open(args.output, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


def study(
    data: list[Atoms], known: dict[str, Any], weights: dict[str, float], level: int, size: int,
    radial: int, form: str, terms: int, args: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """Errors of folds with one kind of potential."""
    options = {"form": form} if form in ("parity", "symmetrised") else {"pattern": form}
    start = mmtp.Potential.new(
        level=level, magnetic_size=size, radial_size=radial, noncollinear_terms=terms, seed=1,
        **options, **known["potential"],
    )  # fmt: skip
    before = time.process_time()
    folds = mmtp.cross_validate(
        start, data, args.folds, weights=mmtp.Weights(**weights), max_iterations=args.steps
    )
    errors = {
        part: {of.kind: [of.rmse.mean, of.rmse.sigma] for of in folds.errors[part].kinds}
        for part in ("training", "validation")
    }
    return {
        "weights": weights, "level": level, "N_psi": size, "N_phi": radial, "form": form,
        "terms": terms, "parameters": start.n_parameters,
        "seconds": (time.process_time() - before) / args.folds, **errors,
    }  # fmt: skip


if __name__ == "__main__":
    main()
