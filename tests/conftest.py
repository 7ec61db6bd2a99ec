"""Shared helpers: random potentials and structures, and references that share no code with us.

Helpers are fixtures that return functions, because test modules do not import each other.
"""

from __future__ import annotations

import atexit
import csv
import gc
import json
import os
import re
import shutil
import signal
import tempfile
import zlib

import jaxlib.version

# Shells start jobs in the background with Ctrl-C ignored, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# XLA's own threads only compete with the other processes of pytest-xdist. Its older emitters give
# the same numbers and compile in two thirds of the time; `test_jax_is_sound.py` compares them with
# those that users have. With XLA_FLAGS set, e.g. to nothing, the tests run with what is set.
if jaxlib.version.__version_info__ < (0, 11):  # XLA aborts for flags that it does not know
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_multi_thread_eigen=false --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1",
    )
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
# Most tests compile for seconds what runs for milliseconds: programs are optimised only where a
# test is marked, see `pytest_runtest_setup`. With JAX_DISABLE_MOST_OPTIMIZATIONS=0 all are.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# One cache of compiled programs for the processes of this session, and those that they start; it
# is empty at first, so that every program is compiled once by what is tested.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.mkdtemp(prefix="mmtp-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import jax
import matplotlib.image
import numpy as np
import pytest
from ase import Atoms
from jax.interpreters import mlir
from numpy.polynomial import chebyshev as cheb

import mmtp_jax as mmtp
from mmtp_jax.interfaces.evaluation import evaluate_graph, evaluate_structures
from mmtp_jax.potential.by_platform import _by_platform
from mmtp_jax.potential.materialise import _stage
from mmtp_jax.potential.observables import Graph, energies
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import pack
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

# What is traced is millions of small objects, and few of them are garbage.
gc.set_threshold(1_000_000, 20, 100)

REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference"

CUTOFF = 4.0
"""Cutoff of all random potentials, Angstrom."""
SPECIES = ("Fe", "Al", "Cr")


OPTIMISED_IF_MARKED = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "true"
"""The choice is that of `conftest`, not the user's."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before all fixtures: fast programs for a test that runs longer than it compiles."""
    if OPTIMISED_IF_MARKED:
        plain = item.get_closest_marker("optimised") is None
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true" if plain else "false"
        jax.config.update("jax_disable_most_optimizations", plain)


@pytest.fixture(scope="module", autouse=True)
def _float64() -> Iterator[None]:
    """Every test, and every fixture of a module, runs in float64."""
    with jax.enable_x64(True):
        yield


MOST_MAPS = 20_000
"""Memory maps of a process after which compiled programs are dropped; Linux allows 65 530."""


