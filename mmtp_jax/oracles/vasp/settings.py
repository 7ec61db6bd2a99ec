"""Settings of the VASP labeller; defaults are those of Burov 2026, supplement S1.8 and S2."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from mmtp_jax.io.making import hubbard_text
from mmtp_jax.oracles.sampling import good_size
from mmtp_jax.oracles.vasp.penalty import Criteria
from mmtp_jax.oracles.vasp.potcar import Potcar, read_potcar

OWN_TAGS = frozenset({
    "MAGMOM", "M_CONSTR", "I_CONSTRAINED_M", "LAMBDA", "RWIGS", "LNONCOLLINEAR", "LSORBIT",
    "SAXIS", "ISPIN", "ISTART", "ICHARG", "LWAVE", "LCHARG", "LORBIT", "NSW", "ISIF", "ENCUT",
    "KSPACING", "KGAMMA", "SYSTEM",
})  # fmt: skip
"""Tags of INCAR that the workflow sets itself."""

_DEFAULTS = {"ISMEAR": 1, "SIGMA": 0.1}
"""Of `mmtp_jax.oracles.vasp.inputs`; they belong to how labels are made."""
_TETRAHEDRA = (-5, -4)
"""ISMEAR without a width."""
CONSTRAINED_EDIFF = 1e-5
"""EDIFF of constrained calculations."""
_ELSEWHERE = {"ENCUT": "cutoff_ev", "KSPACING": "kpoint_spacing", "RWIGS": "radii"}


@dataclass(frozen=True)
class VaspSettings:
    """Everything that can be chosen; plain values, as a TOML file has them.

    Raises:
        ValueError: if a value is out of range, or a tag is one that the workflow sets.
        FileNotFoundError: if there is no POTCAR where one is needed.
    """

    potcar_folder: str | Path
    """Library of POTCAR files; that of iron is ``<potcar_folder>/<potentials.Fe>/POTCAR``."""
    potentials: Mapping[str, str]
    """Folder in the library for each species, e.g. ``{"Fe": "Fe_pv", "Pd": "Pd"}``. Species stand
    in this order in POSCAR."""
    command: str = "vasp_ncl"
    """Starts the noncollinear executable, e.g. ``"srun vasp_ncl"``; runs in the job's folder."""
    collinear_command: str = "vasp_std"
    """Starts the collinear executable; not needed for vectors."""
    cutoff_ev: float = 500.0
    """ENCUT."""
    kpoint_spacing: float = 0.2
    """Largest spacing of the Gamma-centred mesh, 1/Angstrom, 2 pi included."""
    kmesh: tuple[int, int, int] | None = None
    """So many k-points along the reciprocal vectors, in place of ``kpoint_spacing``."""
    axis: str = "x"
    """Direction of collinear moments. Burov 2026 takes x. VASP reads a collinear density as one
    along z, and the weak first constraint has to turn it: ``"z"`` saves that."""
    radii: Mapping[str, float] = field(default_factory=dict)
    """RWIGS in Angstrom by species before they are rescaled (S5); those of POTCAR by default."""
    first_weight: float = 0.01
    """lambda_0, of the calculation for the fit S6, eV/mu_B^2."""
    weights: Sequence[float] = (2.0, 5.0, 10.0, 20.0, 30.0, 40.0)
    """lambda, one after the other until S8 to S10 hold, eV/mu_B^2."""
    largest_error: float = 0.03
    """Threshold of S8, mu_B."""
    mean_error: float = 0.02
    """Threshold of S9, mu_B."""
    penalty_ev: float = 0.01
    """Threshold of S10, eV per atom as S10 is printed. (S1.8 calls 0.01 eV less than 1 meV/atom,
    as it would be of a cell of 32 atoms; the energy label is without the penalty in any case.)"""
    accepted_largest_error: float = 0.03
    """Largest error of the label itself, moments of OUTCAR and targets, mu_B (S1.9.2). The slope of
    S6 exceeds 1, so that a smoothed moment just within ``largest_error`` can be refused here."""
    accepted_mean_error: float = 0.02
    """Mean error of the same, mu_B."""
    magnetic_forces: bool = False
    """Estimate T = -dE/dm from the constraint. Burov 2026 fits without magnetic forces."""
    incar: Mapping[str, Any] = field(default_factory=dict)
    """Further tags of INCAR, or other values for them. A table gives a value for each species:
    ``{"LDAUU": {"Fe": 4.0, "Pd": 0.0}}``."""
    incar_constrained: Mapping[str, Any] = field(default_factory=dict)
    """The same for constrained calculations alone, e.g. ``{"NBANDS": 850}``."""
    keep_densities: bool = False
    """Keep WAVECAR and CHGCAR of all calculations when the job is done."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        if self.kmesh is not None:
            object.__setattr__(self, "kmesh", tuple(self.kmesh))
        self._check()
        object.__setattr__(self, "_potcars", self._read_potcars())

    def _check(self) -> None:
        if not self.potentials:
            raise ValueError("potentials is empty; name the folder of each species' POTCAR")
        if self.axis not in ("x", "y", "z"):
            raise ValueError(f"axis must be 'x', 'y' or 'z', got {self.axis!r}")
        positive = (
            "cutoff_ev", "kpoint_spacing", "first_weight", "largest_error", "mean_error",
            "penalty_ev", "accepted_largest_error", "accepted_mean_error",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.kmesh is not None and (len(self.kmesh) != 3 or min(self.kmesh) < 1):
            raise ValueError(f"kmesh must be three positive numbers, got {list(self.kmesh)}")
        if not self.weights or min(self.weights) <= 0.0 or np.any(np.diff(self.weights) <= 0.0):
            raise ValueError(f"weights must be positive and rising, got {list(self.weights)}")
        for symbol, radius in self.radii.items():
            if symbol not in self.potentials or not radius > 0.0:
                raise ValueError(
                    f"radii.{symbol} is {radius}; radii are positive and of species in potentials"
                )
        for name in ("incar", "incar_constrained"):
            for tag in getattr(self, name):
                if tag.upper() in OWN_TAGS:
                    use = _ELSEWHERE.get(tag.upper())
                    advice = f"use {use}" if use else "leave it out"
                    raise ValueError(f"{name}.{tag} is set by the workflow itself; {advice}")
                if tag != tag.upper():
                    raise ValueError(f"{name}.{tag}: write tags in capitals, {tag.upper()}")

    def _read_potcars(self) -> dict[str, Potcar]:
        return {
            symbol: read_potcar(Path(self.potcar_folder) / name / "POTCAR", symbol)
            for symbol, name in self.potentials.items()
        }

    @property
    def potcars(self) -> dict[str, Potcar]:
        """POTCAR of each species."""
        return self._potcars

    @property
    def criteria(self) -> Criteria:
        """Thresholds of S8, S9 and S10 while lambda rises."""
        return Criteria(self.largest_error, self.mean_error, self.penalty_ev)

    @property
    def acceptance(self) -> Criteria:
        """Thresholds for the label."""
        return Criteria(self.accepted_largest_error, self.accepted_mean_error, self.penalty_ev)

    def radius(self, symbol: str) -> float:
        """RWIGS of a species before it is rescaled, Angstrom."""
        return float(self.radii.get(symbol, self.potcars[symbol].radius))

    def described(self) -> dict[str, Any]:
        """What the labels depend on, for JSON: no commands, and POTCAR files by title and hash."""
        content = asdict(self)
        for name in ("command", "collinear_command", "potcar_folder", "keep_densities"):
            del content[name]
        del content["kmesh" if self.kmesh is None else "kpoint_spacing"]
        content["potentials"] = {
            symbol: {"title": potcar.title, "sha256": potcar.sha256}
            for symbol, potcar in self.potcars.items()
        }
        return content

    # What `mmtp_jax.oracles.meshes` needs.

    @property
    def spacing(self) -> float:
        """Largest spacing of the mesh, 1/Angstrom."""
        return self.kpoint_spacing

    @property
    def shift(self) -> tuple[float, float, float]:
        """Of the mesh, in its steps."""
        return (0.0, 0.0, 0.0)

    def grids(self, lengths: np.ndarray) -> dict[str, list[int]]:
        """NGX and the fine NGXF, ..., as VASP chooses them for PREC = Accurate.

        None where the user has given PREC or one of them.
        """
        if any(re.fullmatch(r"PREC|NG[XYZ]F?", t) for t in (*self.incar, *self.incar_constrained)):
            return {}
        sizes = [good_size(4.0 * fft_radius(self.cutoff_ev, length)) for length in lengths]
        return {"NG": sizes, "NGF": [2 * n for n in sizes]}

    def with_mesh(self, mesh: tuple[int, int, int], grids: dict[str, list[int]]) -> Self:
        """The same with mesh and FFT grids of one group of cells."""
        ends = {"NG": "", "NGF": "F"}
        tags = {
            f"NG{axis}{ends[name]}": n
            for name, grid in grids.items()
            for axis, n in zip("XYZ", grid, strict=True)
        }
        return replace(self, kmesh=mesh, incar={**self.incar, **tags})

    def with_spacing(self, spacing: float) -> Self:
        """The same with another spacing of the mesh."""
        return replace(self, kpoint_spacing=spacing)

    # What `mmtp_jax.oracles.convergence` needs.

    def better(self) -> dict[str, dict[str, Any]]:
        """Settings to try one by one, each better than now; NBANDS where it is given."""
        tags = {**_DEFAULTS, **self.incar, **self.incar_constrained}
        smears = tags["ISMEAR"] not in _TETRAHEDRA
        found: dict[str, dict[str, Any]] = {
            "cutoff_ev": {"cutoff_ev": 1.25 * self.cutoff_ev},
            "SIGMA": self._tags("SIGMA", lambda s: 0.5 * s, _DEFAULTS["SIGMA"]) if smears else {},
            "NBANDS": self._tags("NBANDS", lambda n: math.ceil(1.2 * n)),
            "EDIFF": self._tags("EDIFF", lambda e: e / 10.0, CONSTRAINED_EDIFF),
        }
        return {name: tables for name, tables in found.items() if tables}

    def varied(self, **settings: Any) -> Self:
        """The same with other settings."""
        return replace(self, **settings)

    def _tags(
        self, tag: str, better: Callable[[float], float], default: float | None = None
    ) -> dict[str, dict[str, float]]:
        """A number of INCAR made better, where it is given or has a default."""
        tables = {name: getattr(self, name).get(tag) for name in ("incar", "incar_constrained")}
        found = {n: {tag: better(v)} for n, v in tables.items() if isinstance(v, (int, float))}
        return found or ({} if default is None else {"incar": {tag: better(default)}})

    def making(self) -> dict[str, Any]:
        """What labels must share to belong together; names as `mmtp_jax.io.vasp` has them."""
        tags = {**_DEFAULTS, **self.incar, **self.incar_constrained}
        found: dict[str, Any] = {
            "code": "VASP",
            "functional": str(tags.get("METAGGA") or tags.get("GGA") or self._functional()),
            "ENCUT_eV": self.cutoff_ev,
            "ISMEAR": tags["ISMEAR"],
            "SIGMA_eV": float(tags["SIGMA"]),
            "constraint": "soft",
        }
        plus_u = bool(tags.get("LDAU"))
        for symbol, potcar in self.potcars.items():
            found[f"{symbol}.POTCAR"] = potcar.title
            found[f"{symbol}.POTCAR_sha256"] = potcar.sha256[:12]
            found[f"{symbol}.RWIGS"] = self.radius(symbol)
            found[f"{symbol}.U"] = hubbard_text(*(
                _of_species(tags.get(f"LDAU{x}"), symbol, list(self.potentials)) for x in "LUJ"
            )) if plus_u else "none"  # fmt: skip
        return found

    def _functional(self) -> str:
        return " and ".join(sorted({p.functional for p in self.potcars.values()}))

    def fingerprint(self) -> str:
        """Hash of `described`: another executable or machine is the same labeller."""
        text = json.dumps(self.described(), sort_keys=True, default=list)
        return "vasp " + hashlib.sha256(text.encode()).hexdigest()


def fft_radius(cutoff_ev: float, length: float) -> float:
    """Radius of the sphere of plane waves along a vector of this length, in its steps."""
    hbar2_over_2m = 3.809982
    return math.sqrt(cutoff_ev / hbar2_over_2m) * length / (2.0 * math.pi)


def _of_species(value: Any, symbol: str, species: Sequence[str]) -> Any:
    """The value of a tag for a species: of a table by symbols, of a list in their order."""
    if isinstance(value, Mapping):
        return value.get(symbol)
    if isinstance(value, (list, tuple)):
        return value[species.index(symbol)] if len(value) == len(species) else None
    return value
