"""Extend the DFT data of iron: more configurations with the settings of the shipped ones.

bcc cells of two to eight atoms, of several volumes, strained and displaced at random, labelled by
ABINIT with hard constraints. The list `more` has ferromagnetic, antiferromagnetic and random
moments in cells of two and four atoms; `disordered` has moments that are flipped, of random sign
or spread over the whole interval, in cells of two, four and eight. Each list is always the same;
what the output file holds already is not computed again. Needs the Debian packages abinit and
abinit-data; about half a minute per two-atom cell, two for four atoms and six for eight, on one
core.

    python scripts/make_iron_data.py --number 100 --jobs iron_jobs -o fe_cdft_more.extxyz
    python scripts/make_iron_data.py --list disordered --number 60 -o fe_cdft_disordered.extxyz
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
)
"""Settings of the shipped data. Coarse: absolute numbers are not converged."""
KEPT = {"making", "kmesh", "magnetic_forces_of"}
"""What a label says of itself, beside what its configuration says."""
SHAPES = {
    2: ((1, 1, 1), (4, 4, 4)),
    4: ((1, 1, 2), (4, 4, 2)),
    8: ((1, 2, 2), (4, 2, 2)),
}
"""Cubic cells along each axis, and the mesh: the same points of reciprocal space for each size."""

LISTS = {
    "more": (
        20261121,
        ["2-fm", "2-afm", "2-fm", "2-random", "2-fm", "2-afm", "2-random", "4-fm",
         "2-fm", "2-random", "4-random"],
    ),
    "disordered": (
        20261128,
        ["4-flip", "2-spread", "4-random", "2-afm", "4-spread",
         "4-flip", "2-random", "4-spread", "4-random", "8-flip"],
    ),
}  # fmt: skip
"""Seed and kinds of configurations, again and again: atoms, and how their moments are drawn."""


def oracle_of(atoms: Atoms) -> AbinitOracle:
    """The oracle with the grids of a cell of this size."""
    repeats, kmesh = SHAPES[len(atoms)]
    grids = {
        "ngfft": [20 * n for n in repeats],
        "ngfftdg": [30 * n for n in repeats],
    }
    return replace(ORACLE, kmesh=kmesh, extra=grids)


def configurations(number: int, seed: int, kinds: list[str]) -> list[Atoms]:
    """The first of an endless list."""
    rng = np.random.default_rng(seed)
    return [_configuration(rng, kinds[k % len(kinds)], k) for k in range(number)]


def _configuration(rng: np.random.Generator, kind: str, number: int) -> Atoms:
    n, order = int(kind[0]), kind[2:]
    repeats = np.array(SHAPES[n][0])
    while True:
        a = rng.uniform(2.74, 2.98)
        corners = np.array(list(np.ndindex(*repeats)), float)
        scaled = np.concatenate([[c, c + 0.5] for c in corners]) / repeats
        strain = rng.normal(0.0, 0.02, (3, 3))
        cell = np.diag(a * repeats) @ (np.eye(3) + (strain + strain.T) / 2)
        positions = scaled @ cell + rng.normal(0.0, 0.06, (n, 3))
        sizes = rng.uniform(0.7, 2.9, n)
        atoms = Atoms(f"Fe{n}", positions, cell=cell, pbc=True, magmoms=_moments(rng, order, sizes))
        if overlap_of(atoms, ORACLE.radii_bohr, [True] * n) is None:
            atoms.info.update(config_id=number, label=kind.removeprefix("2-"), constrained=True)
            return atoms


def _moments(rng: np.random.Generator, order: str, sizes: np.ndarray) -> np.ndarray:
    n = len(sizes)
    signs = np.ones(n)
    if order == "afm":
        signs[1::2] = -1.0
    elif order == "random":
        signs = rng.choice([-1.0, 1.0], n)
    elif order == "flip":
        signs[rng.choice(n, 1 + int(rng.random() < 0.5), replace=False)] = -1.0
        sizes = rng.normal(2.2, 0.25, n).clip(1.4, 2.9)
    elif order == "spread":
        return rng.uniform(-2.9, 2.9, n)
    return sizes * signs


def main() -> None:
    """Label, and write the file after each configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", choices=LISTS, default="more", help="which configurations")
    parser.add_argument("--number", type=int, default=50, help="how many configurations")
    parser.add_argument("--jobs", default="iron_jobs", help="folder of the jobs")
    parser.add_argument("-o", "--output", default="fe_cdft_more.extxyz", help="file to write")
    args = parser.parse_args()
    labelled = mmtp.read(args.output) if Path(args.output).exists() else []
    present = {answer.info["config_id"] for answer in labelled}
    for k, atoms in enumerate(configurations(args.number, *LISTS[args.list])):
        if k in present:
            continue
        folder = Path(args.jobs) / f"{k:04d}"
        jobs = mmtp.label_all(oracle_of(atoms), [atoms], folder, timeout_s=3600.0)
        for failure in jobs.failures.values():
            print(f"{k}: {failure.reason}", flush=True)
        for answer in jobs.labelled:
            info = answer.atoms.info
            for name in set(info) - KEPT:
                del info[name]
            info.update(atoms.info)
            labelled.append(answer.atoms)
            mmtp.write(args.output, labelled)
            seconds = answer.provenance.seconds
            print(
                f"{k}: {atoms.info['label']}, {seconds:.0f} s, {len(labelled)} in all", flush=True
            )

    for suspect in mmtp.screen(labelled):
        print(f"stands apart: {suspect}")


if __name__ == "__main__":
    main()
