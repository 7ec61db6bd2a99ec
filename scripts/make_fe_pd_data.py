"""DFT data of Fe-Pd, all of one making: PBE with hard constraints on the moments of Fe and Pd.

Cells of the fcc lattice around Fe0.68Pd0.32, with 0 to 50 % Pd, lattice parameters 3.60 to 3.90
Angstrom, strained and displaced, c/a spread by 3 %, species on sites at random. Moments are
ferromagnetic: of Fe 2.5 mu_B, spread by 0.35, of Pd those that its neighbours induce, spread by
0.1. Of twenty configurations four have moments from the whole interval, three have one of Fe
reversed, and three have free moments. Spheres of two atoms of Pd touch at 2.67 Angstrom: where they
are closer, those of Pd are free, and only those of Fe are held. The list `along` has the same, but
all displacements are along z, and axes stay at right angles: two mirrors are left, and a label
takes a third of the time. `ideal` has what symmetry makes cheaper still: ordered cells, L1_2, L1_0
and D0_22 among them, each sublattice with a moment of its own, volumes far apart, also with one
atom displaced along z, and Fe in layers of either sign. The list `test` is for testing only, two
like those of `along` for one like those of `start`. `equilibrium` has the ordered cells with free
moments at five volumes: for magnetisation and pressure against lattice parameter. Each list is
always the same; what the output file holds already is not computed again. Needs ABINIT, Debian's
abinit-data for iron, and the dataset Pd.xml of the JTH table (PBE, version 1.1, from PseudoDojo).

    python scripts/make_fe_pd_data.py --datasets jth/pbe --number 100 -o start.extxyz
    python scripts/make_fe_pd_data.py --datasets jth/pbe --list ideal --number 40 -o ideal.extxyz
    python scripts/make_fe_pd_data.py --datasets jth/pbe --list equilibrium -o equilibrium.extxyz
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms
from ase.symbols import string2symbols
from make_data_common import (
    arguments,
    configuration,
    iron_with,
    label_list,
    like_sites,
    neighbours_of,
    repeated,
    strained,
    with_grids,
)
from make_iron_data import ORACLE as IRON

from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.inputs import overlap_of

ORACLE = IRON.varied(
    datasets={**IRON.datasets, "Pd": "Pd.xml"},
    radii_bohr={**IRON.radii_bohr, "Pd": 2.52},
    ecut_Ha=15.0,
    tolerance=1e-4,
    symmetry=True,
)
"""Settings of all labels; what they leave open is in the README of the scripts. The first eight of
`ideal` have a tolerance of 1e-5."""

FCC = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
SHAPES = {
    4: ((1, 1, 1), (4, 4, 4)),
    8: ((1, 1, 2), (4, 4, 2)),
    16: ((1, 2, 2), (4, 2, 2)),
}
"""Of each number of atoms the cubic cells along each axis, and the mesh: the same points of
reciprocal space for each."""
GRIDS = {"coarse": (27, 27, 27), "fine": (40, 40, 40)}
"""Of the FFT, for one cubic cell."""

LISTS = {
    "start": (
        20261220,
        ["Fe3Pd-fm", "Fe2Pd2-fm", "Fe3Pd-wide", "Fe3Pd-fm", "Fe3Pd-free",
         "Fe4-fm", "Fe3Pd-flip", "Fe2Pd2-wide", "Fe3Pd-fm", "Fe5Pd3-fm",
         "Fe3Pd-fm", "Fe2Pd2-free", "Fe4-wide", "Fe3Pd-fm", "Fe2Pd2-flip",
         "Fe3Pd-wide", "Fe4-flip", "Fe2Pd2-fm", "Fe3Pd-fm", "Fe6Pd2-free"],
    ),
    "ideal": (
        20261221,
        ["L12", "A1", "L10", "L12", "L12-layers", "L10", "A1-layers", "L12", "D022", "L10",
         "L12", "A1", "Fe5Pd3", "L12-layers", "L10"],
    ),
    "along": (
        20261223,
        ["Fe3Pd-fm", "Fe2Pd2-fm", "Fe3Pd-fm", "Fe3Pd-wide", "Fe4-fm", "Fe3Pd-fm", "Fe2Pd2-wide",
         "Fe3Pd-flip", "Fe2Pd2-fm", "Fe3Pd-fm", "Fe5Pd3-fm", "Fe4-flip", "Fe3Pd-wide", "Fe6Pd2-fm"],
    ),
    "test": (
        20261222,
        ["Fe3Pd-fm", "Fe2Pd2-fm", "Fe3Pd-fm", "Fe3Pd-wide", "Fe5Pd3-fm",
         "Fe2Pd2-fm", "Fe3Pd-free", "Fe3Pd-flip", "Fe3Pd-wide", "Fe4-fm"],
    ),
}  # fmt: skip
"""Seed and kinds of configurations, again and again: atoms, and how their moments are drawn; of
`ideal` ordered cells."""
ORDERED = {
    "L12": (4, (0,)),
    "L10": (4, (0, 1)),
    "A1": (4, ()),
    "D022": (8, (0, 5)),
    "Fe5Pd3": (8, (0, 4, 5)),
    "Fe11Pd5": (16, (0, 4, 8, 12, 13)),
}
"""Number of atoms, and which of the sites, cubic cell by cell, have Pd: L1_2 the corners of the
cube, L1_0 one layer of 001 of two, D0_22 corners and centres of squares in turns."""
LAYERS = (0, 1)
"""Sites of one layer of 001, whose moments are their own in kinds that end so."""
LATTICE = (3.60, 3.67, 3.74, 3.81, 3.88)
"""Angstrom; of `equilibrium`, the interval of the paper."""

ANSWER = 0.13
"""What a free moment of Pd is of the mean of its twelve neighbours, within a third."""
SHELLS = (0.8, 1.1, 1.3, 1.5)
"""Behind each of the first four of a site, lattice parameters."""


def configurations(name: str, number: int) -> list[Atoms]:
    """The first of an endless list."""
    seed, kinds = LISTS[name]
    rng = np.random.default_rng(seed)
    along = partial(_random, along=True)
    draws = {"ideal": [_ordered], "along": [along], "test": [along, along, _random]}
    draw = draws.get(name, [_random])
    return [
        _configuration(rng, draw[k % len(draw)], kinds[k % len(kinds)], k) for k in range(number)
    ]


def equilibrium() -> list[Atoms]:
    """Ordered cells with free moments, small ones first."""
    found = []
    for kind, (n, places) in ORDERED.items():
        palladium = np.isin(np.arange(n), places)
        repeats = SHAPES[n][0]
        for a in LATTICE:
            cell = a * np.diag(repeats)
            moments = np.where(palladium, 0.33, 2.6)
            found.append(iron_with("Pd", palladium, repeated(FCC, repeats) @ cell, cell, moments))
            found[-1].info.update(config_id=len(found) - 1, label=kind, constrained=False)
    return found


def oracle_of(atoms: Atoms, oracle: AbinitOracle = ORACLE) -> AbinitOracle:
    """The oracle with the grids of a cell, and the species whose moments it holds."""
    if not atoms.info["constrained"]:
        held = ()
    elif overlap_of(atoms, oracle.radii_bohr, atoms.symbols == "Pd") is None:
        held = ("Fe", "Pd")
    else:
        held = ("Fe",)
    repeats, kmesh = SHAPES[len(atoms)]
    return with_grids(oracle.varied(constrained=held), kmesh, repeats, **GRIDS)


def _configuration(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator, str], Atoms],
    kind: str,
    number: int,
) -> Atoms:
    return configuration(
        partial(draw, rng, kind), ORACLE.radii_bohr, ["Fe"], number, kind,
        constrained=not kind.endswith("free"),
    )  # fmt: skip


def _random(rng: np.random.Generator, kind: str, *, along: bool = False) -> Atoms:
    """Strained and displaced, if so only along the axes and along z; the rest is by chance."""
    formula, order = kind.split("-")
    palladium = rng.permutation(np.array(string2symbols(formula)) == "Pd")
    repeats = SHAPES[len(palladium)][0]
    edges = rng.uniform(3.60, 3.90) * np.array(repeats)
    edges[2] *= rng.normal(1.0, 0.03)
    cell = strained(rng, np.diag(edges), 0.015)
    displacements = rng.normal(0.0, rng.uniform(0.02, 0.09), (len(palladium), 3))
    if along:
        cell = np.diag(np.diag(cell))
        displacements *= [0.0, 0.0, 1.5]
    positions = repeated(FCC, repeats) @ cell + displacements
    moments = _moments(rng, order, palladium, _neighbours(repeats)[0])
    return iron_with("Pd", palladium, positions, cell, moments)


def _ordered(rng: np.random.Generator, kind: str) -> Atoms:
    """Atoms at their places, or one displaced along z; like sites have like moments."""
    name, *layers = kind.split("-")
    n, places = ORDERED[name]
    palladium = np.isin(np.arange(n), places)
    repeats = SHAPES[n][0]
    edges = rng.uniform(3.52, 3.98) * np.array(repeats)
    cell = np.diag(edges * (1.0 + rng.normal(0.0, rng.choice([0.0, 0.02]), 3)))
    positions = repeated(FCC, repeats) @ cell
    positions[rng.integers(n), 2] += rng.choice([0.0, 0.15]) * rng.random()
    shells = _neighbours(repeats)
    own = np.isin(np.arange(n), LAYERS if layers else ())
    like = like_sites([palladium, own], shells)
    moments = np.where(rng.random(n) < 0.5, rng.normal(2.5, 0.35, n), rng.uniform(0.2, 3.0, n))
    moments *= rng.choice([1.0, -1.0], n, p=[0.5, 0.5] if layers else [0.85, 0.15])
    moments = moments.clip(-3.1, 3.1)[like]
    moments[palladium] = 0.0
    answers = ANSWER * shells[0] @ moments / 12 + rng.normal(0.0, 0.1, n)[like]
    return iron_with("Pd", palladium, positions, cell, np.where(palladium, answers, moments))


def _moments(
    rng: np.random.Generator, order: str, palladium: np.ndarray, nearest: np.ndarray
) -> np.ndarray:
    """Moments (n,), mu_B, of species (n,) with so many nearest neighbours of each other (n, n)."""
    n = len(palladium)
    moments = rng.normal(2.5, 0.35, n).clip(0.3, 3.1)
    if order == "wide":
        moments = rng.uniform(0.0, 3.1, n)
    elif order == "flip":
        moments[rng.choice(np.flatnonzero(~palladium))] *= -1.0
    moments[palladium] = 0.0
    answers = ANSWER * nearest @ moments / 12 + rng.normal(0.0, 0.1, n)
    if order == "wide":
        answers = rng.uniform(-0.4, 0.7, n)
    return np.where(palladium, answers, moments)


def _neighbours(repeats: tuple[int, int, int]) -> np.ndarray:
    """Numbers (4, n, n) of neighbours that a site has of another, in each of four shells."""
    return neighbours_of(repeated(FCC, repeats), repeats, SHELLS)


def main() -> None:
    """Label, and write the file after each configuration."""
    args = arguments(
        __doc__.splitlines()[0],
        [*LISTS, "equilibrium"],
        output="start.extxyz",
        jobs="fe_pd_jobs",
        datasets="folder of Pd.xml",
    )
    datasets = {**ORACLE.datasets, "Pd": str(args.datasets / "Pd.xml")}
    oracle = ORACLE.varied(datasets=datasets)
    wanted = equilibrium() if args.list == "equilibrium" else configurations(args.list, args.number)
    label_list(wanted, partial(oracle_of, oracle=oracle), args)


if __name__ == "__main__":
    main()
