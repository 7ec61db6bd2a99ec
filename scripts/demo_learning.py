"""Active learning against random selection, with a potential as teacher.

A teacher, fitted to the DFT data of iron that come with the program, labels. A student starts from
a handful of configurations and learns in dynamics at several volumes, temperatures and magnetic
states and in the equilibration of moments, until a whole round preselects nothing. Other students
of the same form are fitted to random selections of the same size, from trajectories of the teacher
under the same conditions. All are compared with the teacher on independent trajectories.

    python scripts/demo_learning.py --output demo       # some minutes on one core
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
import warnings
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

# One core; threads of XLA only compete with other processes here.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
from ase import Atoms
from ase.build import bulk
from matplotlib.figure import Figure

import mmtp_jax as mmtp
from mmtp_jax.active.candidates import Candidate
from mmtp_jax.active.learning import Learned
from mmtp_jax.active.learning_iteration import atoms_of
from mmtp_jax.fitting.report import comparison, errors_of
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.convert import to_structures
from mmtp_jax.plot.style import COLOURS, save_figure

SPECIES = ("Fe",)
LATTICE = 2.83
SETS = ("dynamics", "moments")
KINDS = {
    "energy": "energy (meV/atom)",
    "forces": "forces (meV/Angstrom)",
    "stress": "stress (GPa)",
    "magnetic_forces": "magnetic forces (meV/mu_B)",
}


@dataclass(frozen=True)
class Setup:
    """Sizes of the demonstration."""

    level: int = 6
    radial_size: int = 6
    magnetic_size: int = 3
    cutoff: float = 4.5
    volumes: tuple[float, ...] = (0.92, 1.0, 1.08)
    temperatures: tuple[float, ...] = (100.0, 600.0)
    states: tuple[str, ...] = ("fm", "afm")
    magmoms: tuple[float, ...] = (1.2, 2.0, 2.6)
    n_steps: int = 200
    n_start: int = 6
    teacher_steps: int = 800
    fit_steps: int = 500
    final_steps: int = 1500
    n_test: int = 200
    max_iterations: int = 15
    low: float = 2.0
    """Grade from which on a configuration is kept."""


Errors = dict[str, dict[str, dict[str, float]]]
"""By set, kind of label, and "rmse" or "max"."""


def new_potential(setup: Setup, seed: int) -> mmtp.Potential:
    """Teacher and students have one form, so that no error is that of the form."""
    return mmtp.Potential.new(
        level=setup.level, species=SPECIES, radial_size=setup.radial_size,
        magnetic_size=setup.magnetic_size, cutoff=setup.cutoff, seed=seed,
    )  # fmt: skip


def make_teacher(setup: Setup, folder: Path) -> mmtp.PotentialOracle:
    """A potential fitted to DFT data."""
    folder.mkdir(parents=True, exist_ok=True)
    data = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    fit = mmtp.fit(new_potential(setup, 7), data, max_iterations=setup.teacher_steps)
    mmtp.save(folder / "teacher.mtp", fit.potential)
    print(f"teacher, {fit.potential.n_parameters} parameters:\n{fit.report}\n", flush=True)
    return mmtp.PotentialOracle(folder / "teacher.mtp")


def cell_of(volume: float, magmoms: list[float], rattle: float, seed: int) -> Atoms:
    """Two atoms of bcc iron."""
    atoms = bulk("Fe", "bcc", a=LATTICE * np.cbrt(volume), cubic=True)
    atoms.rattle(rattle, seed=seed)
    atoms.set_initial_magnetic_moments(magmoms)
    return atoms


def dynamics(setup: Setup, seed: int, bounded: bool = True) -> mmtp.DynamicsRun:
    """All volumes, temperatures and magnetic states, as replicas of one run."""
    return mmtp.DynamicsRun.of(
        "dynamics", [cell_of(1.0, [2.0, 2.0], 0.01, 1)], SPECIES, setup.n_steps,
        volumes=setup.volumes, temperatures_K=setup.temperatures, states=setup.states,
        strain=0.02, seed=seed, timestep_fs=2.0, bounded=bounded,
    )  # fmt: skip


def moments(setup: Setup, seed: int) -> mmtp.EquilibrationRun:
    """Equilibration from several sizes of the moments, at all volumes."""
    cells = [
        cell_of(volume, [size, sign * size], 0.05, 1000 * seed + k)
        for k, (volume, size, sign) in enumerate(
            (v, m, s) for v in setup.volumes for m in setup.magmoms for s in (1, -1)
        )
    ]
    return mmtp.EquilibrationRun.of("moments", cells, SPECIES)


def trajectories(
    setup: Setup, teacher: mmtp.Potential, folder: Path, seed: int
) -> dict[str, list[Candidate]]:
    """All configurations that the teacher's own simulations evaluate."""
    data = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    active = mmtp.ActiveSet.from_configurations(teacher, data[:4])
    found = {}
    for run in (dynamics(setup, seed, bounded=False), moments(setup, seed)):
        store = mmtp.CandidateStore(folder / run.name)
        store.clear()
        # Everything is above this threshold.
        watch = mmtp.Preselection.of(active, mmtp.Thresholds(1e-12, 1e12), store=store)
        run.run(teacher, watch, iteration=0)
        found[run.name] = store.read()
    return found


