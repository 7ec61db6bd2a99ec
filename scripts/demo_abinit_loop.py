"""The loop closed with real DFT: active learning of bcc iron, labelled by ABINIT.

From eight two-atom cells a potential learns in dynamics at two volumes and two temperatures and in
the equilibration of moments. What it extrapolates to is labelled at its own, non-equilibrium
moments with ABINIT's hard constraint, until a whole round preselects nothing or the iterations are
used up. The potential of each iteration is compared with independent DFT configurations.

The settings are quick (about four seconds per label) and far from converged: this shows the loop,
not iron. Needs the Debian packages abinit and gpaw-data.

    python scripts/demo_abinit_loop.py --output scripts/examples/abinit_loop
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# One core; threads of XLA only compete with other processes here.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
from ase import Atoms
from ase.build import bulk
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import mmtp_jax as mmtp
from mmtp_jax.active.learning import Learned
from mmtp_jax.fitting.report import comparison, errors_of
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.convert import to_structures
from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.plot.style import COLOURS, save_figure

SPECIES = ("Fe",)
ORACLE = AbinitOracle(
    {"Fe": "Fe.PBE.gz"}, ecut_Ha=10.0, pawecutdg_Ha=20.0, kmesh=(2, 2, 2), bands=18
)
"""Eight electrons per atom, 64 k-points without symmetry: as quick as DFT gets."""
LATTICE = 2.90
"""Angstrom; the spheres of radius 2.2 bohr need pairs 2.33 Angstrom apart."""
KINDS = {
    "energy": "energy, meV/atom",
    "forces": "forces, meV/Å",
    "magnetic_forces": "magnetic forces, meV/$\\mu_\\mathrm{B}$",
}


@dataclass(frozen=True)
class Setup:
    """Sizes of the demonstration."""

    level: int = 6
    radial_size: int = 5
    magnetic_size: int = 3
    cutoff: float = 4.5
    volumes: tuple[float, ...] = (1.0, 1.06)
    temperatures: tuple[float, ...] = (100.0, 250.0)
    states: tuple[str, ...] = ("fm", "afm")
    magmoms: tuple[float, ...] = (1.6, 2.6)
    n_steps: int = 200
    """Of dynamics; 0 leaves them out."""
    n_start: int = 8
    n_test: int = 24
    fit_steps: int = 800
    limit: int = 8
    """Labels in one iteration."""
    low: float = 2.0
    high: float = 10.0
    max_iterations: int = 8
    seed: int = 0


def cell_of(volume: float, magmoms: list[float], rattle: float, seed: int) -> Atoms:
    """Two atoms of bcc iron."""
    atoms = bulk("Fe", "bcc", a=LATTICE * np.cbrt(volume), cubic=True)
    atoms.rattle(rattle, seed=seed)
    atoms.set_initial_magnetic_moments(magmoms)
    return atoms


def start_cells(setup: Setup) -> list[Atoms]:
    """A handful of cells whose moments span what simulations will reach."""
    rng = np.random.default_rng(setup.seed)
    return [
        cell_of(
            rng.uniform(0.98, 1.08),
            list(rng.uniform(1.2, 2.8, 2) * ([1, 1] if k % 2 else [1, -1])),
            0.03,
            100 + k,
        )
        for k in range(setup.n_start)
    ]


def check_cells(setup: Setup) -> list[Atoms]:
    """Others, to compare with: no simulation has made them, and no fit sees them."""
    rng = np.random.default_rng(901)
    return [
        cell_of(
            rng.uniform(1.0, 1.06),
            list(rng.uniform(1.4, 2.7, 2) * ([1, 1] if k % 2 else [1, -1])),
            0.04,
            900 + k,
        )
        for k in range(setup.n_test)
    ]


def labelled(atoms_list: list[Atoms], folder: Path, oracle: AbinitOracle = ORACLE) -> list[Atoms]:
    """With labels, without those that failed."""
    jobs = mmtp.label_all(oracle, atoms_list, folder, timeout_s=300.0)
    return [answer.atoms for answer in jobs.labelled]


def simulations(setup: Setup) -> list:
    """What every iteration runs."""
    cells = [
        cell_of(volume, [size, sign * size], 0.03, 10 * k)
        for k, (volume, size, sign) in enumerate(
            (v, m, s) for v in setup.volumes for m in setup.magmoms for s in (1, -1)
        )
    ]
    moments = mmtp.EquilibrationRun.of("moments", cells, SPECIES)
    if not setup.n_steps:
        return [moments]
    return [
        mmtp.DynamicsRun.of(
            "dynamics", [cell_of(1.0, [2.2, 2.2], 0.01, 1)], SPECIES, setup.n_steps,
            volumes=setup.volumes, temperatures_K=setup.temperatures, states=setup.states,
            strain=0.01, seed=setup.seed, timestep_fs=2.0,
        ),
        moments,
    ]  # fmt: skip


def run_loop(
    setup: Setup,
    start: list[Atoms],
    folder: Path,
    say: Callable[[str], None],
    oracle: AbinitOracle = ORACLE,
) -> Learned:
    """The loop."""
    student = mmtp.Potential.new(
        level=setup.level, species=SPECIES, radial_size=setup.radial_size,
        magnetic_size=setup.magnetic_size, cutoff=setup.cutoff, seed=setup.seed,
    )  # fmt: skip
    options = mmtp.LearnOptions(
        thresholds=mmtp.Thresholds(setup.low, setup.high),
        limit=setup.limit,
        max_iterations=setup.max_iterations,
        # Nearly no room below the shortest distance: spheres would overlap there.
        min_dist_margin=0.99,
        timeout_s=300.0,
        fit=mmtp.FitOptions(max_iterations=setup.fit_steps, tolerance=1e-4, report_every=10**6),
    )
    return mmtp.learn(student, start, simulations(setup), oracle, folder, options, callback=say)


Errors = list[dict[str, float]]
"""RMSE by kind, of the potential of each iteration."""


def errors_by_iteration(learned: Learned, check: list[Atoms]) -> Errors:
    """Of all potentials of a loop on configurations that none was fitted to."""
    structures, found = to_structures(check, SPECIES), []
    for row in learned.rows:
        path = learned.folder / f"iteration-{row.iteration:03d}" / "potential.mtp"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mmtp.ExtrapolationWarning)
            results = evaluate_structures(mmtp.load(path), structures)
        errors = errors_of(comparison(structures, results), len(structures))
        found.append({k.kind: k.rmse for k in errors.kinds})
    return found


def figure(learned: Learned, errors: Errors) -> Figure:
    """Labels of each iteration, and errors on independent configurations."""
    drawing = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
    rows = [row for row in learned.rows if row.selected is not None]
    numbers = [row.iteration for row in rows]
    left.bar(numbers, [row.labelled or 0 for row in rows], color=COLOURS[0], label="labelled")
    left.bar(
        numbers, [row.failed or 0 for row in rows], bottom=[row.labelled or 0 for row in rows],
        color=COLOURS[1], label="refused or failed",
    )  # fmt: skip
    left.set_ylabel("Selected configurations")
    left.set_ylim(0.0, 1.25 * max(row.selected for row in rows))
    for (kind, title), colour in zip(KINDS.items(), COLOURS, strict=False):
        right.plot([e[kind] for e in errors], marker="o", markersize=4, color=colour, label=title)
    right.set_yscale("log")
    right.set_ylabel("RMSE on independent DFT cells")
    for axes in (left, right):
        axes.set_xlabel("Iteration")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return drawing


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="abinit_loop", help="folder to write to")
    parser.add_argument("--work", help="folder of the loop and its jobs (default: OUTPUT/work)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the set-up")
    args = parser.parse_args()
    changes = {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in args.set)}
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    setup, folder = replace(Setup(), **changes), Path(args.output)
    work = Path(args.work) if args.work else folder / "work"
    folder.mkdir(parents=True, exist_ok=True)
    since, lines = time.monotonic(), []

    def say(text: str) -> None:
        lines.append(f"{time.monotonic() - since:6.0f} s  {text}")
        print(lines[-1], flush=True)

    start = labelled(start_cells(setup), work / "start")
    say(f"{len(start)} of {setup.n_start} configurations to start from are labelled")
    check = labelled(check_cells(setup), work / "check")
    say(f"{len(check)} of {setup.n_test} independent configurations are labelled")
    shutil.rmtree(work / "loop", ignore_errors=True)
    learned = run_loop(setup, start, work / "loop", say)
    errors = errors_by_iteration(learned, check)
    table = ["", str(learned), "", "RMSE on the independent configurations:"]
    table.append(f"{'iteration':<12}{'training':<10}" + "".join(f"{k:<18}" for k in KINDS))
    for row, of in zip(learned.rows, errors, strict=True):
        numbers = "".join(f"{of[k]:<18.3g}" for k in KINDS)
        table.append(f"{row.iteration:<12}{row.training:<10}{numbers}")
    print("\n".join(table), flush=True)
    (folder / "log.txt").write_text("\n".join([*lines, *table]) + "\n", encoding="utf-8")
    mmtp.write(folder / "start.cfg", start, species=SPECIES)
    mmtp.write(folder / "training.cfg", learned.training, species=SPECIES)
    save_figure(folder / "loop.png", figure(learned, errors))


if __name__ == "__main__":
    main()
