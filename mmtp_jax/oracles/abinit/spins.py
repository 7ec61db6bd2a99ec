"""Vector moments as ABINIT is given them: all turned together, and the answers turned back.

Without spin-orbit coupling the energy does not change when all moments are turned by one rotation.
Moments along one line are computed as collinear ones, by a fraction of the work; the forces on them
have no part across it. Others need two calculations: with the PAW datasets at hand, ABINIT 9.6 adds
to forces and stress of spinors a false term that is linear in the x components of the moments
(forces and stress of one state differ between orientations, by up to 400 GPa; its energies do
not). With all moments turned by half a turn about z the term has the other sign, so that the mean
of both is exact, and the energies of both say whether it is one state.
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
_SIN, _COS = np.sin(0.6), np.cos(0.6)
_HALF_TURN = np.diag([-1.0, -1.0, 1.0])


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


def frames_of(moments: np.ndarray) -> tuple[Frame, ...]:
    """The orientations in which moments (n,) or (n, 3) are computed: one along a line, else two.

    Of the two, the plane in which most of them lie is the xz plane, and their principal axis is off
    both axes: along an axis, or in the yz plane, self-consistency was found hard.
    """
    if moments.ndim == 1:
        return (Frame(np.eye(3), True, numbers=True),)
    _, lengths, (first, second, _) = np.linalg.svd(np.concatenate([moments, np.zeros((3, 3))]))
    # The sign of a singular vector means nothing.
    first = first * np.sign(first[np.argmax(np.abs(first))])
    if not lengths[1] > STRAIGHT:
        return (Frame(_rows(second, first), True),)
    tilted = np.array([[_SIN, _COS], [_COS, -_SIN]]) @ np.stack([first, second])
    rotation = _rows(*tilted)
    return Frame(rotation, False), Frame(_HALF_TURN @ rotation, False)


def joined(outputs: Sequence[Output], n_atoms: int) -> Output | str:
    """One output for all orientations, turned back already; a sentence where they are two states.

    Energy, forces, stress, moments and magnetic forces are means; of the rest, the worst or the sum
    is told.
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

    names = ("forces", "stress", "magmoms", "magnetic_forces", "charges")
    return replace(
        outputs[0],
        energy=float(mean("energy")),
        energy_gap=None if (gap := mean("energy_gap")) is None else float(gap),
        n_steps=sum(output.n_steps for output in outputs),
        residual=max(output.residual for output in outputs),
        cpu_s=sum(output.cpu_s for output in outputs),
        wall_s=sum(output.wall_s for output in outputs),
        **{name: mean(name) for name in names},
    )


def _rows(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The rotation onto axes of which two are these unit vectors."""
    return np.stack([x, np.cross(z, x), z])
