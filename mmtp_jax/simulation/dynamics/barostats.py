"""Constant pressure by stochastic rescaling of the cell.

Bernetti and Bussi, J. Chem. Phys. 153, 114107 (isotropic), and Del Tatto, Raiteri, Bernetti and
Bussi, Appl. Sci. 12, 1139 (all shapes), with a mobility M that does not depend on the volume, for
which no further drift is needed. Per time step the cell, the positions and the momenta change by
h -> h F, r -> r F, p -> p F^-1 with F = exp(e) and the symmetric strain

    e = -M [V (P0 - P) - k_B T] dt + sqrt(2 k_B T M dt) (N + N^T) / 2

N has independent normal numbers, and P = (sum m v (x) v - dE/d(strain)) / V. The moves preserve
the measure dh det(h)^-3 dr dp, so that exp[-(H + P0 V - k_B T ln V) / k_B T] is stationary with
respect to it: the isothermal-isobaric ensemble, in which the average of P is P0. The isotropic
variant keeps the trace of e only.

M = 1 / (3 B tau V) for a solid of bulk modulus B makes tau the relaxation time of the volume.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from mmtp_jax.simulation.dynamics.thermostats import Bath, normals
from mmtp_jax.simulation.system import System, kinetic_tensor, volumes

Array = Any


def mobility(bulk_modulus: Array, time: Array, volume: Array) -> Array:
    """M from the bulk modulus (eV/Angstrom^3), the relaxation time and the volume (Angstrom^3)."""
    return 1.0 / (3.0 * bulk_modulus * time * volume)


def strain_of_step(
    shape: str, system: System, stress: Array, bath: Bath, keys: Array, step: Array
) -> Array:
    """e (R, 3, 3) of one time step.

    Args:
        shape: "isotropic" or "full".
        system: where the replicas are.
        stress: (R, 3, 3) of the potential energy, eV/Angstrom^3.
        bath: temperature, pressure and mobility.
        keys: (R, 2) random keys.
        step: number of the step.
    """
    unit = jnp.eye(3)
    volume = volumes(system)[:, None, None]
    internal = kinetic_tensor(system) - volume * stress
    thermal = bath.thermal_energy[:, None, None]
    drive = (volume * bath.pressure[:, None, None] - thermal) * unit - internal
    noise = normals(keys, step, 2, (3, 3))
    noise = (noise + jnp.swapaxes(noise, 1, 2)) / 2
    scaled = bath.mobility[:, None, None] * bath.timestep
    strain = -scaled * drive + jnp.sqrt(2.0 * thermal * scaled) * noise
    if shape == "isotropic":
        strain = jnp.trace(strain, axis1=1, axis2=2)[:, None, None] / 3 * unit
    return strain


def strained(system: System, strain: Array) -> System:
    """Positions, cell and velocities after the canonical change by exp(strain)."""
    forwards, backwards = _exponential(strain), _exponential(-strain)
    return system._replace(
        positions=system.positions @ forwards,
        cell=system.cell @ forwards,
        velocities=system.velocities @ backwards,
    )


def _exponential(strain: Array) -> Array:
    """exp(e) of a small symmetric matrix; to order six, exact to round-off below some percent."""
    unit = jnp.eye(3)
    total = jnp.broadcast_to(unit, strain.shape)
    for k in range(6, 0, -1):
        total = unit + strain @ total / k
    return total
