"""Fixtures of tests of the potential."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def graph_at(structure, graph_of):
    """graph(moments, turn): with these moments, and positions and cell turned."""

    def graph(moments, turn=np.eye(3)):
        packed = graph_of(structure)
        padded = np.zeros((len(packed.types), *np.shape(moments)[1:]))
        padded[: len(moments)] = moments
        vectors = np.einsum("nak,ab->nbk", packed.vectors, turn)
        return packed._replace(magmoms=padded, vectors=vectors)

    return graph