def labelled(oracle: mmtp.PotentialOracle, structures: list) -> list[Atoms]:
    """With the teacher's labels."""
    atoms_list = [s if isinstance(s, Atoms) else atoms_of(s, SPECIES) for s in structures]
    return [oracle.label(atoms, Path()).atoms for atoms in atoms_list]


def drawn(candidates: list[Candidate], n: int, rng: np.random.Generator) -> list:
    """So many structures at random."""
    order = rng.permutation(len(candidates))[:n]
    return [candidates[k].structure for k in order]


def errors(potential: mmtp.Potential, sets: dict[str, list[Atoms]]) -> Errors:
    """RMSE and largest error of each kind of label on each set."""
    found: Errors = {}
    for name, atoms_list in sets.items():
        structures = to_structures(atoms_list, SPECIES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mmtp.ExtrapolationWarning)
            results = evaluate_structures(potential, structures)
        compared = errors_of(comparison(structures, results), len(structures))
        found[name] = {k.kind: {"rmse": k.rmse, "max": k.largest} for k in compared.kinds}
    return found


def start_set(setup: Setup, oracle: mmtp.PotentialOracle, seed: int) -> list[Atoms]:
    """A handful of cells near equilibrium."""
    rng = np.random.default_rng(seed)
    return labelled(
        oracle,
        [
            cell_of(
                rng.uniform(0.97, 1.03),
                list(rng.uniform(1.8, 2.4, 2) * ([1, 1] if k % 2 else [1, -1])),
                0.02,
                100 * seed + k,
            )
            for k in range(setup.n_start)
        ],
    )


@dataclass(frozen=True)
class Outcome:
    """One seed."""

    learned: Learned
    by_loop: Errors
    """Of a student fitted to what the loop has chosen."""
    at_random: Errors
    """Of a student fitted to as many at random."""
    at_start: Errors
    """Of the student before the loop."""


def compare(
    setup: Setup,
    oracle: mmtp.PotentialOracle,
    test: dict[str, list[Atoms]],
    folder: Path,
    seed: int,
    say=print,
) -> Outcome:
    """The loop, and a random selection of the same size."""
    start, student = start_set(setup, oracle, seed), new_potential(setup, seed)
    shutil.rmtree(folder, ignore_errors=True)
    options = mmtp.LearnOptions(
        thresholds=mmtp.Thresholds(setup.low, 10.0),
        max_iterations=setup.max_iterations,
        fit=mmtp.FitOptions(max_iterations=setup.fit_steps, tolerance=1e-4, report_every=10**6),
    )
    simulations = [dynamics(setup, 10 + seed), moments(setup, 10 + seed)]
    learned = mmtp.learn(
        student, start, simulations, oracle, folder / "loop", options, callback=say
    )
    pool = trajectories(setup, mmtp.load(oracle.path), folder / "pool", 500 + seed)
    everything = [c for name in SETS for c in pool[name]]
    rng = np.random.default_rng(seed)
    others = labelled(oracle, drawn(everything, len(learned.training) - len(start), rng))
    # Both from the same random coefficients, with the same number of steps.
    final = {"max_iterations": setup.final_steps, "tolerance": 1e-5, "report_every": 10**6}
    by_loop = mmtp.fit(student, learned.training, **final).potential
    at_random = mmtp.fit(student, [*start, *others], **final).potential
    first = mmtp.load(folder / "loop" / "iteration-000" / "potential.mtp")
    return Outcome(learned, errors(by_loop, test), errors(at_random, test), errors(first, test))


