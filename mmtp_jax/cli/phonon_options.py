"""Options that ``mmtp phonons`` and ``mmtp qha`` share."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.options import ANY_SEED, MOST_ITEMS

MOST_MESH = 1000
"""Points along a direction, or Angstrom."""


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add them; ``name`` is that of the files that are written."""
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument(
        "data", metavar="DATA", help="unit cell with moments, of any format; the first counts"
    )
    parser.add_argument(
        "--supercell", nargs="+", type=number(int), metavar="N",
        help="one, three or nine integers (default: faces two cutoffs apart)",
    )  # fmt: skip
    parser.add_argument(
        "--clamped", action="store_true", help="moments do not follow the atoms: what they change"
    )
    parser.add_argument(
        "--states", type=number(int), default=0, metavar="N",
        help="paramagnetic: average over N disordered magnetic states",
    )  # fmt: skip
    parser.add_argument(
        "--magnetic", nargs="+", metavar="SYMBOL", help="species with disordered signs"
    )
    parser.add_argument(
        "--seed", type=number(int, ANY_SEED), default=0, help="of the states (default 0)"
    )
    parser.add_argument(
        "--temperatures", nargs=3, type=number(float), default=(0.0, 1000.0, 10.0),
        metavar=("LOW", "HIGH", "STEP"), help="K (default 0 1000 10)",
    )  # fmt: skip
    parser.add_argument(
        "--mesh", nargs="+", type=number(float), default=(60.0,), metavar="X",
        help="of q: a length in Angstrom, or three integers (default 60)",
    )  # fmt: skip
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="symbols of the types")
    console.add_key_option(parser)
    parser.add_argument(
        "-o", "--output", default=name, metavar="PREFIX",
        help=f"of the names of all files (default {name})",
    )  # fmt: skip


def mesh_of(words: Any) -> Any:
    """A length, or three integers.

    Raises:
        ValueError: if it is neither.
    """
    if len(words) == 1 and 0 < words[0] <= MOST_MESH:
        return float(words[0])
    if len(words) == 3 and all(word == int(word) and 0 < word <= MOST_MESH for word in words):
        return [int(word) for word in words]
    raise ValueError(f"--mesh takes one positive length or three integers, got {list(words)}")


def temperatures_of(words: Any) -> Any:
    """An even grid.

    Raises:
        ValueError: if it is none.
    """
    import numpy as np

    low, high, step = words
    if not (0.0 <= low < high and 0.0 < step <= high - low <= MOST_ITEMS * step):
        raise ValueError(f"--temperatures takes LOW HIGH STEP in K, got {list(words)}")
    return np.arange(low, high + 0.5 * step, step)


def supercell_of(words: Any) -> Any:
    """What `mmtp_jax.phonons` takes.

    Raises:
        ValueError: if there are not one, three or nine.
    """
    if words is None:
        return None
    if len(words) not in (1, 3, 9):
        raise ValueError(f"--supercell takes one, three or nine integers, got {len(words)}")
    return words[0] if len(words) == 1 else words


def load(args: argparse.Namespace) -> tuple[Any, Any]:
    """Potential and atoms."""
    import mmtp_jax as mmtp

    if args.states < 0 or args.states == 1:
        raise ValueError(f"--states must be at least 2, got {args.states}")
    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms = console.read_data(args.data, potential.species, keys=args.key)[0]
    return potential, atoms
