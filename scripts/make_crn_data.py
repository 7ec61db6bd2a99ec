"""DFT data of CrN, all of one making: LDA+U with hard constraints on the moments of Cr.

Rock salt in cells of four and eight atoms, lattice parameters 4.03 to 4.25 Angstrom, strained and
displaced at random; moments ferromagnetic, antiferromagnetic by single [001] layers, by double
layers along [110] (the order of the orthorhombic phase), or of random signs, their lengths spread
by 15 % (every fifth: over the whole interval). The list `ideal` has what symmetry makes four times
as cheap: cells with atoms at their places, or one displaced along z, moments of one length in each
sublattice, also with one of four reversed; `lengths` likewise, each moment of a length of its own,
from 1 to 3.35 mu_B, and `along` has all atoms displaced along z. The list `test` is for testing
only; `properties` has free moments: strained ferro- and antiferromagnetic cells of four atoms and
such with one atom displaced, for elastic constants and frozen phonons, and strained cells of
sixteen whose signs are like those of a paramagnet. Each list is always the same; what the output
file holds already is not computed again. Needs ABINIT and the datasets Cr.xml and N.xml of the JTH
table (LDA, version 1.1, from PseudoDojo); about five minutes for four atoms and fifteen for eight,
on one core.

    python scripts/make_crn_data.py --datasets jth/lda --number 100 -o start.extxyz
    python scripts/make_crn_data.py --datasets jth/lda --list test --number 40 -o test.extxyz
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms
from make_data_common import arguments, configuration, label_list, repeated, strained, with_grids

from mmtp_jax.oracles.abinit import AbinitOracle

ORACLE = AbinitOracle(
    {"Cr": "Cr.xml", "N": "N.xml"},
    ecut_Ha=25.0,
    pawecutdg_Ha=50.0,
    kmesh=(6, 6, 4),
    smearing="gaussian",
    smearing_Ha=0.01,
    empty_bands_per_atom=2.0,
    tolerance=1e-4,
    radii_bohr={"Cr": 2.11, "N": 1.20},
    constrained=("Cr",),
    hubbard={"Cr": (2, 3.0, 0.0)},
    hubbard_kind=1,
)
"""Settings of all labels; what they leave open is in the README of the scripts. The first eight of
`start` have a tolerance of 1e-5: below 1e-4 energies moved by 1e-7 Ha, forces by 1 meV/Angstrom."""
WITH_SYMMETRY = {"symmetry": True, "tolerance": 5e-4}
"""Two like atoms half a cell apart are equal, but not on a grid of 27 points: the residual stays
above 1e-4, and the energy moves by 0.03 meV/atom."""
SHAPES = {
    "4": ((1, 1, 1), (6, 6, 4)),
    "8a": ((2, 1, 1), (3, 6, 4)),
    "8c": ((1, 1, 2), (6, 6, 2)),
    "16": ((2, 1, 2), (3, 6, 2)),
}
"""Cells (a/sqrt2, a/sqrt2, a) along each axis, and the mesh: the same points of reciprocal space
for each shape. 8a is the cell of the orthorhombic phase."""
GRIDS = {"coarse": (27, 27, 40), "fine": (40, 40, 54)}
"""Of the FFT, for a cell that is not repeated."""
LISTS = {
    "start": (
        20261129,
        ["4-afm", "8a-random", "4-fm", "4-afm", "8a-double",
         "4-fm", "4-afm", "8c-random", "4-fm", "8a-random", "4-afm"],
    ),
    "ideal": (
        20261202,
        ["4-fm", "4-afm", "8a-double", "4-afm", "4-fm", "8a-flip", "4-afm", "4-fm", "8c-double",
         "4-afm", "8c-flip"],
    ),
    "lengths": (20261204, ["4-afm", "4-fm"]),
    "along": (20261205, ["4-afm", "4-fm"]),
    "test": (20261130, ["4-afm", "8a-random", "4-fm", "8a-double", "8c-random"]),
}  # fmt: skip
"""Seed and kinds of configurations, again and again: shape, and the order of the moments."""
IDEAL = ("ideal", "lengths", "along", "repeated")
LISTS["repeated"] = LISTS["ideal"]
OCCUPIED = {1.0: (0.9, 0.4, 0.9, 0.4, 0.2), -1.0: (0.1, 0.1, 0.1, 0.1, 0.1)}
"""Of xy, yz, z2, xz, x2-y2, along the moment and against it: what `repeated` holds for five steps;
the ground state has three electrons in yz, xz and, in the axes of these cells, x2-y2."""
MOMENT = 2.6
"""Of Cr in its sphere, mu_B, about where magnetic forces vanish."""
BASIS = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]])
"""Of Cr, Cr, N, N in the cell of four atoms, in its vectors."""

LATTICE = 4.13
"""Angstrom; of the list `properties`, whose axes are those of the cubic cell."""
STRAINS = {
    "fm": ("xx+", "xx-", "yz+"),
    "afm": ("xx+", "xx-", "zz+", "zz-", "yz+", "xy+"),
    "mixed": ("xx+", "yz+"),
}
"""Of one per cent (shears as engineers count); the other sign of a shear is its mirror image."""
SIGNS = {"fm": (1, 1), "afm": (1, -1), "mixed": (1, 1, 1, -1, 1, -1, -1, -1)}
"""Of the moments of Cr. `mixed` is the state of sixteen atoms without a net moment whose first two
shells have as many parallel as opposite pairs, as a paramagnet has, and that has most symmetry."""
DISPLACED = {"Cr-x": (0, 0), "Cr-z": (0, 2), "N-x": (2, 0), "N-z": (2, 2)}
"""Atom and direction, by 0.03 Angstrom: modes at Gamma and X of the cubic cell."""


def occupations(atoms: Atoms) -> dict[str, object]:
    """ABINIT's start for the d shells of chromium, by the signs of the moments."""
    matrices = [
        np.diag(OCCUPIED[spin * sign])
        for sign in np.sign(atoms.get_initial_magnetic_moments()[atoms.symbols == "Cr"])
        for spin in (1.0, -1.0)
    ]
    return {"usedmatpu": 5, "dmatpawu": np.ravel(matrices).tolist()}


