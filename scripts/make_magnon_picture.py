"""The picture of spin waves: magnons of iron from dynamics over those of second derivatives.

128 atoms of the shipped potential `Fe` at 10 K, first in a heat bath, then at constant energy.

    python scripts/make_magnon_picture.py notebooks/images/magnons.png
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax import plot

TEMPERATURE_K, TIMESTEP_FS, WARM, STEPS, EVERY = 10.0, 0.2, 2000, 6000, 5


def main() -> None:
    """Simulate, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    args = parser.parse_args()
    warnings.simplefilter("ignore", mmtp.ExtrapolationWarning)
    mmtp.compilation_cache()

    pot, cell = mmtp.load("Fe"), bulk("Fe", a=2.84)
    cell.set_initial_magnetic_moments([2.2])
    magnons = mmtp.magnons(pot, cell)
    lattice = 2 * magnons.exchange.volume
    crystal = bulk("Fe", a=np.cbrt(lattice), cubic=True).repeat(4)
    del crystal.arrays["initial_magmoms"]
    moment = magnons.exchange.magmoms[0]
    crystal.set_initial_magnetic_moments(np.tile([0.0, 0.0, moment], (len(crystal), 1)))

    settings = {"spins": "dynamics", "timestep_fs": TIMESTEP_FS}
    bath = {"ensemble": "nvt", "temperature_K": TEMPERATURE_K, "damping": 0.2, "seed": 1}
    warm = mmtp.md(pot, crystal, WARM, **bath, **settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.extxyz"
        run = mmtp.md(
            pot, warm.atoms[0], STEPS, **settings, trajectory=path, trajectory_every=EVERY
        )
        frames = mmtp.read(str(path), vectors=True)
    found = mmtp.spin_structure_factor(frames, path="GHNGPH", skip=0.0)
    print(warm, run, found, sep="\n")
    apart = found.peaks.energy - found.adiabatic(magnons)[:, 0]
    for q, peak, difference in zip(found.q, found.peaks.energy, apart, strict=True):
        print(np.round(q, 4), f"{peak:.1f} meV, {difference:+.1f} from the adiabatic one")
    figure = plot.spin_structure_factor(found, magnons)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
