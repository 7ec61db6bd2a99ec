"""The evaluation as a compiled-elsewhere program: StableHLO by `jax.export`, for other hosts.

The program knows nothing of this package. It takes M atoms, of which the first N have rows of K
neighbours, whatever these numbers are, and returns energies and derivatives; so it serves whole
cells (M = N) as well as domains with ghosts (M > N). On a CPU it adds forces up pair by pair;
elsewhere, where that would be in an order of chance, it gathers the pairs that each atom is the
neighbour in, of which it is told. Files are ``.npz`` without pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from mmtp_jax.io.fields import checked_fields
from mmtp_jax.io.store import read_store, write_store
from mmtp_jax.language import numbers
from mmtp_jax.potential.observables import Graph, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.sums import Sums, incoming_pairs
from mmtp_jax.potential.vectors import DIMENSION, check_vectors
from mmtp_jax.precision import double_precision, require_precision
from mmtp_jax.structures.batch import adds_by_gathering, rounded_size

Array = Any

PLATFORMS = ("cpu", "cuda")
_VERSION = 3


class ExportedValues(NamedTuple):
    """What the program returns."""

    energies: Array
    """(N,) E_i of the atoms with rows, eV."""
    forces: Array
    """(M, 3) eV/Angstrom; contributions of the rows."""
    magnetic_forces: Array
    """(M,), or (M, 3) where moments are vectors, eV/mu_B; contributions of the rows."""
    strain_derivative: Array
    """(3, 3) dE/d(strain) = sigma V, eV."""


@dataclass(frozen=True, eq=False)
class ExportedPotential:
    """A program for the platforms that it was exported for; it is called like a function."""

    program: export.Exported
    species: tuple[str, ...]
    """Chemical symbols of the types 0, 1, ..."""
    cutoff: float
    """Angstrom; neighbours beyond it contribute nothing, and fill rows that are too long."""
    vectors: bool = False
    """Whether moments are vectors."""

    def __call__(
        self,
        types: Array,
        magmoms: Array,
        vectors: Array,
        neighbours: Array,
        incoming: Array | None = None,
    ) -> ExportedValues:
        """Evaluate on the present platform.

        Args:
            types: (M,) int32 species index.
            magmoms: (M,) mu_B; (M, 3) where moments are vectors.
            vectors: (N, 3, K) from each of the first N atoms to its neighbours, Angstrom.
            neighbours: (N, K) int32 index of the neighbour among the M atoms.
            incoming: what `incoming` gives, which holds as long as the neighbours do; without it
                it is made anew, on the host, where the device is no CPU.

        Raises:
            ValueError: if moments are not what the program is for.
        """
        if (np.ndim(magmoms) > 1) != self.vectors:
            takes = "vectors (M, 3)" if self.vectors else "collinear moments (M,)"
            raise ValueError(
                f"this program takes {takes}, got {numbers(np.shape(magmoms))}; export the "
                f"potential with vectors={not self.vectors}"
            )
        if incoming is None:
            gathers = adds_by_gathering()
            incoming = self.incoming(len(types), neighbours, vectors) if gathers else None
        if incoming is None:
            incoming = np.full((len(types), 1), -1, np.int32)
        with double_precision():
            return ExportedValues(*self.program.call(types, magmoms, vectors, neighbours, incoming))

    def incoming(
        self, n_atoms: int, neighbours: Array, vectors: Array, skin: float = 0.0
    ) -> np.ndarray:
        """(M, J) int32: places K i + k of the pairs (i, k) that an atom is the neighbour in.

        The rest is -1. Only programs on other devices than CPUs look at it.

        Args:
            n_atoms: M.
            neighbours: (N, K) as in the call.
            vectors: (N, 3, K) as in the call.
            skin: Angstrom beyond the cutoff within which pairs count; others must stay beyond the
                cutoff as long as the result is used.
        """
        neighbours = np.asarray(neighbours)
        lengths = np.linalg.norm(np.asarray(vectors), axis=1)
        atom = np.where(lengths < self.cutoff + skin, neighbours, n_atoms)
        most = int(np.bincount(atom.ravel(), minlength=n_atoms)[:n_atoms].max(initial=0))
        count = np.full(len(neighbours), neighbours.shape[1])
        return incoming_pairs(atom, count, n_atoms, rounded_size(most))


def export_potential(
    potential: Potential,
    *,
    platforms: Sequence[str] = PLATFORMS,
    dtype: Any = np.float64,
    vectors: bool = False,
) -> ExportedPotential:
    """Export the evaluation of a potential, its parameters included.

    Args:
        potential: the potential.
        platforms: that the program can run on: cpu, cuda, rocm or tpu.
        dtype: float64 or float32, of the program's arguments and results. In float32 large e0
            cost the energies their digits; set them to zero with ``potential.replace``.
        vectors: moments are vectors.

    Raises:
        ValueError: for another type, or a potential that has no energy of vectors.
    """
    if vectors:
        check_vectors(potential)
    with double_precision():
        precision = require_precision(dtype)
        if precision.edges != precision.contraction:
            raise ValueError(f"a program has one type, float64 or float32, got {dtype!r}")
        on_host = potential.astype(precision.edges)
        m, n, k, j = export.symbolic_shape(
            "m, n, k, j", constraints=("m >= n", "n >= 1", "k >= 1", "j >= 1")
        )

        def program(
            types: Array, magmoms: Array, distances: Array, neighbours: Array, incoming: Array
        ) -> Any:
            members = jnp.arange(distances.shape[0], dtype=jnp.int32)[None]
            graph = Graph(
                types=types,
                magmoms=magmoms,
                vectors=distances,
                neighbours=neighbours,
                configuration=jnp.zeros(distances.shape[0], jnp.int32),
                volumes=jnp.ones(1, precision.edges),
                sums=Sums(incoming, members),
            )
            # As arrays of JAX, because traced indices cannot index those of numpy.
            sites, values = evaluate(jax.tree.map(jnp.asarray, on_host), graph)
            return sites, values.forces, values.magnetic_forces, values.stress[0]

        def argument(shape: tuple[Any, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype)

        exported = export.export(jax.jit(program), platforms=tuple(platforms))(
            argument((m,), np.int32),
            argument((m, DIMENSION) if vectors else (m,), precision.edges),
            argument((n, 3, k), precision.edges),
            argument((n, k), np.int32),
            argument((m, j), np.int32),
        )
    return ExportedPotential(exported, tuple(potential.species), float(potential.cutoff), vectors)


def save_exported(path: str | Path, exported: ExportedPotential) -> None:
    """Write a program, with species and cutoff, to an ``.npz`` file."""
    header = {
        "version": _VERSION,
        "species": exported.species,
        "cutoff": exported.cutoff,
        "vectors": exported.vectors,
        "platforms": exported.program.platforms,
    }
    serialised = np.frombuffer(bytes(exported.program.serialize()), np.uint8)
    write_store(path, header, {"program": serialised})


def load_exported(path: str | Path) -> ExportedPotential:
    """Read what `save_exported` wrote.

    Raises:
        ValueError: if it is another kind of file, or of a later version of this program.
    """
    what, advice = "no exported potential", "export the potential again"
    content, arrays = read_store(path, what, advice)
    version = content.get("version")
    if type(version) is int and version != _VERSION:
        raise ValueError(
            f"{path} was exported by another version of this program ({version}); {advice}"
        )
    try:
        header = checked_fields(content, _Header, "header")
        program = arrays.pop("program", None)
        if arrays or program is None or program.dtype != np.uint8 or not header["cutoff"] > 0.0:
            raise ValueError("it has no program, no cutoff or something else besides")
        deserialised = export.deserialize(bytearray(program.tobytes()))
    except ImportError:
        raise
    # A program that is damaged makes the reader of JAX fail in many ways.
    except Exception as error:
        raise ValueError(f"{path} is {what} ({error}); {advice}") from error
    return ExportedPotential(deserialised, header["species"], header["cutoff"], header["vectors"])


@dataclass(frozen=True)
class _Header:
    version: int
    species: tuple[str, ...]
    cutoff: float
    vectors: bool
    platforms: tuple[str, ...]
