"""Quasi-harmonic thermodynamics as a differentiable function of the potential's parameters.

At each of several volumes the state is stationary (`implicit`), and its vibrations are those at
Gamma of the supercell. The free energy of each temperature is fitted by the Birch-Murnaghan form,

    F(V) = sum_k a_k V^(-2k/3)        k = 0 to 3,

which is linear in a, and its minimum is found by Newton's method. Converged steps carry no
derivatives; two more do, after which first to third derivatives of the minimum are exact. So
thermal expansion and heat capacity are derivatives by temperature, not differences. All is float64
inside of `mmtp_jax.double_precision`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.properties.implicit import vibrational_free_energy
from mmtp_jax.simulation.constants import GPA, KB

Array = Any

ORDER = 3
"""Of the Birch-Murnaghan form: that of `mmtp_jax.properties.birch_murnaghan`."""

_STEPS = 30
"""Of Newton's method; from the best of the volumes it needs about five."""


class HarmonicVolumes(NamedTuple):
    """Stationary states of one cell at v volumes, as functions of theta."""

    volumes: Array
    """(v,) Angstrom^3 of the cell, in any order."""
    energies: Array
    """(v,) eV of the cell."""
    squared_frequencies: Array
    """(v, 3 n - 3) omega^2, eV/(Angstrom^2 amu)."""

    @property
    def n_atoms(self) -> int:
        """n."""
        return self.squared_frequencies.shape[1] // 3 + 1


class ThermalState(NamedTuple):
    """The state of least Gibbs free energy; extensive quantities per atom.

    All are NaN where there is no minimum between the volumes, or there are imaginary frequencies.
    """

    volume: Array
    """() Angstrom^3."""
    free_energy: Array
    """() Gibbs free energy, eV."""
    expansion: Array
    """() linear coefficient (1/3V) dV/dT, 1/K."""
    heat_capacity: Array
    """() at constant pressure, k_B."""
    bulk_modulus: Array
    """() isothermal, GPa."""


@jax.jit
def thermal_state(
    at: HarmonicVolumes, temperature_K: float | Array, pressure_GPa: float | Array = 0.0
) -> ThermalState:
    """The quasi-harmonic state at a temperature; see `mmtp_jax.quasiharmonic`.

    Args:
        at: at five or more volumes around the minimum.
        temperature_K: () above zero.
        pressure_GPa: () external pressure.
    """
    temperature = jnp.asarray(temperature_K, at.volumes.dtype)

    def minimum(t: Array) -> tuple[Array, tuple[Array, Array]]:
        volume, curve = _least(at, t, pressure_GPa)
        modulus = volume * jax.grad(jax.grad(curve))(volume) / GPA
        return curve(volume), (volume, modulus)

    def slopes(t: Array) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        (free, (volume, modulus)), slope = jax.value_and_grad(minimum, has_aux=True)(t)
        return (slope, volume), (free, volume, modulus)

    (second, rate), (free, volume, modulus) = jax.jacfwd(slopes, has_aux=True)(temperature)
    n = at.n_atoms
    return ThermalState(
        volume=volume / n,
        free_energy=free / n,
        expansion=rate / (3 * volume),
        heat_capacity=-temperature * second / (n * KB),
        bulk_modulus=modulus,
    )


def _least(at: HarmonicVolumes, temperature: Array, pressure_GPa: Any) -> tuple[Array, Any]:
    """The volume of least Gibbs free energy, and that free energy as a function of the volume."""
    free = at.energies + vibrational_free_energy(at.squared_frequencies, temperature)
    middle = jax.lax.stop_gradient(jnp.mean(at.volumes))
    offset = jax.lax.stop_gradient(free[0])

    def powers(volume: Array) -> Array:
        x = (volume / middle) ** (-2 / 3) - 1
        # Powers that are no arrays have derivatives at x = 0, where one of the volumes may be.
        return jnp.stack([x**k for k in range(ORDER + 1)], axis=-1)

    orthogonal, upper = jnp.linalg.qr(powers(at.volumes))
    coefficients = jnp.linalg.solve(upper, orthogonal.T @ (free - offset))

    def curve(volume: Array, a: Array = coefficients) -> Array:
        return offset + powers(volume) @ a + pressure_GPa * GPA * volume

    def step(volume: Array, a: Array = coefficients) -> Array:
        return volume - jax.grad(curve)(volume, a) / jax.grad(jax.grad(curve))(volume, a)

    known, still = jax.lax.stop_gradient((at.volumes, coefficients))
    low, high = jnp.min(known), jnp.max(known)
    start = known[jnp.argmin(jax.vmap(curve, (0, None))(known, still))]
    volume = jax.lax.fori_loop(0, _STEPS, lambda _, v: jnp.clip(step(v, still), low, high), start)
    volume = step(step(volume))
    found = (volume >= low) & (volume <= high) & (jax.grad(jax.grad(curve))(volume) > 0)
    return jnp.where(found, volume, jnp.nan), curve
