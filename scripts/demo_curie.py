"""Temperature of order of an Ising or Heisenberg teacher from Binder cumulants, and the known one.

The teacher is a potential of level 2 that is E = -J sum s_i s_j over pairs of first neighbours,
with unit vectors in place of signs for ``--model heisenberg``. Known k_B T_C / J: the square
lattice of Ising spins has 2 / ln(1 + sqrt 2) = 2.2692 (Onsager), bcc 6.3544 (series and simulations
agree on J / k_B T_C = 0.15737); of Heisenberg spins simple cubic has 1.4429 and bcc 2.0542 (Chen,
Ferrenberg and Landau, Phys. Rev. B 48, 3249, 1993).

    python scripts/demo_curie.py --sizes 8 16 24 --sweeps 20000
    python scripts/demo_curie.py --lattice bcc --sizes 4 6 8 --sweeps 6000
    python scripts/demo_curie.py --model heisenberg --lattice sc --sizes 6 10 --sweeps 4000
    python scripts/demo_curie.py --model heisenberg --lattice bcc --sizes 4 6 8 --sweeps 4000
"""

import argparse

import numpy as np
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax import plot
from mmtp_jax.plot.style import save_figure
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.spins.binder import order_curve
from mmtp_jax.simulation.spins.crossing import binder_crossing

EXCHANGE = 0.05
KNOWN = {
    ("ising", "square"): 2.0 / np.log(1.0 + np.sqrt(2.0)),
    ("ising", "bcc"): 1.0 / 0.157373,
    ("heisenberg", "sc"): 1.0 / 0.693035,
    ("heisenberg", "bcc"): 1.0 / 0.486798,
}
REDUCED = {
    ("ising", "square"): np.array([2.22, 2.25, 2.28, 2.31, 2.34]),
    ("ising", "bcc"): np.array([6.15, 6.25, 6.35, 6.45, 6.55]),
    ("heisenberg", "sc"): np.array([1.40, 1.42, 1.44, 1.46, 1.48]),
    ("heisenberg", "bcc"): np.array([1.99, 2.02, 2.05, 2.08, 2.11]),
}
"""Temperatures k_B T / J of the walks."""


def crystal(lattice: str, size: int) -> Atoms:
    """A ferromagnet with 2 Angstrom between first neighbours."""
    if lattice == "square":
        return Atoms("Fe", cell=[2, 2, 10], pbc=(1, 1, 0)).repeat((size, size, 1))
    if lattice == "sc":
        return bulk("Fe", "sc", a=2.0).repeat(size)
    return bulk("Fe", "bcc", a=4.0 / np.sqrt(3.0), cubic=True).repeat(size)


def teacher() -> mmtp.Potential:
    """E = -J sum s_i s_j of moments of 2 mu_B."""
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.25,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -EXCHANGE / 2 / 0.25**2
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))


def main() -> None:
    """Run, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("ising", "heisenberg"), default="ising")
    parser.add_argument("--lattice", choices=("square", "sc", "bcc"), default="square")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--sweeps", type=int, default=20000)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--plot", default="curie.png")
    args = parser.parse_args()
    if (args.model, args.lattice) not in KNOWN:
        known = ", ".join(" ".join(pair) for pair in KNOWN)
        parser.error(f"no temperature is known of this pair of model and lattice; take {known}")
    reduced, known = (of[args.model, args.lattice] for of in (REDUCED, KNOWN))
    curves = []
    for size in args.sizes:
        atoms = crystal(args.lattice, size)
        atoms.set_initial_magnetic_moments([2.0] * len(atoms))
        walk = mmtp.montecarlo(
            teacher(), atoms, reduced * EXCHANGE / KB, copies=args.copies, moments="fixed",
            vectors=args.model == "heisenberg", sweeps=args.sweeps, burn_in=args.sweeps // 10,
            seed=size,
        )  # fmt: skip
        curves.append(
            order_curve(walk.temperatures, walk.series.order, walk.n_magnetic, walk.series.energy)
        )
        trials = 1.1 * args.sweeps * len(atoms) * len(walk.temperatures)
        print(
            f"{len(atoms)} atoms: {walk.seconds:.0f} s, {trials / walk.seconds:.3g} trials/s, "
            f"autocorrelation time {curves[-1].correlation_time.max():.0f} sweeps"
        )
    found = binder_crossing(curves, dimension=2 if args.lattice == "square" else 3)
    print(found)
    value, error = found.temperature * KB / EXCHANGE, found.error * KB / EXCHANGE
    print(f"k_B T_C / J = {value:.4f} +- {error:.4f}, known {known:.4f}")
    save_figure(args.plot, plot.order(curves, found))


if __name__ == "__main__":
    main()
