"""Labelled configurations without moments: refused, left out, or taken at zero where the user says.

A magnetic potential has no energy of its own for atoms whose moments nobody knows. Zeros that were
given, in an array of zeros, are moments like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties

from mmtp_jax.io.atoms import named_like, with_results
from mmtp_jax.io.schema import SOURCE, Labels, labels_of
from mmtp_jax.language import argument

logger = logging.getLogger(__name__)

MISSING_MOMENTS = ("error", "zero", "skip")
"""What to do about configurations without moments."""


def with_moments(
    atoms_list: Sequence[Atoms],
    missing: str = "error",
    *,
    may_skip: bool = True,
    non_magnetic: Sequence[str] = (),
) -> list[Atoms]:
    """The configurations whose moments are known, or that the user takes at zero.

    Args:
        atoms_list: labelled configurations; they are not changed.
        missing: ``"error"``; ``"zero"``, those without are copied with moments of zero; or
            ``"skip"``, they are left out, which the log says.
        may_skip: whether that is an answer here.
        non_magnetic: species without moments; configurations of nothing else need none.

    Raises:
        ValueError: if there are any without, in one sentence; or if one of them carries magnetic
            forces, which nobody has without moments, and ``missing`` is not ``"zero"``.
    """
    answers = [word for word in MISSING_MOMENTS if may_skip or word != "skip"]
    if missing not in answers:
        raise ValueError(f"missing_moments must be one of {', '.join(answers)}, got {missing!r}")
    atoms_list = list(atoms_list)
    labels = [labels_of(atoms) for atoms in atoms_list]
    still = [set(atoms.symbols) <= set(non_magnetic) for atoms in atoms_list]
    without = [k for k, of in enumerate(labels) if of.moments is None and not still[k]]
    if not without:
        return atoms_list
    if missing == "zero":
        return [
            _at_zero(atoms, of) if of.moments is None else atoms
            for atoms, of in zip(atoms_list, labels, strict=True)
        ]
    refuse_contradictions([a for a, none in zip(atoms_list, still, strict=True) if not none])
    if missing == "skip":
        logger.warning("%s no magnetic moments and are left out", _count(without, atoms_list))
        left = set(without)
        return [atoms for k, atoms in enumerate(atoms_list) if k not in left]
    zero = argument("missing_moments", "zero")
    skip = f", or {argument('missing_moments', 'skip')} to leave these out" if may_skip else ""
    raise ValueError(
        f"{_count(without, atoms_list)} no magnetic moments; give each its moments "
        "(initial_magmoms or magmoms; a column of another name is read with "
        f"{argument('keys', {'magmoms': 'NAME'})}), or say {zero} if they are zero{skip}"
    )


def refuse_contradictions(atoms_list: Sequence[Atoms]) -> None:
    """Refuse configurations with magnetic forces and no moments, at which nobody has any.

    Raises:
        ValueError: if there is one.
    """
    labels = [labels_of(atoms) for atoms in atoms_list]
    torn = [
        k for k, of in enumerate(labels) if of.moments is None and of.magnetic_forces is not None
    ]
    if torn:
        raise ValueError(
            f"{_count(torn, atoms_list)} magnetic forces but no magnetic moments; give each its "
            "moments (initial_magmoms or magmoms), or say "
            f"{argument('missing_moments', 'zero')} if they are zero"
        )


def _count(which: list[int], atoms_list: Sequence[Atoms]) -> str:
    first = getattr(atoms_list[which[0]], SOURCE, f"configuration {which[0] + 1}")
    return (
        f"{len(which)} of {len(atoms_list)} configurations (the first is {first}) "
        f"{'has' if len(which) == 1 else 'have'}"
    )


def _at_zero(atoms: Atoms, labels: Labels) -> Atoms:
    results = {k: v for k, v in labels.results.items() if k in all_properties}
    copy = named_like(atoms.copy(), atoms)
    return with_results(copy, {**results, "magmoms": np.zeros(len(atoms))})
