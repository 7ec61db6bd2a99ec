"""Fit a potential to DFT data of iron together with a target elastic constant and moment.

The data that come with the package say little about the shear constant C44. Here it is part of the
loss: each step relaxes the crystal with the present parameters, and its elastic constants are
differentiated through the relaxation by the implicit function theorem.

    python scripts/example_target_property.py --c44 121.9 --moment 2.22
"""

import argparse
import time
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.implicit import curvature, elastic_tensor, lattice_parameter


def main(words: list[str] | None = None) -> None:
    """Fit to the data, then to the data and the targets, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--c44", type=float, default=121.9, help="GPa (default 121.9)")
    parser.add_argument("--moment", type=float, default=2.22, help="mu_B (default 2.22)")
    parser.add_argument("--level", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=300, help="of the fit to the data")
    parser.add_argument("--steps", type=int, default=150, help="with the targets")
    args = parser.parse_args(words)

    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    new = mmtp.Potential.new(
        level=args.level, species=("Fe",), radial_size=6, magnetic_size=3, cutoff=4.2
    )
    fit = mmtp.fit(new, atoms_list, max_iterations=args.iterations)
    potential = fit.potential
    crystal = bulk("Fe", a=2.83)
    crystal.set_initial_magnetic_moments([2.2])
    with mmtp.double_precision():
        refine(potential, atoms_list, crystal, args)


def refine(potential, atoms_list, crystal, args) -> None:
    """Adam on the loss of the data plus the squared relative errors of the targets."""
    targets = mmtp.targets(atoms_list, potential=potential)
    relaxed = mmtp.DifferentiableState(potential, crystal)

    def properties(theta):
        state = relaxed(theta)
        c = elastic_tensor(curvature(state))
        return jnp.stack([c[3, 3], state.magmoms[0], lattice_parameter(state)])

    wanted = jnp.array([args.c44, args.moment])
    theta = jnp.asarray(potential.flatten())
    start = float(mmtp.loss(potential, targets))

    def objective(theta):
        data, found = mmtp.loss(potential.unflatten(theta), targets), properties(theta)
        errors = (found[:2] - wanted) / wanted
        return data / start + 100.0 * jnp.sum(errors**2), (data, found)

    # Each parameter has a scale of its own; the constant energy stays as it was fitted.
    scale = 1e-3 * jnp.abs(theta).at[: potential.n_species].set(0.0)
    optimiser = optax.adam(optax.cosine_decay_schedule(1.0, args.steps))

    @jax.jit
    def step(theta, state):
        (value, seen), gradient = jax.value_and_grad(objective, has_aux=True)(theta)
        change, state = optimiser.update(gradient * scale, state)
        return optax.apply_updates(theta, change * scale), state, value, seen

    state, since = optimiser.init(theta), time.monotonic()
    print("step   loss of data   C44 (GPa)   moment (mu_B)   lattice parameter (Angstrom)")
    for k in range(args.steps + 1):
        after, state, value, (data, found) = step(theta, state)
        if not np.isfinite(value):
            raise SystemExit("the magnetic state was lost on the way; take smaller steps")
        if k % max(args.steps // 10, 1) == 0:
            c44, moment, length = found
            print(f"{k:4d} {data:14.4e} {c44:11.2f} {moment:15.4f} {length:20.4f}", flush=True)
        if k < args.steps:
            theta = after
    final = potential.unflatten(np.asarray(theta))
    by_relaxation = mmtp.elastic_constants(final, crystal)
    print(f"{args.steps} steps in {time.monotonic() - since:.0f} s, compilation included")
    print(f"loss of the data {start:.4e} before, {float(data):.4e} after")
    print(
        f"relaxed anew: C44 {by_relaxation.cubic[2]:.2f} GPa, moment {by_relaxation.magmoms[0]:.4f}"
    )


if __name__ == "__main__":
    main()