def test_sets(setup: Setup, oracle: mmtp.PotentialOracle, folder: Path) -> dict[str, list[Atoms]]:
    """Independent trajectories, as many configurations of either simulation."""
    rng = np.random.default_rng(901)
    found = trajectories(setup, mmtp.load(oracle.path), folder / "test", 901)
    return {name: labelled(oracle, drawn(found[name], setup.n_test, rng)) for name in SETS}


def table(outcomes: list[Outcome]) -> str:
    """Means over the seeds."""
    header = (
        f"{'test set':<10}{'label':<28}{'':<6}{'start':>10}{'random':>10}{'learned':>10}"
        f"{'random/learned, each seed':>30}"
    )
    lines = [header, "-" * len(header)]
    for name in SETS:
        for kind, title in KINDS.items():
            for what in ("rmse", "max"):
                values = [
                    [of[name][kind][what] for of in (o.at_start, o.at_random, o.by_loop)]
                    for o in outcomes
                ]
                means = np.mean(values, axis=0)
                ratios = ", ".join(f"{v[1] / v[2]:.2g}" for v in values)
                numbers = "".join(f"{m:>10.3g}" for m in means)
                lines.append(f"{name:<10}{title:<28}{what:<6}{numbers}{ratios:>30}")
    return "\n".join(lines)


def figure(outcomes: list[Outcome]) -> Figure:
    """Selected configurations of each iteration, and errors of both selections."""
    drawing = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, *right = drawing.subplots(1, 3, width_ratios=(1.1, 1, 1))
    for seed, outcome in enumerate(outcomes):
        selected = [r.selected for r in outcome.learned.rows if r.selected is not None]
        left.plot(
            range(len(selected)), selected, marker="o", markersize=4, color=COLOURS[seed % 3],
            label=f"seed {seed}",
        )  # fmt: skip
    left.set_xlabel("Iteration")
    left.set_ylabel("Selected configurations")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=9)
    for axes, what, title in zip(right, ("rmse", "max"), ("RMSE", "Largest error"), strict=True):
        labels = [f"{kind.replace('_', ' ')}\n{name}" for name in SETS for kind in KINDS]
        for k, (name, kind) in enumerate((n, k) for n in SETS for k in KINDS):
            ratios = [o.at_random[name][kind][what] / o.by_loop[name][kind][what] for o in outcomes]
            axes.plot(ratios, [k] * len(ratios), "o", color=COLOURS[0], alpha=0.6, markersize=5)
            axes.plot(np.exp(np.mean(np.log(ratios))), k, "|", color=COLOURS[1], markersize=14)
        axes.axvline(1.0, color="0.6", linewidth=0.9)
        axes.set_xscale("log")
        axes.set_yticks(range(len(labels)), labels if axes is right[0] else [], fontsize=7.5)
        axes.invert_yaxis()
        axes.set_xlabel("random / learned")
        axes.set_title(title, fontsize=10.5)
    for axes in (left, *right):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return drawing


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="demo", help="folder to write to")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the set-up")
    args = parser.parse_args()
    changes = {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in args.set)}
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    setup, folder, since = replace(Setup(), **changes), Path(args.output), time.monotonic()
    oracle = make_teacher(setup, folder)
    test = test_sets(setup, oracle, folder)
    outcomes = []
    for seed in range(args.seeds):
        print(f"seed {seed}")
        outcomes.append(
            compare(
                setup,
                oracle,
                test,
                folder / f"seed-{seed}",
                seed,
                say=lambda line: print(f"{time.monotonic() - since:6.0f} s  {line}", flush=True),
            )
        )
        print(f"{outcomes[-1].learned}\n")
        print(table(outcomes[-1:]), "\n", flush=True)
    print(f"means over {len(outcomes)} seeds; {time.monotonic() - since:.0f} s in all\n")
    print(table(outcomes))
    save_figure(folder / "demo.png", figure(outcomes))
    results = [{"start": o.at_start, "random": o.at_random, "learned": o.by_loop} for o in outcomes]
    content = {"setup": asdict(setup), "errors": results}
    (folder / "demo.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
