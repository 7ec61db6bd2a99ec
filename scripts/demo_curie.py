"""Curie temperature of an Ising teacher from Binder cumulants, next to the exact value.

The teacher is a potential of level 2 that is E = -J sum s_i s_j on first neighbours of a square
lattice. Onsager: k_B T_C / J = 2 / ln(1 + sqrt 2) = 2.2692.

    python scripts/demo_curie.py --sizes 8 16 24 --sweeps 20000
"""

import argparse

import numpy as np
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.cli.plots import save_figure
from mmtp_jax.cli.spin_plots import order_figure
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.spins.binder import binder_crossing, order_curve

EXCHANGE = 0.05
EXACT = 2.0 / np.log(1.0 + np.sqrt(2.0))


def main() -> None:
    """Run, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--sweeps", type=int, default=20000)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--plot", default="curie.png")
    args = parser.parse_args()
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.5,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -EXCHANGE / 2 / 0.5**2
    teacher = new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))
    reduced = np.array([2.22, 2.25, 2.28, 2.31, 2.34])
    curves = []
    for size in args.sizes:
        atoms = Atoms("Fe", cell=[2, 2, 10], pbc=(1, 1, 0)).repeat((size, size, 1))
        atoms.set_initial_magnetic_moments([2.0] * len(atoms))
        walk = mmtp.montecarlo(
            teacher, atoms, reduced * EXCHANGE / KB, copies=args.copies, moments="fixed",
            sweeps=args.sweeps, burn_in=args.sweeps // 10, seed=size,
        )  # fmt: skip
        curves.append(order_curve(walk.temperatures, walk.series.order, walk.n_magnetic))
        flips = 1.1 * args.sweeps * len(atoms) * len(walk.temperatures)
        print(f"{len(atoms)} atoms: {walk.seconds:.0f} s, {flips / walk.seconds:.3g} flips/s")
    found = binder_crossing(curves)
    print(found)
    value, error = found.temperature * KB / EXCHANGE, found.error * KB / EXCHANGE
    print(f"k_B T_C / J = {value:.4f} +- {error:.4f}, exact {EXACT:.4f}")
    save_figure(args.plot, order_figure(curves, found))


if __name__ == "__main__":
    main()