def configurations(name: str, number: int) -> list[Atoms]:
    """The first of an endless list."""
    seed, kinds = LISTS[name]
    rng = np.random.default_rng(seed)
    return [_configuration(rng, kinds[k % len(kinds)], k, name) for k in range(number)]


def properties() -> list[Atoms]:
    """Reference, strained and displaced cells of each order."""
    found = []
    for order, strains in STRAINS.items():
        for change in ("reference", *strains, *(() if order == "mixed" else DISPLACED)):
            atoms = _cell(order, change)
            label = f"{len(atoms)}-{order}-{change}"
            atoms.info.update(config_id=len(found), label=label, constrained=False)
            found.append(atoms)
    return found


def _cell(order: str, change: str) -> Atoms:
    cell = LATTICE * np.array([[0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    if change in STRAINS[order]:
        i, j = ("xyz".index(letter) for letter in change[:2])
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = 0.01 if i == j else 0.005
        cell = cell @ (np.eye(3) + (-strain if change.endswith("-") else strain))
    atoms = Atoms("Cr2N2", BASIS @ cell, cell=cell, pbc=True)
    signs = SIGNS[order]
    if len(signs) > 2:
        atoms = atoms.repeat(SHAPES[str(2 * len(signs))][0])
    if change in DISPLACED:
        atom, axis = DISPLACED[change]
        atoms.positions[atom, axis] += 0.03
    moments = np.zeros(len(atoms))
    moments[atoms.symbols == "Cr"] = MOMENT * np.array(signs)
    atoms.set_initial_magnetic_moments(moments)
    return atoms


def _configuration(rng: np.random.Generator, kind: str, number: int, name: str) -> Atoms:
    draw = partial(_drawn, rng, kind, number, name)
    return configuration(draw, ORACLE.radii_bohr, ["Cr"], number, kind)


def _drawn(rng: np.random.Generator, kind: str, number: int, name: str) -> Atoms:
    shape, order = kind.split("-")
    repeats = np.array(SHAPES[shape][0])
    scaled = repeated(BASIS, repeats)
    symbols = ["Cr", "Cr", "N", "N"] * int(np.prod(repeats))
    chromium = np.array([s == "Cr" for s in symbols])
    ideal = name in IDEAL
    a = rng.uniform(*((3.98, 4.3) if ideal else (4.03, 4.25)))
    edges = np.diag(a * repeats * [0.5**0.5, 0.5**0.5, 1.0])
    if ideal:
        cell = edges * (1.0 + rng.normal(0.0, 0.012, 3))
        positions = scaled @ cell
        if name == "along":
            positions[:, 2] += rng.normal(0.0, rng.uniform(0.03, 0.12), len(symbols))
        else:
            positions[rng.integers(len(symbols)), 2] += rng.choice([0.0, 0.12]) * rng.random()
    else:
        cell = strained(rng, edges, 0.012)
        positions = scaled @ cell + rng.normal(0.0, rng.uniform(0.02, 0.09), (len(symbols), 3))
    signs = _signs(rng, order, int(chromium.sum()))
    if name == "lengths":
        of_chromium = signs * rng.uniform(1.0, 3.35, len(signs))
    elif ideal and name != "along":
        up, down = rng.uniform(1.8, 3.2, 2)
        of_chromium = np.where(signs > 0.0, up, -(down if order == "flip" else up))
    else:
        of_chromium = signs * _lengths(rng, len(signs), spread=number % 5 == 4)
    moments = np.zeros(len(symbols))
    moments[chromium] = of_chromium
    return Atoms(symbols, positions, cell=cell, pbc=True, magmoms=moments)


def _signs(rng: np.random.Generator, order: str, n: int) -> np.ndarray:
    """Of the atoms of Cr in their order: along a doubled axis they come layer by layer."""
    if order == "fm":
        return np.ones(n)
    if order == "afm":
        return np.resize([1.0, -1.0], n)
    if order == "double":
        return np.resize([1.0, 1.0, -1.0, -1.0], n)
    if order == "flip":
        return np.where(np.arange(n) == 1, -1.0, 1.0)
    return rng.choice([-1.0, 1.0], n)


def _lengths(rng: np.random.Generator, n: int, *, spread: bool) -> np.ndarray:
    if spread:
        return rng.uniform(1.2, 3.2, n)
    return (MOMENT * rng.normal(1.0, 0.15, n)).clip(1.2, 3.3)


def main() -> None:
    """Label, and write the file after each configuration."""
    args = arguments(
        __doc__.splitlines()[0],
        [*LISTS, "properties"],
        output="start.extxyz",
        jobs="crn_jobs",
        datasets="folder of Cr.xml and N.xml",
    )
    oracle = ORACLE.varied(
        datasets={s: str(args.datasets / f"{s}.xml") for s in ORACLE.datasets},
        **(WITH_SYMMETRY if args.list in (*IDEAL, "properties") else {}),
    )

    def oracle_of(atoms: Atoms) -> AbinitOracle:
        repeats, kmesh = SHAPES[atoms.info["label"].split("-")[0]]
        held = oracle if atoms.info["constrained"] else oracle.varied(constrained=())
        found = with_grids(held, kmesh, repeats, **GRIDS)
        if args.list == "repeated":
            found = replace(found, extra={**found.extra, **occupations(atoms)})
        return found

    wanted = properties() if args.list == "properties" else configurations(args.list, args.number)
    label_list(wanted, oracle_of, args)


if __name__ == "__main__":
    main()
