"""What is found of spin waves from dynamics: S(q, omega) and its maxima."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.properties.adiabatic import energies_at
from mmtp_jax.properties.bands import Path
from mmtp_jax.properties.spin_peaks import Peaks
from mmtp_jax.readable import readable
from mmtp_jax.tables import aligned

if TYPE_CHECKING:
    from mmtp_jax.properties.magnon_results import Magnons

LIMITED = 1.2
"""Of the resolution: lines that are not wider have a width that the window alone may make."""

_LISTED = 24


@readable
@dataclass(frozen=True, eq=False)
class SpinStructureFactor:
    """Dynamical structure factor S(q, omega) of moments, per atom, over q and energy.

    Positive energies are of the sense in which moments precess about a field along ``axis``.
    """

    q: np.ndarray
    """(k, 3) in reciprocal vectors of the primitive cell ``cell``."""
    distances: np.ndarray
    """(k,) along the path, 1/Angstrom without 2 pi; 0, 1, ... where q were given."""
    path: Path | None = field(repr=False)
    """Lines on which q are; None where they were given."""
    energies: np.ndarray
    """(e,) meV, ascending, negative ones first."""
    transverse: np.ndarray
    """(k, e) mu_B^2/meV per atom, of both directions across the axis together."""
    longitudinal: np.ndarray
    """(k, e) along the axis, without the mean moments (Bragg peaks)."""
    static_transverse: np.ndarray
    """(k,) mu_B^2 per atom at equal times: what ``transverse`` integrates to."""
    static_longitudinal: np.ndarray
    """(k,) the same of ``longitudinal``."""
    peaks: Peaks = field(repr=False)
    """Of ``transverse``."""
    star: np.ndarray = field(repr=False)
    """(k,) waves that are equal by symmetry, whose mean each is."""
    resolution_meV: float
    """Full width at half maximum of a line without a width of its own."""
    moment: float
    """Mean moment of the atoms along the axis, whatever its sign, mu_B."""
    share: float
    """Of their mean size: 1 in the ground state, 0 in a paramagnet."""
    axis: np.ndarray
    """(3,) of the order in the first block."""
    cell: np.ndarray = field(repr=False)
    """(3, 3) primitive cell, Angstrom."""
    supercell: np.ndarray = field(repr=False)
    """(3, 3) integers: the supercell in primitive cells."""
    n_atoms: int
    n_frames: int
    n_blocks: int
    """Parts of the trajectory, overlapping by half, that are averaged."""
    interval_fs: float
    """Between frames."""

    @property
    def total(self) -> np.ndarray:
        """(k, e) all three directions, also where there is no axis: the trace of S(q, omega)."""
        # That of m1 - i m2 at q is that of m+ at -q, reversed; the lowest energy may be alone.
        start = 1 if self.energies[0] < -self.energies[-1] * (1 + 1e-9) else 0
        reverse = self.transverse.copy()
        reverse[:, start:] = self.transverse[:, : -len(self.energies) + start - 1 : -1]
        return 0.5 * (self.transverse + reverse) + self.longitudinal

    @property
    def q_cartesian(self) -> np.ndarray:
        """(k, 3) 1/Angstrom without 2 pi."""
        return self.q @ np.linalg.inv(self.cell).T

    @property
    def limited(self) -> np.ndarray:
        """(k,) bool: the line is as narrow as the resolution, and its own width is not seen."""
        return self.peaks.width < LIMITED * self.resolution_meV

    def adiabatic(self, magnons: Magnons) -> np.ndarray:
        """Energies (k, bands) of adiabatic magnons of the same crystal at these q, meV.

        Raises:
            ValueError: if they are of another lattice.
        """
        return energies_at(self, magnons, self.q)

    def __str__(self) -> str:
        """A few lines, and the maxima."""
        lines = [
            f"S(q, omega) of {self.n_atoms} atoms: {len(self.q)} waves, {self.n_frames} frames "
            f"{self.interval_fs:g} fs apart in {self.n_blocks} blocks that overlap by half; "
            f"resolution {self.resolution_meV:.3g} meV",
            f"mean moment along the axis {self.moment:.3f} mu_B, {self.share:.3g} of its size",
        ]
        rows = [("q", "energy (meV)", "error", "width", "sense", "equal by symmetry")]
        for k in range(min(len(self.q), _LISTED)):
            q = ", ".join(f"{x + 0.0:.4g}" for x in self.q[k])
            if np.isnan(self.peaks.energy[k]):
                rows.append((f"({q})", "none", "", "", "", f"{self.star[k]}"))
                continue
            width = f"{self.peaks.width[k]:.3g}{' *' if self.limited[k] else ''}"
            error = "" if np.isnan(self.peaks.error[k]) else f"{self.peaks.error[k]:.2g}"
            rows.append(
                (f"({q})", f"{self.peaks.energy[k]:.4g}", error, width,
                 f"{self.peaks.polarisation[k]:+.2f}", f"{self.star[k]}")
            )  # fmt: skip
        lines.append(aligned(rows))
        if len(self.q) > _LISTED:
            lines.append(f"and {len(self.q) - _LISTED} more q")
        if np.any(self.limited):
            lines.append("*: as narrow as the resolution, which is all that its width says")
        if np.any(np.isnan(self.peaks.energy)):
            lines.append("none: nothing moves, or no maximum is apart from zero energy")
        return "\n".join(lines)
