"""Differentiate a property of one's own by the parameters of a potential.

Here it is the stiffness of antiparallel changes of the two moments of bcc iron, J = e d2E/dm2 e
with e = (1, -1) / sqrt(2), in eV/mu_B^2, at the relaxed crystal: how firmly the exchange holds the
sublattices together. Any function of energies, forces and moments goes in its place.

    python scripts/example_own_property.py pot.mtp
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

import mmtp_jax as mmtp


def stiffness_of(potential, crystal):
    """theta -> J, differentiated through the relaxation as well."""
    relaxed = mmtp.DifferentiableState(potential, crystal, cell="volume")
    change = jnp.array([1.0, -1.0]) / np.sqrt(2)

    def stiffness(theta):
        pot, graph = potential.unflatten(theta), relaxed.graph_at(relaxed(theta))

        def energy(magmoms):
            return mmtp.energy(pot, mmtp.move(graph, magmoms=magmoms)[0])[0]

        return change @ jax.hessian(energy)(graph.magmoms) @ change

    return stiffness


def main(path: str) -> None:
    """Print J, and the parameters that it depends on most."""
    potential = mmtp.load(path, species=("Fe",))
    crystal = bulk("Fe", a=2.83, cubic=True)
    crystal.set_initial_magnetic_moments([2.2, 2.2])
    theta = potential.flatten()
    with mmtp.double_precision():
        value, slope = jax.jit(jax.value_and_grad(stiffness_of(potential, crystal)))(theta)
    print(f"J = {float(value):.4f} eV/mu_B^2; by a relative change of parameter")
    shares = np.asarray(slope) * np.asarray(theta)
    for k in np.argsort(-np.abs(shares))[:5]:
        print(f"{k:8d} {shares[k]:10.4f} eV/mu_B^2")


if __name__ == "__main__":
    main(*sys.argv[1:])
