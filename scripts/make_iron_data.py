"""Extend the DFT data of iron: more configurations with the settings of the shipped ones.

Two- and four-atom bcc cells of several volumes, strained and displaced at random, with
ferromagnetic, antiferromagnetic and random moments, labelled by ABINIT with hard constraints. The
list is always the same; what is labelled already is not computed again. Needs the Debian packages
abinit and abinit-data; about half a minute per two-atom cell and two for four atoms, on one core.

    python scripts/make_iron_data.py --number 100 --jobs iron_jobs -o fe_cdft_more.extxyz
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.inputs import overlap_of

ORACLE = AbinitOracle(
    {"Fe": "Pseudodojo_paw_pbe_standard/Fe.xml"},
    ecut_Ha=12.0,
    pawecutdg_Ha=30.0,
    kmesh=(4, 4, 4),
    smearing="gaussian",
    smearing_Ha=0.01,
    empty_bands_per_atom=3.0,
    radii_bohr={"Fe": 2.12},
    # Fixed grids, so that the energy is a smooth function of the cell.
    extra={"ngfft": [20, 20, 20], "ngfftdg": [30, 30, 30]},
)
"""Settings of the shipped data. Coarse: absolute numbers are not converged."""
LONG = replace(ORACLE, kmesh=(4, 4, 2), extra={"ngfft": [20, 20, 40], "ngfftdg": [30, 30, 60]})
"""The same for four atoms, in a cell twice as long."""

ORDER = ("fm", "afm", "fm", "random", "fm", "afm", "random", "4-fm", "fm", "random", "4-random")
"""Kinds of configurations, again and again."""
SEED = 20261121
UP = np.array([0.0, 0.0, 1.0])


def configurations(number: int) -> list[Atoms]:
    """The first of an endless list."""
    rng = np.random.default_rng(SEED)
    return [_configuration(rng, ORDER[k % len(ORDER)], k) for k in range(number)]


def _configuration(rng: np.random.Generator, kind: str, number: int) -> Atoms:
    long = kind.startswith("4-")
    n = 4 if long else 2
    while True:
        a = rng.uniform(2.74, 2.98)
        cell = np.diag([a, a, 2 * a if long else a])
        scaled = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
        if long:
            scaled = np.vstack([scaled, scaled + UP]) * [1.0, 1.0, 0.5]
        strain = rng.normal(0.0, 0.02, (3, 3))
        cell = cell @ (np.eye(3) + (strain + strain.T) / 2)
        positions = scaled @ cell + rng.normal(0.0, 0.06, (n, 3))
        sizes = rng.uniform(0.7, 2.9, n)
        signs = np.ones(n)
        if kind.endswith("afm"):
            signs[1::2] = -1.0
        elif kind.endswith("random"):
            signs = rng.choice([-1.0, 1.0], n)
        atoms = Atoms(f"Fe{n}", positions=positions, cell=cell, pbc=True, magmoms=sizes * signs)
        if overlap_of(atoms, ORACLE.radii_bohr, [True] * n) is None:
            atoms.info.update(config_id=number, label=kind, constrained=True)
            return atoms


def main() -> None:
    """Label, and write the file after each configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=50, help="how many configurations")
    parser.add_argument("--jobs", default="iron_jobs", help="folder of the jobs")
    parser.add_argument("-o", "--output", default="fe_cdft_more.extxyz", help="file to write")
    args = parser.parse_args()
    labelled = []
    for k, atoms in enumerate(configurations(args.number)):
        oracle = LONG if len(atoms) == 4 else ORACLE
        jobs = mmtp.label_all(oracle, [atoms], Path(args.jobs) / f"{k:04d}", timeout_s=1800.0)
        for failure in jobs.failures.values():
            print(f"{k}: {failure.reason}", flush=True)
        for answer in jobs.labelled:
            answer.atoms.info.clear()
            answer.atoms.info.update(atoms.info)
            labelled.append(answer.atoms)
            mmtp.write(args.output, labelled)
            seconds = answer.provenance.seconds
            print(
                f"{k}: {atoms.info['label']}, {seconds:.0f} s, {len(labelled)} in all", flush=True
            )


if __name__ == "__main__":
    main()
