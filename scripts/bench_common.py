"""What the benchmarks share: systems, interleaved timing, the device's own speed, JSON output."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One core, as the peer uses: ratios on more cores would compare schedulers.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
import jax.numpy as jnp
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.potential.forms import FORMS
from mmtp_jax.structures.results import VOIGT
from mmtp_jax.structures.structure import Structure

jax.config.update("jax_enable_x64", True)
# Timing one call after the other: handing each to another thread costs 0.1 ms.
jax.config.update("jax_cpu_enable_async_dispatch", False)
CUTOFF = 5.5
LATTICE = 2.87


def structure(cells: tuple[int, int, int], n_species: int = 1, seed: int = 0) -> Structure:
    """Rattled bcc supercell with moments of both signs; 58 neighbours within 5.5 Angstrom."""
    rng = np.random.default_rng(seed)
    corner = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), -1).reshape(-1, 3)
    positions = np.concatenate([corner, corner + 0.5]) * LATTICE
    n = len(positions)
    return Structure(
        cell=np.diag(np.array(cells, float) * LATTICE),
        periodic=np.ones(3, bool),
        positions=positions + rng.normal(0.0, 0.03, (n, 3)),
        types=rng.integers(0, n_species, n).astype(np.int32),
        magmoms=rng.choice([-1.0, 1.0], n) * rng.uniform(1.5, 2.5, n),
    )


SPECIES = ("Fe", "Al", "Cr")
CELLS = {54: (3, 3, 3), 432: (6, 6, 6), 3456: (12, 12, 12), 16000: (20, 20, 20)}


def cells_for(n_atoms: int) -> tuple[int, int, int]:
    """Supercell of about ``n_atoms`` atoms."""
    side = max(1, round((n_atoms / 2) ** (1 / 3)))
    return CELLS.get(n_atoms, (side, side, side))


def potential(level: int, n_species: int, magnetic_size: int, form: str) -> mmtp.Potential:
    """Random coefficients of a realistic size; ``form`` is one of a name, or a pattern."""
    named = form in FORMS
    return mmtp.Potential.new(
        level=level,
        species=SPECIES[:n_species],
        magnetic_size=magnetic_size,
        cutoff=CUTOFF,
        min_dist=2.0,
        max_magmom=3.5,
        form=form if named else "parity",
        pattern=None if named else form,
    )


def motep_data(potential: mmtp.Potential) -> Any:
    """The potential in motep's form, through a file; None without motep."""
    try:
        from ase import Atoms
        from motep.io.mlip.mtp import read_mmtp
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "potential.mtp"
        mmtp.save(path, potential.with_common_interval())
        data = read_mmtp(path)
    data.species = list(Atoms(potential.species).numbers)
    return data


def ase_atoms(potential: mmtp.Potential, s: Structure) -> Any:
    """A periodic structure as ASE atoms, with its labels under motep's names if it has any."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms([potential.species[t] for t in s.types], s.positions, cell=s.cell, pbc=True)
    atoms.set_initial_magnetic_moments(s.magmoms)
    if s.energy is not None:
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results = {
            "energy": s.energy,
            "forces": s.forces,
            "stress": s.stress[VOIGT],
            "mgrad": -s.magnetic_forces,
        }
    return atoms


def timed(
    functions: dict[str, Callable[[], Any]], repeats: int = 7, seconds: float = 0.2
) -> dict[str, float]:
    """Best time of one call of each function, seconds; the functions take turns."""
    counts = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        counts[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                function()
            best[name] = min(best[name], (time.perf_counter() - start) / counts[name])
    return best


def compiled(function: Callable, *args: Any, **kwargs: Any) -> tuple[Callable, float]:
    """The function compiled for these arguments, and the seconds that it took."""
    start = time.perf_counter()
    executable = jax.jit(function, **kwargs).lower(*args).compile()
    return executable, time.perf_counter() - start


def matmul_peak(dtype: Any) -> float:
    """Flop/s of a large matrix product on the default device."""
    n = 1024 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((n, n), dtype)
    product = jax.jit(lambda a: jax.lax.dot(a, a, precision="highest"))
    best = timed({"product": lambda: jax.block_until_ready(product(a))}, 5, 0.2)
    return 2 * n**3 / best["product"]


def environment() -> dict[str, Any]:
    """Device and versions, for the record."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def save_json(path: str | None, rows: list[dict[str, Any]]) -> None:
    """Rows with the environment, if a path is given."""
    if path is not None:
        Path(path).write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1))