@pytest.fixture(scope="module", autouse=True)
def _few_memory_maps() -> None:
    """Every compiled program takes some memory maps; where they run out, XLA aborts."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="class")
def gpu_path() -> Iterator[None]:
    """What is lowered for the CPU meanwhile goes the way of GPUs."""
    cpu = mlir._platform_specific_lowerings["cpu"]
    before = {primitive: cpu.pop(primitive) for primitive in (_by_platform, _stage)}
    jax.clear_caches()
    yield
    cpu.update(before)
    jax.clear_caches()


@pytest.fixture(scope="session")
def reference_path() -> Callable[[str], Path]:
    """path(name) of a reference file; skips the test where there is none."""

    def path(name: str) -> Path:
        file = REFERENCE / name
        if not file.exists():
            pytest.skip(f"reference file {name} is not beside the checkout")
        return file

    return path


@pytest.fixture(scope="session")
def iron_file() -> Path:
    """The file of `iron`."""
    return Path(__file__).parent / "simulation" / "fe.mtp"


@pytest.fixture(scope="session")
def iron(iron_file) -> Potential:
    """Level 6, cutoff 4.2 Angstrom, fitted to the 100 configurations that the package ships."""
    return mmtp.load(iron_file)


@pytest.fixture(scope="session")
def pair_iron() -> Callable[..., Potential]:
    """potential(species=("Fe",), non_magnetic=()): one that is cheap to compile, for bcc crystals.

    It is the sum over neighbours of (3.8 - r)^2 (u(r) + v(r, m)): u holds a crystal, a = 2.8
    Angstrom, and v is a ferromagnetic well for moments of some 2 mu_B, which depend on r. Species
    differ in their moments only.
    """

    def potential(species: Sequence[str] = ("Fe",), non_magnetic: Sequence[str] = ()) -> Potential:
        form = Potential.new(
            level=2, species=species, radial_size=3, magnetic_size=5, cutoff=3.8, min_dist=2.0,
            max_magmom=3.0, non_magnetic=non_magnetic,
        )  # fmt: skip
        c = np.zeros_like(form.radial_coeffs)
        c[:, :, 0, :, 0, 0] = -0.105, -0.085, 0.045
        c[:, :, 0, :2, 2, 0] = 0.005, -0.004
        c[:, :, 0, 0, 4, 0], c[:, :, 0, 0, 1, 1] = 0.00875, -0.005
        return form.replace(radial_coeffs=form.masked(c), moment_coeffs=np.ones(1))

    return potential


@pytest.fixture(scope="session")
def running_iron(pair_iron) -> Potential:
    """`pair_iron` whose moments want to be larger than the 3 mu_B that it covers."""
    potential = pair_iron()
    c = np.array(potential.radial_coeffs)
    c[:, :, 0, 0, 2, 0] = -0.04
    return potential.replace(radial_coeffs=c)


@pytest.fixture(scope="session")
def relative_error() -> Callable[..., float]:
    """Largest absolute deviation over the largest absolute expected value."""

    def error(got, expected) -> float:
        got, expected = np.asarray(got), np.asarray(expected)
        assert got.shape == expected.shape, (got.shape, expected.shape)
        assert np.all(np.isfinite(got)), "not finite"
        scale = float(np.max(np.abs(expected), initial=0.0))
        deviation = float(np.max(np.abs(got - expected), initial=0.0))
        return deviation / scale if scale else deviation

    return error


@pytest.fixture(scope="session")
def read_back() -> Callable[[Path], object]:
    """read_back(file): what a file holds, read as what its name says; false if that is nothing.

    A figure has coloured pixels or strokes: axes and their letters are black.
    """

    def read(path: Path) -> object:
        path = Path(path)
        readers = {
            ".json": lambda: json.loads(path.read_text()),
            ".csv": lambda: list(csv.DictReader(path.open(newline=""))),
            ".npz": lambda: np.load(path).files,
            ".mtp": lambda: mmtp.load(path).n_parameters,
            ".cfg": lambda: mmtp.read(path),
            ".extxyz": lambda: mmtp.read(path),
            ".png": lambda: _coloured(matplotlib.image.imread(path)),
            ".pdf": lambda: _coloured_strokes(path.read_bytes()),
            ".svg": lambda: _coloured_shapes(ElementTree.parse(path)),
        }
        return readers.get(path.suffix, path.read_text)()

    return read


def _coloured(pixels: np.ndarray) -> bool:
    height, width = pixels.shape[:2]
    coloured = np.ptp(pixels[..., :3], axis=-1) > 0.1
    return min(height, width) >= 200 and coloured.sum() > 50


def _coloured_strokes(content: bytes) -> int:
    assert content.startswith(b"%PDF")
    assert content.rstrip().endswith(b"%%EOF")
    found = 0
    for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        with suppress(zlib.error):
            colours = re.findall(
                rb"([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(?:rg|RG)\s", zlib.decompress(packed)
            )
            found += sum(len(set(colour)) > 1 for colour in colours)
    return found


def _coloured_shapes(tree: ElementTree.ElementTree) -> int:
    styles = [element.get("style", "") for element in tree.iter()]
    colours = re.findall(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", " ".join(styles))
    return sum(len(set(colour)) > 1 for colour in colours)


@pytest.fixture(scope="session")
def atoms_of() -> Callable[..., Atoms]:
    """atoms_of(structure, species=SPECIES): the structure as ASE has it, with its moments."""

    def atoms(structure: Structure, species: Sequence[str] = SPECIES) -> Atoms:
        return Atoms(
            [species[z] for z in structure.types],
            positions=structure.positions,
            cell=structure.cell,
            pbc=structure.periodic,
            magmoms=structure.magmoms,
        )

    return atoms


# --- random input -------------------------------------------------------------------


@pytest.fixture(scope="session")
def random_potential() -> Callable[..., Potential]:
    """potential(seed, level=4, n_species=2, ...) with all coefficients of the size of one.

    ``intervals`` of the moments: "common", "per species" or "asymmetric" (and per species).
    """

    def potential(
        seed: int,
        *,
        level: int = 4,
        n_species: int = 2,
        radial_size: int = 4,
        magnetic_size: int = 2,
        form: str = "symmetrised",
        intervals: str = "per species",
        cutoff: float = CUTOFF,
    ) -> Potential:
        rng = np.random.default_rng([seed, level, n_species, magnetic_size])
        new = Potential.new(
            level=level,
            species=SPECIES[:n_species],
            radial_size=radial_size,
            magnetic_size=magnetic_size,
            min_dist=1.6,
            cutoff=cutoff,
            max_magmom=3.0,
            form=form,
            seed=seed,
        )
        # A factor per power of the moments keeps high levels from drowning the low ones.
        new = new.replace(
            species_coeffs=rng.normal(size=n_species),
            moment_coeffs=rng.normal(size=new.tables.n_scalars),
            radial_coeffs=0.3 * new.radial_coeffs,
            scaling=np.float64(rng.uniform(0.5, 1.5)),
        )
        if intervals == "common":
            return new
        high = rng.uniform(2.5, 4.0, n_species)
        low = -high if intervals == "per species" else -rng.uniform(2.5, 4.0, n_species)
        return new.replace(min_magmom=low, max_magmom=high)

    return potential


@pytest.fixture(scope="session")
def image_pairs() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """pairs(structure, cutoff): (i, j, vectors) of all neighbours, by trying all images."""
    return _image_pairs


def _image_pairs(structure: Structure, cutoff: float):
    periodic = np.asarray(structure.periodic, bool)
    cell = np.where(periodic[:, None], structure.cell, 0.0)
    # Rows of the pseudo-inverse's transpose have the length of one over the plane spacings.
    per_length = np.linalg.norm(np.linalg.pinv(cell), axis=0)
    fractional = structure.positions @ np.linalg.pinv(cell)
    spread = np.ptp(fractional, axis=0)
    reach = np.where(periodic, np.ceil(cutoff * per_length + spread), 0).astype(int)
    shifts = np.array(list(product(*(range(-n, n + 1) for n in reach))))
    positions = structure.positions
    vectors = (shifts @ cell)[:, None, None] + positions - positions[:, None]
    near = np.einsum("sijx,sijx->sij", vectors, vectors) < cutoff**2
    # An atom in its own place is no neighbour, its images are.
    near[~shifts.any(axis=1)] &= ~np.eye(len(positions), dtype=bool)
    _, i, j = np.nonzero(near)
    return i, j, vectors[near]


@pytest.fixture(scope="session")
def random_structure() -> Callable[..., Structure]:
    """structure(seed, n_atoms, n_species=2, periodic=True) with no pair closer than 1.7 Angstrom.

    About 12 Angstrom^3 per atom in a triclinic cell, which is smaller than twice the cutoff; free
    clusters (``periodic=False``) are as dense. One bool per direction makes slabs and wires. With a
    ``margin`` no pair is that close to the cutoff, where finite differences see the second
    derivative jump.
    """

    def structure(
        seed: int,
        n_atoms: int,
        *,
        n_species: int = 2,
        periodic=True,
        shear: float = 0.25,
        volume_per_atom: float = 12.0,
        shortest: float = 1.7,
        margin: float = 0.0,
    ) -> Structure:
        rng = np.random.default_rng([seed, n_atoms, n_species])
        flags = np.broadcast_to(np.asarray(periodic, bool), (3,)).copy()
        while True:
            cell = np.eye(3) + shear * rng.uniform(-1, 1, (3, 3))
            cell *= np.cbrt(volume_per_atom * n_atoms / np.linalg.det(cell))
            positions = np.empty((0, 3))
            for _ in range(2000):
                trial = np.vstack([positions, rng.uniform(size=3) @ cell])
                candidate = Structure(
                    cell=np.where(flags[:, None], cell, 0.0),
                    periodic=flags,
                    positions=trial,
                    types=np.zeros(len(trial), np.int32),
                    magmoms=np.zeros(len(trial)),
                )
                if not len(_image_pairs(candidate, shortest)[0]):
                    positions = trial
                if len(positions) == n_atoms:
                    break
            else:
                continue
            lengths = np.linalg.norm(_image_pairs(candidate, CUTOFF + margin)[2], axis=1)
            if np.any(lengths > CUTOFF - margin) and margin:
                continue
            types = np.arange(n_atoms, dtype=np.int32) % n_species
            return replace(
                candidate,
                types=rng.permutation(types).astype(np.int32),
                magmoms=rng.uniform(-2.4, 2.4, n_atoms),
                name=f"random structure {seed}",
            )

    return structure


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    """graph(structures, cutoff): one padded graph; minimal sizes keep few shapes to compile."""

    def graph(
        structures, cutoff: float = CUTOFF, *, n_atoms: int = 8, width: int = 48, n_conf: int = 1
    ) -> Graph:
        structures = [structures] if isinstance(structures, Structure) else list(structures)
        tables = [neighbour_table(s, cutoff) for s in structures]
        return pack(
            structures, tables, cutoff, n_atoms=n_atoms, width=width, n_configurations=n_conf
        ).graph

    return graph


@pytest.fixture(scope="session")
def shipped_jit() -> Callable[..., Callable]:
    """`jax.jit` that compiles as users do, whatever the tests set."""
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    if "--xla_cpu_use_fusion_emitters=false" in os.environ["XLA_FLAGS"]:
        options["xla_cpu_use_fusion_emitters"] = True
    return partial(jax.jit, compiler_options=options)


# --- evaluation ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def energies_of() -> Callable[..., jax.Array]:
    """Compiled energies(potential, graph), one program for all tests."""
    return jax.jit(energies)


@pytest.fixture(scope="session")
def evaluated(graph_of) -> Callable[..., dict[str, np.ndarray]]:
    """evaluated(potential, structure): site energies and observables of one structure, unpadded."""

    def of(potential: Potential, structure: Structure, **sizes) -> dict[str, np.ndarray]:
        graph = graph_of(structure, float(potential.cutoff), **sizes)
        sites, values = jax.device_get(evaluate_graph(potential, graph))
        n = len(structure)
        return {
            "energies": sites[:n],
            "energy": values.energy[0],
            "forces": values.forces[:n],
            "stress": values.stress[0],
            "magnetic_forces": values.magnetic_forces[:n],
        }

    return of


@pytest.fixture(scope="session")
def labelled() -> Callable[..., list[Structure]]:
    """labelled(teacher, structures): the structures with all labels from the teacher."""

    def label(teacher: Potential, structures) -> list[Structure]:
        found = []
        for structure, result in zip(
            structures, evaluate_structures(teacher, structures), strict=True
        ):
            stress = None
            if result.stress is not None:
                xx, yy, zz, yz, xz, xy = result.stress
                stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            found.append(
                replace(
                    structure,
                    energy=result.energy,
                    forces=result.forces,
                    stress=stress,
                    magnetic_forces=result.magnetic_forces,
                )
            )
        return found

    return label


@pytest.fixture(scope="session")
def reference_energies() -> Callable[[Potential, Structure], np.ndarray]:
    """Site energies straight from the equations (Kotykhov 2025, Eqs. 1-4; Burov 2026, Eq. 7).

    Numpy only: all images by brute force, every Cartesian component as its own sum, products in
    the order of the tables, reversal by evaluating twice.
    """

    def bare(potential: Potential, structure: Structure, magmoms: np.ndarray) -> np.ndarray:
        cutoff, min_dist = float(potential.cutoff), float(potential.min_dist)
        low, high = np.asarray(potential.min_magmom), np.asarray(potential.max_magmom)
        tables, c = potential.tables, np.asarray(potential.radial_coeffs)
        i, j, vectors = _image_pairs(structure, cutoff)
        site = np.empty(len(structure))
        for atom in range(len(structure)):
            moments = np.zeros(tables.n_moments)
            for neighbour, vector in zip(j[i == atom], vectors[i == atom], strict=True):
                zi, zj = structure.types[atom], structure.types[neighbour]
                r = np.linalg.norm(vector)
                unit = vector / r
                x = (2 * r - (min_dist + cutoff)) / (cutoff - min_dist)
                yi, yj = (
                    (2 * m - (low[z] + high[z])) / (high[z] - low[z])
                    for m, z in ((magmoms[atom], zi), (magmoms[neighbour], zj))
                )
                radial = float(potential.scaling) * (cutoff - r) ** 2 * c[zi, zj]
                # chebval sums over the first axis, so the last three go one after the other.
                radial = cheb.chebval(yj, np.moveaxis(radial, -1, 0))
                radial = cheb.chebval(yi, np.moveaxis(radial, -1, 0))
                f = cheb.chebval(x, np.moveaxis(radial, -1, 0))
                for k, (mu, ax, ay, az) in enumerate(tables.basic):
                    moments[k] += f[mu] * unit[0] ** ax * unit[1] ** ay * unit[2] ** az
            for a, b, multiplier, target in tables.products:
                moments[target] += multiplier * moments[a] * moments[b]
            site[atom] = potential.species_coeffs[structure.types[atom]] + np.dot(
                potential.moment_coeffs, moments[tables.scalars]
            )
        return site

    def of(potential: Potential, structure: Structure) -> np.ndarray:
        site = bare(potential, structure, structure.magmoms)
        if potential.form == "symmetrised":
            site = (site + bare(potential, structure, -structure.magmoms)) / 2
        return site

    return of
