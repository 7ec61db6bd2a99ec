"""What a fitted potential tells of its fit: data, their making, settings, result and program."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtp_jax.structures.domain import CANTED
from mmtp_jax.structures.making import makings_of
from mmtp_jax.structures.structure import LABELS, Structure

if TYPE_CHECKING:
    from mmtp_jax.fitting.options import FitOptions
    from mmtp_jax.fitting.report import Report
    from mmtp_jax.potential.potential import Potential

_OPTIONS = (
    "method", "max_iterations", "tolerance", "min_dist", "max_magmom", "keep_domain", "confine",
    "initialise", "making", "coarse_to_fine",
)  # fmt: skip
_DIGITS = 16


def record_of(
    potential: Potential,
    structures: Sequence[Structure],
    options: FitOptions,
    report: Report,
    outcome: dict[str, Any],
) -> dict[str, Any]:
    """The record of a fit, as JSON holds it.

    Args:
        potential: the result.
        structures: the training set.
        options: of the fit.
        report: errors and constants of energies.
        outcome: how it ended.
    """
    from mmtp_jax import __version__

    species = potential.species
    makings = makings_of(structures, species)
    content = {
        "program": f"mmtp_jax {__version__}",
        "data": {
            "sha256": data_digest(structures, species),
            "configurations": len(structures),
            "atoms": sum(map(len, structures)),
            CANTED: sum(s.canted for s in structures),
            "labels": {
                kind: sum(getattr(s, kind) is not None for s in structures) for kind in LABELS
            },
        },
        "making": [
            {"of": name, "configurations": int(np.sum(makings.of == k)), "text": text}
            for k, (name, text) in enumerate(zip(makings.names, makings.texts, strict=True))
        ],
        "kmesh": makings.meshes,
        "shifts": [asdict(shift) for shift in report.shifts],
        "fit": {
            **{name: getattr(options, name) for name in _OPTIONS},
            "weights": options.weights.as_dict(),
            **outcome,
        },
        "rmse": {k.kind: f"{k.rmse:.4g} {k.unit}" for k in report.training.kinds},
        "parameters": parameter_digest(potential),
    }
    return json.loads(json.dumps(_plain(content)))


def data_digest(structures: Sequence[Structure], species: Sequence[str]) -> str:
    """Hash of configurations and labels, whatever the files were."""
    digest = hashlib.sha256()
    for s in structures:
        digest.update(" ".join(species[t] for t in s.types).encode())
        labels = [getattr(s, kind) for kind in LABELS]
        for array in (s.cell, s.positions, s.magmoms, s.weight, *labels):
            value = b"none" if array is None else np.ascontiguousarray(array, float).tobytes()
            digest.update(value)
        if s.transverse:
            digest.update(b"transverse")
    return digest.hexdigest()[:_DIGITS]


def parameter_digest(potential: Potential) -> str:
    """Hash of the parameters, which says whether they are still those of the fit."""
    theta = np.ascontiguousarray(potential.flatten(), np.float64)
    return hashlib.sha256(theta.tobytes()).hexdigest()[:_DIGITS]


def _plain(value: Any) -> Any:
    """What JSON holds: no NaN, no arrays."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
