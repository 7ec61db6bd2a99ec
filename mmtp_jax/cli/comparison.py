"""Labels against predictions: of one potential or several, over one file or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.fitting.report import Comparison, Errors
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.structures.results import CommitteeResult, Result


@dataclass(frozen=True)
class Evaluated:
    """What a potential says of the configurations of several files."""

    atoms_list: list[Atoms]
    results: list[Result]
    each: list[Comparison]
    """Of each configuration alone."""
    counts: dict[str, int]
    """Configurations of each file, one file after the other."""

    @property
    def sets(self) -> dict[str, tuple[Comparison, int]]:
        """Labels against predictions of each file, and of all of several, with their sizes."""
        from mmtp_jax.fitting.report import joined

        found, start = {}, 0
        for name, n in self.counts.items():
            found[name] = (joined(self.each[start : start + n]), n)
            start += n
        if len(found) > 1:
            found[f"all {len(found)} files"] = self.whole
        return found

    @property
    def whole(self) -> tuple[Comparison, int]:
        """Of all configurations together, with their number."""
        from mmtp_jax.fitting.report import joined

        return joined(self.each), len(self.each)

    @property
    def errors(self) -> dict[str, Errors]:
        """Errors of `sets`."""
        from mmtp_jax.fitting.report import errors_of

        return {name: errors_of(*of) for name, of in self.sets.items()}


def evaluated(
    potential: Potential | Sequence[Potential],
    files: dict[str, list[Atoms]],
    dtype: str = "float64",
) -> Evaluated:
    """Evaluate the configurations of named files, all together, with one potential or several."""
    import mmtp_jax as mmtp
    from mmtp_jax.fitting.report import comparison
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.io.unconverged import warn_of_unconverged

    atoms_list = [atoms for of in files.values() for atoms in of]
    warn_of_unconverged(atoms_list)
    first = potential[0] if isinstance(potential, list) else potential
    structures = structures_for(first, atoms_list, vectors=True)
    results = mmtp.evaluate(potential, atoms_list, dtype=dtype)
    each = [comparison([s], [r]) for s, r in zip(structures, results, strict=True)]
    return Evaluated(atoms_list, results, each, {name: len(of) for name, of in files.items()})


def side_by_side(found: dict[str, Evaluated]) -> str:
    """RMSE of several potentials over all files, a column for each."""
    from mmtp_jax.fitting.report import errors_of
    from mmtp_jax.tables import aligned

    kinds = {name: errors_of(*of.whole).kinds for name, of in found.items()}
    units = {k.kind: k.unit for of in kinds.values() for k in of}
    rmse = {name: {k.kind: f"{k.rmse:.3f}" for k in of} for name, of in kinds.items()}
    rows = [("RMSE", *found, "unit")]
    for kind, unit in units.items():
        rows.append((kind.replace("_", " "), *(of.get(kind, "-") for of in rmse.values()), unit))
    return aligned(rows, left=(0, len(found) + 1))


def spread_table(atoms_list: Sequence[Atoms], results: Sequence[CommitteeResult]) -> str:
    """Standard deviations over the members of a committee: root mean square, and the largest."""
    import numpy as np

    from mmtp_jax.fitting.report import UNITS
    from mmtp_jax.tables import aligned

    rows = [("spread of the members", "RMS", "max", "unit")]
    for kind, values in spreads_of(atoms_list, results).items():
        unit, factor = UNITS[kind]
        numbers = (np.sqrt(np.mean(values**2)), np.max(values))
        rows.append((kind.replace("_", " "), *(f"{factor * x:.3f}" for x in numbers), unit))
    return aligned(rows, left=(0, 3))


def spreads_of(
    atoms_list: Sequence[Atoms], results: Sequence[CommitteeResult]
) -> dict[str, np.ndarray]:
    """Standard deviations over the members of each kind, flat; of energies per atom, in eV."""
    import numpy as np

    kinds = {
        "energy": [r.energy_std / len(a) for a, r in zip(atoms_list, results, strict=True)],
        "forces": [r.forces_std.ravel() for r in results],
        "stress": [r.stress_std for r in results if r.stress_std is not None],
        "magnetic_forces": [r.magnetic_forces_std.ravel() for r in results],
    }
    return {kind: np.hstack(values) for kind, values in kinds.items() if values}


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each file by its path: the last part, or the path where that is not its own."""
    last = [Path(path).name for path in paths]
    return {p: name if last.count(name) == 1 else p for p, name in zip(paths, last, strict=True)}


def settled(
    atoms_list: list[Atoms], missing: str | None, non_magnetic: Sequence[str] = ()
) -> list[Atoms]:
    """Configurations to predict: those without moments are left for a warning if not ``missing``.

    Raises:
        ValueError: if some have magnetic forces and no moments, or ``missing`` is "error".
    """
    from mmtp_jax.io.missing_moments import refuse_contradictions, with_moments

    if missing is not None:
        return with_moments(atoms_list, missing, non_magnetic=non_magnetic)
    refuse_contradictions(atoms_list)
    return atoms_list
