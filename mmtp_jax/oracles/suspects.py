"""Labels of one run that stand apart from each other, and from labels that exist already."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ase import Atoms

from mmtp_jax.io.convert import to_structure
from mmtp_jax.oracles.oracle import Failure, Labelled
from mmtp_jax.structures.screening import Diagnostics, Suspect, screen
from mmtp_jax.structures.structure import Structure

logger = logging.getLogger(__name__)


def suspects_of(
    answers: Sequence[Labelled | Failure], names: Sequence[str], beside: Sequence[Atoms] = ()
) -> dict[int, Suspect]:
    """The answers whose labels stand apart, by their number; see `mmtp_jax.structures.screening`.

    Args:
        answers: of one labeller.
        names: what messages call them.
        beside: other labels of the same making, which are not judged.
    """
    labelled = [k for k, answer in enumerate(answers) if isinstance(answer, Labelled)]
    of_answers = [answers[k].atoms for k in labelled]
    species = sorted({symbol for atoms in (*of_answers, *beside) for symbol in atoms.symbols})
    numbers: list[int] = []
    structures: list[Structure] = []
    told: list[Diagnostics | None] = []
    for k, atoms in [*zip(labelled, of_answers, strict=True), *((-1, a) for a in beside)]:
        try:
            name = None if k < 0 else names[k]
            structures.append(to_structure(atoms, species, name, vectors=True))
        except ValueError as error:
            logger.warning("its labels are not compared with others: %s", error)
            continue
        numbers.append(k)
        told.append(None if k < 0 else answers[k].provenance.diagnostics)
    found = screen(structures, species, told)
    return {numbers[s.index]: s for s in found if numbers[s.index] >= 0}
