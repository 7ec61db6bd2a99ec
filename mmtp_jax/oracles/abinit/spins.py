"""Vector moments as ABINIT is given them: all turned together, and the answers turned back.

Without spin-orbit coupling the energy does not change when all moments are turned by one rotation.
Moments along one line are computed as collinear ones, by a fraction of the work; the forces on them
have no part across it. Others need two calculations. With the PAW datasets at hand, ABINIT 9.6 adds
to forces and stress of spinors a false term that is linear in the x components of the moments (up
to 400 GPa); and where these are negative, it converges to a state that is higher by some
meV/atom. So all moments get positive x components, those of the second calculation half as large
as those of the first, and forces and stress are extrapolated to none. The energies of both say
whether it is one state. That needs moments in one plane, within half a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.oracles.abinit.output import Output

STRAIGHT = 1e-5
"""mu_B; moments that leave a line by less are along it."""
SAME_ENERGY = 1e-4
"""eV/atom in which both orientations agree where they are one state."""
LEAST = 0.05
"""Smallest cosine of a moment and the direction between all of them."""
_SHARES = (0.9, 0.45)
"""Of that direction along x, in both calculations."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One orientation of all moments."""

    rotation: np.ndarray
    """(3, 3) proper: a moment m is R m in ABINIT's frame."""
    collinear: bool
    """All are along z there."""
    numbers: bool = False
    """They are given as numbers along it, and so are the answers."""

    def turned(self, atoms: Atoms, moments: np.ndarray) -> Atoms:
        """The atoms with moments in this frame: (n, 3), or (n,) along z."""
        if moments.ndim > 1:
            moments = moments @ self.rotation.T
            moments = moments[:, 2] if self.collinear else moments
        copy = atoms.copy()
        copy.arrays.pop("initial_magmoms", None)
        copy.set_initial_magnetic_moments(moments)
        return copy

    def back(self, output: Output) -> Output:
        """The output with moments and magnetic forces in the atoms' own frame."""
        if self.numbers:
            return output

        def of(values: np.ndarray | None) -> np.ndarray | None:
            if values is None:
                return None
            if self.collinear:
                values = np.outer(values, [0.0, 0.0, 1.0])
            # Of zero there is no negative one in files.
            return values @ self.rotation + 0.0

        return replace(
            output, magmoms=of(output.magmoms), magnetic_forces=of(output.magnetic_forces)
        )


def straight(moments: np.ndarray) -> bool:
    """Are moments (n,) or (n, 3) along one line?"""
    return moments.ndim == 1 or not np.linalg.svd(moments, compute_uv=False)[1:2].sum() > STRAIGHT


def frames_of(moments: np.ndarray) -> tuple[Frame, ...]:
    """The orientations in which moments (n,) or (n, 3) are computed: one along a line, else two.

    Raises:
        ValueError: if moments are out of one plane, or not within half a turn.
    """
    if moments.ndim == 1:
        return (Frame(np.eye(3), True, numbers=True),)
    _, lengths, (first, second, normal) = np.linalg.svd(np.concatenate([moments, np.zeros((3, 3))]))
    # The sign of a singular vector means nothing.
    first = first * np.sign(first[np.argmax(np.abs(first))])
    if not lengths[1] > STRAIGHT:
        return (Frame(np.stack([second, np.cross(first, second), first]), True),)
    if lengths[2] > STRAIGHT:
        raise ValueError(
            "the moments are not in one plane: forces and stress of such spinors are false in "
            "ABINIT 9.6, and what is false is known for planes only"
        )
    sizes = np.linalg.norm(moments, axis=1)
    units = moments[sizes > STRAIGHT] / sizes[sizes > STRAIGHT, None]
    middle = _middle(units @ first, units @ second) @ np.stack([first, second])
    if (units @ middle).min() < LEAST:
        raise ValueError(
            "the moments are not within half a turn, and ABINIT 9.6 finds other states there"
        )
    across = np.cross(middle, normal)
    tilts = [(share, np.sqrt(1.0 - share**2)) for share in _SHARES]
    return tuple(
        Frame(np.stack([sin * middle + cos * normal, across, cos * middle - sin * normal]), False)
        for sin, cos in tilts
    )


def _middle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The direction (2,) in the middle of all, opposite to the largest gap between two."""
    angles = np.sort(np.arctan2(y, x))
    gaps = np.diff(angles, append=angles[0] + 2.0 * np.pi)
    k = int(np.argmax(gaps))
    opposite = angles[k] + 0.5 * gaps[k] + np.pi
    return np.array([np.cos(opposite), np.sin(opposite)])


def joined(outputs: Sequence[Output], n_atoms: int) -> Output | str:
    """One output for all orientations, turned back already; a sentence where they are two states.

    Energy, moments and magnetic forces are means, forces and stress are extrapolated; of the rest,
    the worst or the sum is told.
    """
    if len(outputs) == 1:
        return outputs[0]
    energies = [output.energy / n_atoms for output in outputs]
    if not np.ptp(energies) <= SAME_ENERGY:
        return (
            f"two orientations of all moments have energies {1e3 * np.ptp(energies):.3g} meV/atom "
            "apart: they are two states, or not converged (a smaller tolerance may help)"
        )

    def mean(name: str) -> Any:
        values = [getattr(output, name) for output in outputs]
        return None if any(value is None for value in values) else np.mean(values, axis=0)

    def without_false(name: str) -> np.ndarray:
        one, other = (getattr(output, name) for output in outputs)
        return (_SHARES[0] * other - _SHARES[1] * one) / (_SHARES[0] - _SHARES[1])

    names = ("magmoms", "magnetic_forces", "charges")
    return replace(
        outputs[0],
        energy=float(mean("energy")),
        energy_gap=None if (gap := mean("energy_gap")) is None else float(gap),
        n_steps=sum(output.n_steps for output in outputs),
        residual=max(output.residual for output in outputs),
        cpu_s=sum(output.cpu_s for output in outputs),
        wall_s=sum(output.wall_s for output in outputs),
        forces=without_false("forces"),
        stress=without_false("stress"),
        **{name: mean(name) for name in names},
    )
