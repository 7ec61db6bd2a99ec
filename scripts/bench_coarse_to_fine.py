"""CPU time of fits to a validation error: all data from the start, a part first, Gauss-Newton.

    python scripts/bench_coarse_to_fine.py iron --level 8
    python scripts/bench_coarse_to_fine.py heisenberg --level 8 --configurations 125
    python scripts/bench_coarse_to_fine.py heisenberg --level 10 --configurations 825

`iron` are the DFT data of the package, a fifth held out; `heisenberg` are disordered bcc cells of
16 to 54 atoms with the analytic energy of study_forms.py, which no potential has exactly. The fits
take turns in one process, and only their own CPU time counts, so that other programs on the machine
slow all alike; neither compilation (given apart) nor the evaluation of the validation set counts.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

import bench_common as bench
import study_forms

import mmtp_jax as mmtp
from mmtp_jax.fitting.fit import Fit, fit_structures, prepared_sets
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.training_data import TrainingData
from mmtp_jax.io.convert import to_structures

CELLS = ((2, 2, 2), (2, 3, 3), (3, 3, 3), (3, 3, 3))
KINDS = ("energy", "forces", "stress", "magnetic_forces")
FACTORS = (4.0, 2.0, 1.5, 1.2, 1.1, 1.05, 1.0)
"""Errors of interest, over those at the end of the first method."""
METHODS = {
    "all": {"coarse_to_fine": "off"},
    "part first": {"coarse_to_fine": "on"},
    "gauss-newton": {"coarse_to_fine": "off", "method": "gauss-newton"},
    "gauss-newton, part first": {"coarse_to_fine": "on", "method": "gauss-newton"},
}


class Turns:
    """Lets one of several threads run at a time: the one that has used least CPU time so far."""

    def __init__(self, names: list[str], deadline: float) -> None:
        self.used, self.deadline = dict.fromkeys(names, 0.0), deadline
        self.turn, self.changed = names[0], threading.Condition()

    def wait(self, name: str) -> None:
        """Until it is this one's turn."""
        with self.changed:
            self.changed.wait_for(lambda: self.turn == name)

    def hand_on(self) -> None:
        """To the one that has used least."""
        with self.changed:
            self.turn = min(self.used, key=self.used.__getitem__, default="")
            self.changed.notify_all()


class Clock:
    """CPU seconds of one fit, and its validation errors then."""

    def __init__(self, name: str, turns: Turns, validation: Any) -> None:
        self.name, self.turns, self.validation = name, turns, validation
        self.track: list[tuple[float, str, int, list[float]]] = []
        self.fit: Fit | None = None
        self.since, self.pending = 0.0, None

    def errors(self, data: TrainingData, potential: mmtp.Potential, shifts: Any) -> Any:
        """In place of those of the training set, off the clock."""
        self.turns.used[self.name] += time.process_time() - self.since
        self.pending = self.validation.errors(potential)
        self.since = time.process_time()
        return self.pending

    def __call__(self, progress: Any) -> None:
        if progress.training is None:
            return
        used = self.turns.used
        used[self.name] += time.process_time() - self.since
        rmse = [progress.training[kind].rmse for kind in KINDS]
        self.track.append((used[self.name], progress.stage, progress.iteration, rmse))
        self.turns.hand_on()
        self.turns.wait(self.name)
        self.since = time.process_time()
        if time.monotonic() > self.turns.deadline:
            raise KeyboardInterrupt

    def run(self, *arguments: Any, options: FitOptions) -> None:
        """One fit, in its turns."""
        self.turns.wait(self.name)
        self.since = time.process_time()
        try:
            self.fit = fit_structures(*arguments, (), options, self)
        finally:
            del self.turns.used[self.name]
            self.turns.hand_on()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["iron", "heisenberg"])
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--magnetic-size", type=int, default=3)
    parser.add_argument("--configurations", type=int, default=125)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS)[:3])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--every", type=int, default=10, help="steps between two evaluations")
    parser.add_argument("--minutes", type=float, default=60.0, help="wall time, then all end")
    parser.add_argument("--json")
    args = parser.parse_args()
    print(bench.environment())
    deadline = time.monotonic() + 60 * args.minutes
    if args.data == "iron":
        atoms_list = study_forms.iron()
        kept, held_out = mmtp.split(len(atoms_list), 0.2, 0)
        training, validation = ([atoms_list[k] for k in of] for of in (kept, held_out))
    else:
        training = study_forms.heisenberg(args.configurations, 0, CELLS)
        validation = study_forms.heisenberg(20, 1, CELLS)
    form = {"species": ("Fe",), "magnetic_size": args.magnetic_size, "cutoff": 5.0}
    potential = mmtp.Potential.new(level=args.level, **form)
    structures = to_structures(training, ("Fe",))
    n_atoms = sum(map(len, structures))
    print(f"{len(structures)} configurations, {n_atoms} atoms, {potential.n_parameters} parameters")
    with mmtp.double_precision():
        held_out = prepared_sets(to_structures(validation, ("Fe",)), (), potential)[0]

    options = {name: FitOptions(**METHODS[name]) for name in args.methods}
    for name in args.methods:
        start = time.process_time()
        few = FitOptions(**METHODS[name], max_iterations=1)
        fit_structures(potential, structures, (), few)
        print(f"{name}: {time.process_time() - start:.1f} s to compile, and one step", flush=True)

    turns = Turns(args.methods, deadline)
    clocks = {name: Clock(name, turns, held_out) for name in args.methods}
    TrainingData.errors = lambda *of: clocks[turns.turn].errors(*of)
    threads = []
    for name, clock in clocks.items():
        newton = "gauss-newton" in name
        of = {"max_iterations": None if newton else args.steps, "tolerance": 1e-3}
        options = FitOptions(**METHODS[name], **of, report_every=1 if newton else args.every)
        threads.append(
            threading.Thread(
                target=clock.run, args=(potential, structures), kwargs={"options": options}
            )
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report(clocks, args.json)


def report(clocks: dict[str, Clock], json: str | None) -> None:
    """Print CPU seconds until the validation errors of the first method are reached."""
    rows = []
    for name, clock in clocks.items():
        seconds, stage, iteration, rmse = clock.track[-1]
        part = [of for of in clock.track if of[1] == "part"]
        print(
            f"{name}: {seconds:.0f} s, of which {part[-1][0] if part else 0:.0f} s for "
            f"{part[-1][2] if part else 0} steps to the part; {iteration} steps to {stage}; "
            f"{clock.fit.message}; loss {clock.fit.loss:.3e}; validation RMSE "
            + ", ".join(f"{kind} {value:.4g}" for kind, value in zip(KINDS, rmse, strict=True))
        )
        print(f"  {clock.fit.stages}")
        rows.append({"method": name, "track": clock.track, "stages": clock.fit.stages})
    names = list(clocks)
    for k, kind in enumerate(KINDS):
        end = clocks[names[0]].track[-1][3][k]
        print(f"CPU s until the validation RMSE of {kind} is so many times that at the end of all:")
        for factor in FACTORS:
            times = [
                next((f"{t:.0f}" for t, *_, rmse in clock.track if rmse[k] <= factor * end), "-")
                for clock in clocks.values()
            ]
            cells = ", ".join(f"{name} {t}" for name, t in zip(names, times, strict=True))
            print(f"  {factor:4.2f} ({factor * end:.4g}): {cells}")
    bench.save_json(json, rows)


if __name__ == "__main__":
    main()
