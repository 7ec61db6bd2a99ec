"""A potential of iron that is good enough for dynamics, and crystals of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmtp_jax.simulation.system import System, system_of, thermal_velocities
from mmtp_jax.structures.structure import Structure

IRON_MASS = 55.845


@pytest.fixture(scope="session")
def crystal() -> Callable[..., System]:
    """crystal(repeats, temperature): bcc iron, one replica per seed, with thermal velocities."""

    def of(
        repeats: int = 2,
        temperature: float = 300.0,
        seeds: tuple[int, ...] = (0,),
        lattice: float = 2.82,
        moment: float = 2.2,
        rattle: float = 0.03,
    ) -> System:
        corners = np.stack(np.meshgrid(*[np.arange(repeats)] * 3, indexing="ij"), -1).reshape(-1, 3)
        sites = np.concatenate([corners, corners + 0.5]) * lattice
        structures = [
            Structure(
                cell=np.eye(3) * lattice * repeats,
                periodic=np.ones(3, bool),
                positions=sites + np.random.default_rng(seed).normal(0.0, rattle, sites.shape),
                types=np.zeros(len(sites), np.int32),
                magmoms=np.full(len(sites), moment),
                name=f"replica {seed}",
            )
            for seed in seeds
        ]
        system = system_of(structures, np.full(len(sites), IRON_MASS))
        warm = thermal_velocities(system, np.full(len(seeds), temperature), seeds)
        return system._replace(velocities=warm)

    return of
