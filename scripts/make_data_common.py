"""Shared by the scripts that make DFT data: label a list, and write the file after each label."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.inputs import overlap_of

BCC_SHAPES = {
    2: ((1, 1, 1), (4, 4, 4)),
    4: ((1, 1, 2), (4, 4, 2)),
    8: ((1, 2, 2), (4, 2, 2)),
    16: ((2, 2, 2), (2, 2, 2)),
}
"""Of each number of atoms the cubic cells along each axis, and the mesh: the same points of
reciprocal space for each."""
BCC_GRIDS = {"coarse": (20, 20, 20), "fine": (30, 30, 30)}
"""Of the FFT, for one cubic cell with 12 and 30 Ha."""

BCC_SHELLS = (0.93, 1.2, 1.53, 1.7)
"""Behind each of the first four of a site of bcc, lattice parameters."""

KEPT = {"making", "kmesh", "magnetic_forces_of"}
"""What a label says of itself, beside what its configuration says."""


def arguments(
    description: str, lists: Sequence[str], *, output: str, jobs: str, datasets: str | None = None
) -> argparse.Namespace:
    """Those that all these scripts have; the first list is what is made unless told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--list", choices=lists, default=lists[0], help="which configurations")
    parser.add_argument("--number", type=int, default=50, help="how many configurations")
    parser.add_argument(
        "--ids", type=int, nargs="+", metavar="ID", help="only these of them, in this order"
    )
    parser.add_argument("--jobs", default=jobs, help="folder of the jobs")
    parser.add_argument("--timeout", type=float, default=14400.0, help="of one label, seconds")
    parser.add_argument("-o", "--output", default=output, help="file to write")
    if datasets is not None:
        parser.add_argument("--datasets", type=Path, required=True, help=datasets)
    return parser.parse_args()


def with_grids(
    oracle: AbinitOracle,
    kmesh: tuple[int, int, int],
    repeats: tuple[int, int, int],
    *,
    coarse: Sequence[int],
    fine: Sequence[int],
) -> AbinitOracle:
    """The oracle with mesh and FFT grids of a cell: grids are given for one of its repeats."""
    grids = {
        "ngfft": [n * r for n, r in zip(coarse, repeats, strict=True)],
        "ngfftdg": [n * r for n, r in zip(fine, repeats, strict=True)],
    }
    return replace(oracle, kmesh=kmesh, extra=grids)


def repeated(basis: np.ndarray, repeats: Sequence[int]) -> np.ndarray:
    """Scaled positions (n, 3) in so many cells with this basis (k, 3), cell by cell."""
    corners = np.array(list(np.ndindex(*repeats)), float)
    return np.concatenate([c + basis for c in corners]) / np.array(repeats)


def bcc_sites(repeats: Sequence[int]) -> np.ndarray:
    """Scaled positions (n, 3) in so many cubic cells, each with its corner and its centre."""
    return repeated(np.array([[0.0] * 3, [0.5] * 3]), repeats)


def neighbours_of(sites: np.ndarray, repeats: Sequence[int], shells: Sequence[float]) -> np.ndarray:
    """Numbers (k, n, n) of neighbours that a site has of another, in each of k shells.

    Args:
        sites: (n, 3) scaled positions in a cell of so many cubes along each axis.
        repeats: these numbers.
        shells: a distance behind each, edges of a cube.
    """
    found = np.zeros((len(shells), len(sites), len(sites)), int)
    ideal = Atoms(f"H{len(sites)}", sites * repeats, cell=repeats, pbc=True)
    i, j, distance = neighbor_list("ijd", ideal, shells[-1])
    np.add.at(found, (np.searchsorted(shells, distance), i, j), 1)
    return found


def like_sites(marks: Sequence[np.ndarray], shells: np.ndarray) -> np.ndarray:
    """Classes (n,), numbers from 0, of sites that symmetry makes equal.

    Such have equal marks, each (n,), and equal numbers of marked neighbours in all shells.
    """
    rows = [row for mark in marks for row in (mark, *(shells @ mark))]
    return np.unique(rows, axis=1, return_inverse=True)[1].reshape(-1)


def bcc_neighbours(repeats: Sequence[int]) -> np.ndarray:
    """Those (4, n, n) of `bcc_sites`, in four shells."""
    return neighbours_of(bcc_sites(repeats), repeats, BCC_SHELLS)


def strained(rng: np.random.Generator, cell: np.ndarray, spread: float) -> np.ndarray:
    """A cell (3, 3), Angstrom, with a random symmetric strain of this spread."""
    strain = rng.normal(0.0, spread, (3, 3))
    return cell @ (np.eye(3) + (strain + strain.T) / 2)


def configuration(
    draw: Callable[[], Atoms],
    radii: Mapping[str, float],
    held: Sequence[str],
    number: int,
    label: str,
    *,
    constrained: bool = True,
) -> Atoms:
    """One of a list: the first draw in which no sphere of these species overlaps with another."""
    while True:
        atoms = draw()
        if overlap_of(atoms, radii, np.isin(atoms.get_chemical_symbols(), held)) is None:
            atoms.info.update(config_id=number, label=label, constrained=constrained)
            return atoms


def iron_with(
    other: str, where: np.ndarray, positions: np.ndarray, cell: np.ndarray, moments: np.ndarray
) -> Atoms:
    """A periodic cell of iron, and of another species where (n,) it is."""
    symbols = np.where(where, other, "Fe").tolist()
    return Atoms(symbols, positions, cell=cell, pbc=True, magmoms=moments)


def label_list(
    wanted: Sequence[Atoms], oracle_of: Callable[[Atoms], AbinitOracle], args: argparse.Namespace
) -> None:
    """Label what the output file does not hold yet; at its end say what stands apart."""
    labelled = mmtp.read(args.output) if Path(args.output).exists() else []
    present = {answer.info["config_id"] for answer in labelled}
    for k in args.ids or range(len(wanted)):
        if k in present:
            continue
        if not 0 <= k < len(wanted):
            raise SystemExit(f"--ids {k}: the list has {len(wanted)} configurations (--number)")
        atoms = wanted[k]
        folder = Path(args.jobs) / f"{k:04d}"
        jobs = mmtp.label_all(oracle_of(atoms), [atoms], folder, timeout_s=args.timeout)
        for failure in jobs.failures.values():
            print(f"{k}: {failure.reason}", flush=True)
        for answer in jobs.labelled:
            info = answer.atoms.info
            for name in set(info) - KEPT:
                del info[name]
            info.update(atoms.info)
            labelled.append(answer.atoms)
            labelled.sort(key=lambda atoms: atoms.info["config_id"])
            mmtp.write(args.output, labelled)
            print(
                f"{k}: {atoms.info['label']}, {answer.provenance.seconds:.0f} s, "
                f"{len(labelled)} in all",
                flush=True,
            )
    for suspect in mmtp.screen(labelled):
        print(f"stands apart: {suspect}")
