"""Extend the DFT data of iron: more configurations with the settings of the shipped ones.

bcc cells of two to sixteen atoms, of several volumes, strained and displaced at random, labelled by
ABINIT with hard constraints. The list `more` has ferromagnetic, antiferromagnetic and random
moments in cells of two and four atoms; `disordered` has moments that are flipped, of random sign or
spread over the whole interval, in cells of two, four and eight; `reversed` has one moment of any
length against all others in perfect cells of 4, 8 and 16, which symmetry makes four times as cheap;
`mixed` has half of the moments against the others in perfect cells of 8, those with like neighbours
of one length; `long` has one moment of 2.9 to 3.5 mu_B in each cell of two and four, to where
dynamics at 1000 K takes some;
`canted` has vectors in cells of two and four: spirals, cones and random directions, each in a
plane; `turned`, for testing, has two atoms at their places with moments at several angles. Each
list is always the same; what the output file holds already is not computed again. Needs the Debian
packages abinit and abinit-data; about half a minute per two-atom cell, two for four atoms and six
for eight, on one core, and about ten times as much for vectors.

    python scripts/make_iron_data.py --number 100 --jobs iron_jobs -o fe_cdft_more.extxyz
    python scripts/make_iron_data.py --list disordered --number 60 -o fe_cdft_disordered.extxyz
    python scripts/make_iron_data.py --list canted --number 36 -o canted/fe.extxyz
    python scripts/make_iron_data.py --list turned --number 7 -o canted/fe_turned.extxyz
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms
from make_data_common import (
    BCC_GRIDS,
    BCC_SHAPES,
    arguments,
    bcc_neighbours,
    bcc_sites,
    configuration,
    label_list,
    strained,
    with_grids,
)

from mmtp_jax.oracles.abinit import AbinitOracle

ORACLE = AbinitOracle(
    {"Fe": "Pseudodojo_paw_pbe_standard/Fe.xml"},
    ecut_Ha=12.0,
    pawecutdg_Ha=30.0,
    kmesh=(4, 4, 4),
    smearing="gaussian",
    smearing_Ha=0.01,
    empty_bands_per_atom=3.0,
    radii_bohr={"Fe": 2.12},
    tolerance=1e-5,
)
"""Settings of the shipped data; the first 148 have a tolerance of 1e-8. Coarse: absolute numbers
are not converged. With 1e-3 two atoms with vectors take 62 steps in place of 95, energies and
forces are the same, but the stress is off by 2 GPa."""
VECTORS = {"tolerance": 1e-3, "steps": 90}
"""Of cells whose moments are vectors. Their residual stays for long at some 1e-3 where nothing else
changes: from 3e-3 to 7e-5 a label of `canted` changed by 1e-6 eV, 0.4 meV/Angstrom, 0.8 meV/mu_B
and, before it is extrapolated, 0.04 to 0.3 GPa. It was 1e-5 for the first three labels of `canted`
and 90 and 135 degrees of `turned`, 1e-4 for eight more and the other two."""
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
    "mixed": (20261216, ["8-mixed"]),
    "long": (20261217, ["2-long", "2-long", "4-long"]),
    "reversed": (20261203, ["8-reversed", "4-reversed", "8-reversed", "16-reversed"]),
    "canted": (
        20261201,
        ["2-spiral", "2-directions", "2-cone", "2-directions", "2-spiral", "2-directions",
         "4-spiral", "2-spiral", "2-directions", "2-cone"],
    ),
    "turned": (0, ["2-turned"]),
}  # fmt: skip
"""Seed and kinds of configurations, again and again: atoms, and how their moments are drawn."""

ANGLES = (90.0, 135.0, 45.0, 112.5, 67.5, 157.5, 22.5)
"""Degrees between both moments in the list `turned`, again and again."""
NEAR_REST = (2.84, 2.2)
"""Lattice parameter in Angstrom and moment in mu_B of that list."""


PERFECT = ("reversed", "mixed")
"""Orders of moments in cells with atoms at their places, whose symmetry is used."""


def oracle_of(atoms: Atoms) -> AbinitOracle:
    """The oracle with the grids of a cell of this size."""
    repeats, kmesh = BCC_SHAPES[len(atoms)]
    held = replace(ORACLE, symmetry=atoms.info["label"].endswith(PERFECT))
    if atoms.get_initial_magnetic_moments().ndim > 1:
        held = replace(held, **VECTORS)
    return with_grids(held, kmesh, repeats, **BCC_GRIDS)


def configurations(number: int, seed: int, kinds: list[str]) -> list[Atoms]:
    """The first of an endless list."""
    rng = np.random.default_rng(seed)
    return [_configuration(rng, kinds[k % len(kinds)], k) for k in range(number)]


def _configuration(rng: np.random.Generator, kind: str, number: int) -> Atoms:
    size, order = kind.split("-")
    n = int(size)
    repeats = BCC_SHAPES[n][0]
    if order == "turned":
        a, size = NEAR_REST
        angle = np.radians(ANGLES[number % len(ANGLES)])
        moments = size * np.array([[1.0, 0.0, 0.0], [np.cos(angle), np.sin(angle), 0.0]])
        atoms = Atoms(
            f"Fe{n}", a * bcc_sites(repeats), cell=a * np.eye(3), pbc=True, magmoms=moments
        )
        atoms.info.update(config_id=number, label=order, constrained=True)
        return atoms
    draw = partial(_drawn, rng, order, repeats)
    return configuration(draw, ORACLE.radii_bohr, ["Fe"], number, kind.removeprefix("2-"))


def _drawn(rng: np.random.Generator, order: str, repeats: tuple[int, int, int]) -> Atoms:
    scaled = bcc_sites(repeats)
    n = len(scaled)
    edges = rng.uniform(2.74, 2.98) * np.diag(repeats)
    if order in PERFECT:
        cell = edges
        positions = scaled @ cell
    else:
        cell = strained(rng, edges, 0.02)
        positions = scaled @ cell + rng.normal(0.0, 0.06, (n, 3))
    moments = _moments(rng, order, rng.uniform(0.7, 2.9, n), repeats)
    return Atoms(f"Fe{n}", positions, cell=cell, pbc=True, magmoms=moments)


def _moments(
    rng: np.random.Generator, order: str, sizes: np.ndarray, repeats: tuple[int, int, int]
) -> np.ndarray:
    n = len(sizes)
    signs = np.ones(n)
    if order == "afm":
        signs[1::2] = -1.0
    elif order == "random":
        signs = rng.choice([-1.0, 1.0], n)
    elif order == "flip":
        signs[rng.choice(n, 1 + int(rng.random() < 0.5), replace=False)] = -1.0
        sizes = rng.normal(2.2, 0.25, n).clip(1.4, 2.9)
    elif order == "mixed":
        signs = rng.permutation(np.repeat([1.0, -1.0], n // 2))
        # How many neighbours are parallel, more than are not; up and down are alike.
        around = signs * (bcc_neighbours(repeats) @ signs)
        sizes = sizes[np.unique(around, axis=1, return_inverse=True)[1].reshape(-1)]
    elif order == "long":
        signs = rng.choice([1.0, -1.0], n, p=[0.8, 0.2])
        sizes = rng.normal(2.3, 0.3, n).clip(1.4, 2.9)
        sizes[0] = rng.uniform(2.9, 3.5)
    elif order == "reversed":
        sizes = np.full(n, rng.uniform(1.9, 2.6))
        sizes[0], signs[0] = rng.uniform(0.1, 2.4), -1.0
    elif order == "spread":
        return rng.uniform(-2.9, 2.9, n)
    elif order in ("spiral", "cone", "directions"):
        return _vectors(rng, order, n)
    return sizes * signs


def _vectors(rng: np.random.Generator, order: str, n: int) -> np.ndarray:
    """Moments (n, 3), mu_B: turned by one angle from atom to atom, in a plane or on a cone."""
    lengths = rng.uniform(1.5, 2.8, n)
    # The labeller takes moments in one plane, within half a turn.
    azimuth = rng.uniform(0.15, 0.85) * np.pi * np.arange(n) / (n - 1)
    polar = np.full(n, np.pi / 2)
    if order == "cone":
        polar[:] = rng.uniform(0.15, 0.4) * np.pi
    elif order == "directions":
        azimuth, polar = rng.uniform(0.0, 2.0 * np.pi, n), np.arccos(rng.uniform(-1.0, 1.0, n))
    across = np.sin(polar)
    units = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), np.cos(polar)], axis=1)
    return lengths[:, None] * units


def main() -> None:
    """Label, and write the file after each configuration."""
    args = arguments(
        __doc__.splitlines()[0], list(LISTS), output="fe_cdft_more.extxyz", jobs="iron_jobs"
    )
    label_list(configurations(args.number, *LISTS[args.list]), oracle_of, args)


if __name__ == "__main__":
    main()
