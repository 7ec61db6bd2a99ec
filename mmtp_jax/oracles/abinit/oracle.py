"""Labels from ABINIT: attempts in folders of their own, until one converges.

The folder of a job gets ``1-default``, ``2-damped`` and ``3-restart`` as far as they are needed,
each with ABINIT's input ``run.abi`` and output ``run.abo``; the log is kept where it failed. What
nearly converged goes on from its density, in ``1-default-continued`` and so on. Moments that are
vectors are computed in two orientations (`mmtp_jax.oracles.abinit.spins`), the second one in a
folder ``turned``.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from mmtp_jax.io.atoms import bare_atoms, with_results
from mmtp_jax.io.making import hubbard_text
from mmtp_jax.oracles.abinit.datasets import Dataset, find_dataset
from mmtp_jax.oracles.abinit.inputs import (
    DAMPED,
    LADDER,
    Attempt,
    grids_of,
    kmesh_of,
    overlap_of,
    radii_of,
    species_of,
    value_text,
)
from mmtp_jax.oracles.abinit.output import Output
from mmtp_jax.oracles.abinit.run import DENSITY, Broken, Run, version_of
from mmtp_jax.oracles.abinit.settings import CUTOFFS, STARTS, AbinitSettings
from mmtp_jax.oracles.abinit.spins import frames_of, joined, straight
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance
from mmtp_jax.structures.screening import Diagnostics

_NOT_IN_LABELS = ("executable", "mpi", "threads", "attempts", "symmetry")
"""Settings that change how long it takes, not the labels."""
NEAR = 10.0
"""A residual of so many tolerances is worth one more run."""
NEAR_Ha = 1e-9
"""So is an energy that changed by less than this twice in a row."""


@dataclass(frozen=True, eq=False)
class _Converged:
    """One calculation that has converged."""

    number: int
    """Of the attempt."""
    attempt: Attempt
    output: Output
    run: Run
    failed: list[str]


@dataclass(frozen=True)
class AbinitOracle(AbinitSettings):
    """Labels from ABINIT with hard constraints on moments; see `AbinitSettings`.

    Moments (n,) are collinear, moments (n, 3) are vectors without spin-orbit coupling; labels have
    the shape of the targets. Vectors along one line are computed as collinear moments.

    Moments are those in spheres; spheres of constrained atoms must not overlap. Magnetic forces
    are the derivatives of the energy that ABINIT gives for its constraint; for free atoms they
    are zero, because the energy is a minimum there.

    Example:
        >>> oracle = AbinitOracle({"Fe": "Fe.xml"}, ecut_Ha=15, kspacing=0.25)
        >>> jobs = mmtp.label_all(oracle, atoms_list, "jobs", workers=4)
    """

    in_process: ClassVar[bool] = False

    def label(self, atoms: Atoms, folder: Path) -> Labelled | Failure:
        """Run ABINIT, with more help from attempt to attempt."""
        start = time.perf_counter()
        refusal = self.refusal(atoms)
        if refusal is not None:
            return Failure(refusal, final=True)
        datasets = self._datasets(species_of(atoms))
        moments = np.asarray(atoms.get_initial_magnetic_moments(), float)
        frames = frames_of(moments)
        done: list[_Converged] = []
        output: Output | str = ""
        again, number = 0, 0
        while isinstance(output, str):
            place, frame = (folder, folder / "turned")[again], frames[again]
            turned = frame.turned(atoms, moments)
            found = self._converged(turned, datasets, place, after=number)
            if isinstance(found, Failure):
                return found if len(done) < len(frames) else Failure(output, final=True)
            done[again : again + 1] = [found]
            if len(done) < len(frames):
                again = len(done)
                continue
            pairs = zip(frames, done, strict=True)
            output = joined([frame.back(one.output) for frame, one in pairs], len(atoms))
            # Of two states, another attempt may find the lower one twice.
            again = int(np.argmax([one.output.energy for one in done]))
            number = done[again].number
        return self._labelled(atoms, datasets, done, output, time.perf_counter() - start)

    def _converged(
        self, atoms: Atoms, datasets: dict[str, Dataset], folder: Path, after: int
    ) -> _Converged | Failure:
        """The first attempt after so many that converges, at moments of ABINIT's frame."""
        held = bool(self._held(atoms).any())
        ladder = [a for a in LADDER if not a.restart or held]
        if self.start == "free" and held:
            ladder = [a for a in ladder if a.restart]
        failed: list[str] = []
        for number, attempt in list(enumerate(ladder[: self.attempts], 1))[after:]:
            place = folder / f"{number}-{attempt.name}"
            run = Run(self, datasets, atoms, place)
            try:
                output = run(attempt)
                if self._is_near(output) and (place / DENSITY).exists():
                    failed.append(_words(attempt, output))
                    attempt = Attempt(f"{attempt.name}-continued", 1.5, DAMPED)
                    run = Run(self, datasets, atoms, folder / f"{number}-{attempt.name}")
                    output = run(attempt, density=f"../{place.name}/{DENSITY}")
            except Broken as error:
                return Failure(str(error))
            finally:
                for density in folder.glob(f"{number}-*/{DENSITY}"):
                    density.unlink()
            if output.converged:
                return _Converged(number, attempt, output, run, failed)
            failed.append(_words(attempt, output))
        return Failure(f"ABINIT did not converge ({'; '.join(failed)})", final=True)

    def _is_near(self, output: Output) -> bool:
        """Has it not converged, but would a little more have been enough?"""
        still = len(output.last_changes) == 2 and np.abs(output.last_changes).max() <= NEAR_Ha
        return not output.converged and (output.residual <= NEAR * self.tolerance or still)

    def fingerprint(self) -> str:
        """Settings, contents of the datasets, version of ABINIT."""
        settings = {k: v for k, v in asdict(self).items() if k not in _NOT_IN_LABELS}
        if self.kmesh is not None:
            del settings["kspacing"]
        if self.start == STARTS[0]:
            # Labels from before there was another one stay what they are.
            del settings["start"]
        settings["datasets"] = {s: d.sha256 for s, d in self._datasets(self.datasets).items()}
        settings["version"] = version_of(self.executable)
        return json.dumps(settings, sort_keys=True)

    # What `mmtp_jax.oracles.meshes` needs.

    @property
    def spacing(self) -> float:
        """Largest distance of k-points, 1/Angstrom."""
        return self.kspacing

    @property
    def shift(self) -> tuple[float, float, float]:
        """Of the mesh, in its steps."""
        return self.kshift

    def grids(self, lengths: np.ndarray) -> dict[str, list[int]]:
        """FFT grids of a cell of these lengths (3,), Angstrom."""
        return grids_of(self, lengths)

    def with_mesh(self, mesh: tuple[int, int, int], grids: dict[str, list[int]]) -> AbinitOracle:
        """The same with mesh and FFT grids of one group of cells."""
        return replace(self, kmesh=mesh, extra={**self.extra, **grids})

    def with_spacing(self, spacing: float) -> AbinitOracle:
        """The same with another distance of k-points."""
        return replace(self, kspacing=spacing)

    # What `mmtp_jax.oracles.convergence` needs.

    def better(self) -> dict[str, dict[str, Any]]:
        """Settings to try one by one, each better than now."""
        more = {"bands": math.ceil(1.2 * self.bands)} if self.bands else {
            "empty_bands_per_atom": 1.5 * self.empty_bands_per_atom + 0.5
        }  # fmt: skip
        ecut = 1.25 * self.ecut_Ha
        return {
            "ecut_Ha": {"ecut_Ha": ecut, "pawecutdg_Ha": max(ecut, self.pawecutdg_Ha)},
            "pawecutdg_Ha": {"pawecutdg_Ha": 1.25 * self.pawecutdg_Ha},
            "smearing_Ha": {"smearing_Ha": 0.5 * self.smearing_Ha},
            "bands": more,
            "tolerance": {"tolerance": self.tolerance / 10.0},
        }

    def varied(self, **settings: Any) -> AbinitOracle:
        """The same with other settings; FFT grids of other cutoffs are decided anew."""
        old = [grid for name, grid in CUTOFFS.items() if settings.get(name) != getattr(self, name)
               and name in settings]  # fmt: skip
        extra = {name: value for name, value in self.extra.items() if name not in old}
        return replace(self, **{"extra": extra, **settings})

    def making_of(self, atoms_list: Sequence[Atoms]) -> dict[str, Any]:
        """The making of configurations; of vectors where all have them."""
        moments = [np.asarray(a.get_initial_magnetic_moments(), float) for a in atoms_list]
        return self.making(spinors=bool(moments) and not any(map(straight, moments)))

    def making(self, spinors: bool = False) -> dict[str, Any]:
        """What labels must share to belong together; `Provenance` adds the version.

        Spinors are another making: near a line of all moments, energies of both differ by some
        meV/atom, because ABINIT treats gradients and spheres in another way.
        """
        datasets = self._datasets(self.datasets)
        functional = " and ".join(sorted({d.functional for d in datasets.values()}))
        # Numbers from a TOML file are floats and lists where Python has integers and tuples.
        extra = [
            f"{k} {value_text(v)}"
            for k, v in sorted(self.extra.items())
            if k not in CUTOFFS.values()
        ]
        found: dict[str, Any] = {
            "code": "ABINIT",
            "functional": functional + (", spinors" if spinors else ""),
            "ecut_Ha": self.ecut_Ha,
            "pawecutdg_Ha": self.pawecutdg_Ha,
            "ecutsm_Ha": self.ecutsm_Ha,
            "smearing": self.smearing,
            "smearing_Ha": self.smearing_Ha,
            "kshift": self.kshift,
            "sphere_smearing_bohr": self.sphere_smearing_bohr,
            "extra": extra or "none",
        }
        if self.hubbard:
            found["hubbard_kind"] = self.hubbard_kind
        for symbol, radius in radii_of(self, datasets).items():
            found[f"{symbol}.dataset"] = datasets[symbol].sha256[:12]
            found[f"{symbol}.sphere_bohr"] = radius
            found[f"{symbol}.U"] = hubbard_text(*self.hubbard.get(symbol, (-1, None, None)))
        return found

    def _datasets(self, species: Any) -> dict[str, Dataset]:
        return {s: find_dataset(self.datasets[s], s) for s in species}

    def _held(self, atoms: Atoms) -> np.ndarray:
        return np.array([self.holds(s) for s in atoms.get_chemical_symbols()])

    def refusal(self, atoms: Atoms) -> str | None:
        """Why there is no point in starting, or None."""
        unknown = [s for s in species_of(atoms) if s not in self.datasets]
        if unknown:
            return f"there is no PAW dataset for {', '.join(unknown)} among the settings"
        if not atoms.pbc.all() or abs(atoms.get_volume()) < 1e-6:
            return "the configuration is not periodic in all three directions"
        try:
            frames_of(np.asarray(atoms.get_initial_magnetic_moments(), float))
            radii = radii_of(self, self._datasets(species_of(atoms)))
        except ValueError as error:
            return str(error)
        overlap = overlap_of(atoms, radii, self._held(atoms))
        if overlap is not None:
            return overlap
        if shutil.which(self.executable) is None:
            return f"there is no executable {self.executable!r}; install abinit or give its path"
        return None

    def _labelled(
        self,
        atoms: Atoms,
        datasets: dict[str, Dataset],
        done: list[_Converged],
        output: Output,
        seconds: float,
    ) -> Labelled | Failure:
        held = self._held(atoms)
        forces = output.magnetic_forces
        if held.any() and forces is None:
            return Failure("there are no magnetic forces in ABINIT's output")
        results = {
            name: getattr(output, name) for name in ("energy", "forces", "stress", "magmoms")
        }
        # At rest, a free moment has no force on it.
        on_held = np.zeros_like(output.magmoms)
        if forces is not None:
            on_held[held] = forces[held]
        labelled = with_results(bare_atoms(atoms, output.magmoms), results, on_held)
        settings = {
            **{k: v for k, v in asdict(self).items() if k not in ("executable", "mpi")},
            "sha256": {s: d.sha256 for s, d in datasets.items()},
            "attempt": ", ".join(dict.fromkeys(one.attempt.name for one in done)),
            "failed_attempts": [text for one in done for text in one.failed],
            **({} if len(done) == 1 else _of_spinors(output)),
            "n_steps": output.n_steps,
            "residual": output.residual,
            "cpu_s": output.cpu_s,
            "warnings": [text for one in done for text in one.run.warnings],
        }
        shares = [one.run.negative_share(one.output) for one in done]
        diagnostics = Diagnostics(
            tuple(output.charges.tolist()),
            None if None in shares else max(shares),
            output.energy_gap,
        )
        provenance = Provenance(
            "ABINIT", output.version, settings, seconds, output.converged, diagnostics,
            making=self.making(spinors=len(done) > 1), kmesh=kmesh_of(self, atoms.cell.array),
        )  # fmt: skip
        free = tuple(int(k) for k in np.flatnonzero(~held))
        return Labelled(labelled, provenance, free)


def _of_spinors(output: Output) -> dict[str, Any]:
    """What is told of vectors: without spin-orbit coupling the sum of m x dE/dm is zero, eV."""
    forces = output.magnetic_forces
    torque = None if forces is None else np.linalg.norm(np.cross(output.magmoms, forces).sum(0))
    return {"spinors": True, "net_torque_eV": None if torque is None else float(torque)}


def _words(attempt: Attempt, output: Output) -> str:
    return f"{attempt.name}: residual {output.residual:.1e} after {output.n_steps} steps"
