"""DFT data of Fe-Al, all of one making: PBE with hard constraints on the moments of Fe and Al.

Cells of the bcc lattice with 0 to 50 % Al, lattice parameters 2.80 to 3.00 Angstrom, strained and
displaced, species on sites at random. Moments are ferromagnetic: of Fe those that its neighbours
leave it, spread by 0.35 mu_B, of Al the small ones that answer them, spread by 0.015. Of twenty
configurations four have lengths from the whole interval, three have one of Fe reversed, and three
have free moments. Two atoms make 0 or 50 % Al, four also 25, eight also 12.5 and 37.5; 6.25 needs
sixteen, which symmetry makes affordable. The list `ideal` has what symmetry makes several times as
cheap: ordered cells of all six contents, B2, D0_3 and B32 among them, each sublattice with a moment
of its own, volumes far apart, also with one atom displaced along z. The list `test` is for testing
only, and so is `large`, of sixteen atoms. `equilibrium` has the ordered cells with free moments at
five volumes, and fcc aluminium: for formation energies, lattice parameters and moments against
composition. Each list is always the same; what the output file holds already is not computed again.
The settings are those of `make_iron_data.py`: its labels are of the same making, so there is little
pure iron here. Needs the Debian packages abinit and abinit-data.

    python scripts/make_fe_al_data.py --number 100 --jobs fe_al_jobs -o start.extxyz
    python scripts/make_fe_al_data.py --list ideal --number 40 -o ideal.extxyz
    python scripts/make_fe_al_data.py --list equilibrium -o equilibrium.extxyz
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.symbols import string2symbols
from make_data_common import (
    BCC_GRIDS,
    BCC_SHAPES,
    arguments,
    bcc_neighbours,
    bcc_sites,
    configuration,
    iron_with,
    label_list,
    like_sites,
    strained,
    with_grids,
)
from make_iron_data import ORACLE as IRON

from mmtp_jax.oracles.abinit import AbinitOracle

ORACLE = IRON.varied(
    datasets={**IRON.datasets, "Al": "Pseudodojo_paw_pbe_standard/Al.xml"},
    radii_bohr={**IRON.radii_bohr, "Al": 1.91},
)
"""Settings of all labels, as coarse as those of iron."""

LISTS = {
    "start": (
        20261210,
        ["FeAl-fm", "Fe3Al-fm", "Fe2Al2-fm", "FeAl-wide", "Fe3Al-free",
         "Fe2Al2-flip", "Fe7Al-fm", "FeAl-fm", "Fe3Al-wide", "Fe2Al2-fm",
         "Fe3Al-fm", "FeAl-free", "Fe2Al2-wide", "Fe3Al-flip", "Fe5Al3-fm",
         "Fe2Al2-free", "FeAl-fm", "Fe2-wide", "Fe3Al-fm", "Fe6Al2-flip"],
    ),
    "ideal": (
        20261211,
        ["B2", "Fe3Al", "B2", "Fe2Al2", "Fe7Al", "A2", "Fe3Al", "B2", "Fe5Al3", "Fe2Al2",
         "D03", "B2", "Fe3Al", "Fe6Al2", "B2", "Fe2Al2", "Fe4Al4", "B32", "Fe3Al", "Fe15Al"],
    ),
    "test": (
        20261212,
        ["FeAl-fm", "Fe3Al-fm", "Fe2Al2-wide", "Fe7Al-fm", "Fe2Al2-fm",
         "Fe3Al-flip", "FeAl-free", "Fe3Al-wide", "Fe2Al2-free", "Fe5Al3-fm"],
    ),
    "large": (20261213, ["Fe12Al4-fm", "Fe8Al8-free", "Fe14Al2-fm", "Fe15Al-free", "Fe10Al6-fm"]),
}  # fmt: skip
"""Seed and kinds of configurations, again and again: atoms, and how their moments are drawn; of
`ideal` ordered cells."""
ORDERED = {
    "A2": (2, ()),
    "B2": (2, (0,)),
    "Fe3Al": (4, (0,)),
    "Fe2Al2": (4, (0, 1)),
    "Fe7Al": (8, (0,)),
    "Fe6Al2": (8, (0, 6)),
    "Fe5Al3": (8, (0, 2, 4)),
    "Fe4Al4": (8, (0, 1, 6, 7)),
    "Fe15Al": (16, (0,)),
    "Fe14Al2": (16, (0, 14)),
    "D03": (16, (0, 6, 10, 12)),
    "B32": (16, (0, 1, 6, 7, 10, 11, 12, 13)),
}
"""Number of atoms, and which of the sites of `bcc_sites` have Al: B2 Al in one layer of 001 of two
(Fe2Al2: two of four), D0_3 in every second corner, B32 in every second centre as well."""
LATTICE = (2.78, 2.82, 2.86, 2.90, 2.94)
"""Angstrom; of `equilibrium`. PBE has 2.83 for Fe and 2.88 to 2.90 from 25 to 50 % Al."""
WIDE = {"Fe2Al2": (2.98,)}
"""Further ones, at the end of the list, where the lowest energy is at the largest of these."""
FCC = (3.96, 4.00, 4.04, 4.08, 4.12)
"""Angstrom; of its aluminium, four atoms with these grids and 4 x 4 x 4 points."""
FCC_GRIDS = {"coarse": (30, 30, 30), "fine": (40, 40, 40)}

ANSWER = -0.024
"""What a free moment of Al is of the mean of its eight neighbours, within a quarter. It is stiff,
20 eV/mu_B^2: a spread of 0.015 makes magnetic forces of 0.3 eV/mu_B."""


def configurations(name: str, number: int) -> list[Atoms]:
    """The first of an endless list."""
    seed, kinds = LISTS[name]
    rng = np.random.default_rng(seed)
    draw = _ordered if name == "ideal" else _random
    return [_configuration(rng, draw, kinds[k % len(kinds)], k) for k in range(number)]


def equilibrium() -> list[Atoms]:
    """Ordered cells with free moments, small ones first, and fcc aluminium."""
    found = [_at_rest(kind, a) for kind in ORDERED for a in LATTICE]
    for a in FCC:
        found.append(bulk("Al", a=a, cubic=True))
        found[-1].set_initial_magnetic_moments(np.zeros(4))
        found[-1].info["label"] = "fcc"
    found += [_at_rest(kind, a) for kind, lattice in WIDE.items() for a in lattice]
    for k, atoms in enumerate(found):
        atoms.info.update(config_id=k, constrained=False)
    return found


def _at_rest(kind: str, a: float) -> Atoms:
    """An ordered cell with lattice parameter a, Angstrom, and moments to start from."""
    n, places = ORDERED[kind]
    aluminium, repeats = np.isin(np.arange(n), places), BCC_SHAPES[n][0]
    cell = a * np.diag(repeats)
    moments = np.where(aluminium, 2.2 * ANSWER, 2.2)
    atoms = iron_with("Al", aluminium, bcc_sites(repeats) @ cell, cell, moments)
    atoms.info["label"] = kind
    return atoms


def oracle_of(atoms: Atoms, *, symmetry: bool = False) -> AbinitOracle:
    """The oracle with the grids of a cell."""
    held = ORACLE.varied(symmetry=symmetry, constrained=None if atoms.info["constrained"] else ())
    if atoms.info["label"] == "fcc":
        return with_grids(held, (4, 4, 4), (1, 1, 1), **FCC_GRIDS)
    repeats, kmesh = BCC_SHAPES[len(atoms)]
    return with_grids(held, kmesh, repeats, **BCC_GRIDS)


def _configuration(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator, str], Atoms],
    kind: str,
    number: int,
) -> Atoms:
    return configuration(
        partial(draw, rng, kind), ORACLE.radii_bohr, ["Fe", "Al"], number, kind,
        constrained=not kind.endswith("free"),
    )  # fmt: skip


def _random(rng: np.random.Generator, kind: str) -> Atoms:
    """Strained and displaced, with species and moments by chance."""
    formula, order = kind.split("-")
    aluminium = rng.permutation(np.array(string2symbols(formula)) == "Al")
    repeats = BCC_SHAPES[len(aluminium)][0]
    cell = strained(rng, rng.uniform(2.80, 3.00) * np.diag(repeats), 0.02)
    positions = bcc_sites(repeats) @ cell
    positions += rng.normal(0.0, rng.uniform(0.02, 0.08), positions.shape)
    moments = _moments(rng, order, aluminium, bcc_neighbours(repeats)[0])
    return iron_with("Al", aluminium, positions, cell, moments)


def _ordered(rng: np.random.Generator, kind: str) -> Atoms:
    """Atoms at their places, or one displaced along z; like sites have like moments."""
    n, places = ORDERED[kind]
    aluminium = np.isin(np.arange(n), places)
    repeats = BCC_SHAPES[n][0]
    edges = rng.uniform(2.70, 3.10) * np.array(repeats)
    cell = np.diag(edges * (1.0 + rng.normal(0.0, rng.choice([0.0, 0.015]), 3)))
    positions = bcc_sites(repeats) @ cell
    positions[rng.integers(n), 2] += rng.choice([0.0, 0.12]) * rng.random()
    shells = bcc_neighbours(repeats)
    like = like_sites([aluminium], shells)
    moments = (rng.choice([1.0, -1.0], n, p=[0.85, 0.15]) * rng.uniform(0.3, 2.8, n))[like]
    moments[aluminium] = 0.0
    answers = ANSWER * shells[0] @ moments / 8 + rng.normal(0.0, 0.03, n)[like]
    return iron_with("Al", aluminium, positions, cell, np.where(aluminium, answers, moments))


def _moments(
    rng: np.random.Generator, order: str, aluminium: np.ndarray, nearest: np.ndarray
) -> np.ndarray:
    """Moments (n,), mu_B, of species (n,) with so many nearest neighbours of each other (n, n)."""
    n = len(aluminium)
    # 2.25 mu_B among iron, 1.9 with four Al around it, 0.75 with eight.
    usual = 2.25 - 1.5 * (nearest @ aluminium / 8) ** 2
    moments = (usual + rng.normal(0.0, 0.35, n)).clip(0.1, 2.9)
    if order == "wide":
        moments = rng.uniform(0.0, 2.9, n)
    elif order == "flip":
        moments[rng.choice(np.flatnonzero(~aluminium))] *= -1.0
    moments[aluminium] = 0.0
    answers = ANSWER * nearest @ moments / 8 + rng.normal(0.0, 0.015, n)
    if order == "wide":
        answers = rng.uniform(-0.12, 0.12, n)
    return np.where(aluminium, answers, moments)


def main() -> None:
    """Label, and write the file after each configuration."""
    args = arguments(
        __doc__.splitlines()[0],
        [*LISTS, "equilibrium"],
        output="start.extxyz",
        jobs="fe_al_jobs",
    )
    ideal = args.list in ("ideal", "equilibrium")
    wanted = equilibrium() if args.list == "equilibrium" else configurations(args.list, args.number)
    label_list(wanted, partial(oracle_of, symmetry=ideal), args)


if __name__ == "__main__":
    main()
