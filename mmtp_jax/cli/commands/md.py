"""``mmtp md``: molecular dynamics with moments that follow the atoms."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Found, Member, run_simulation
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.md_settings import MDSettings, check
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.cli.watched import SAMPLES, Watched

if TYPE_CHECKING:
    import numpy as np

    from mmtp_jax.interfaces.dynamics import MDResult
    from mmtp_jax.simulation.dynamics.series import Series

LOG_EVERY = 5.0
"""Seconds between lines of progress."""

_EPILOG = """\
examples:
  mmtp md pot.mtp start.cfg --ensemble nvt --temperature 300 --steps 5000 -o run.extxyz
  mmtp md pot.mtp a.cfg b.cfg --ensemble npt --temperature 300 600 --log thermo.csv
  mmtp md pot.0.mtp pot.1.mtp pot.2.mtp start.cfg --ensemble nvt --temperature 300 --log thermo.csv
  mmtp template md > md.toml; mmtp md --settings md.toml --checkpoint md.npz
  mmtp md --settings md.toml --checkpoint md.npz --resume --steps 20000
  mmtp md pot.mtp start.cfg --spins dynamics --timestep 0.25 --ensemble nvt --temperature 300
  mmtp md pot.mtp start.cfg --active-set active.npz --grade-break 10 --candidates met.cfg

Files that end in .mtp are potentials. With several there is a run for each, with numbers in the
names of all outputs (run.0.extxyz), and averages have two standard deviations over them; with
--committee mean there is one run on their mean energy. Moments start from those of the file: mmtp
equilibrate and relax have --start for others. Ctrl-C or SIGTERM ends the run; what was done is
written, and the exit status is 130 or 143. It is 1 where a replica stopped before the end. With
--resume the first run starts, and later ones go on: one script serves a job that is requeued.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "md",
        help="molecular dynamics with magnetic moments",
        description="Molecular dynamics at constant energy, temperature or pressure; the magnetic "
        "moments are equilibrated as the atoms move, or fixed, or precess (--spins dynamics).",
        epilog=_EPILOG,
    )
    add_resume(parser)
    declare(parser, MDSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args)[0]
    check_files = partial(_check_files, args.resume, inputs_of(settings, args))
    return run_simulation(settings, check_files, partial(_of_one, args.resume))


def _of_one(resume: bool, settings: MDSettings, member: Member) -> Found:
    from mmtp_jax.io.lock import locked

    # Also before older files are set aside, which may be those of a run that goes on.
    output = settings.output
    with locked(output.checkpoint), locked(output.trajectory), locked(output.log):
        return _run(settings, member, resume)


def _run(settings: MDSettings, member: Member, resume: bool) -> Found:
    import mmtp_jax as mmtp

    potential = member.potential
    atoms_list = read_start(settings.input, potential)
    dynamics, output = settings.dynamics, settings.output
    go_on = resume and Path(output.checkpoint).exists()
    every = max(1, dynamics.steps // SAMPLES)
    watched = Watched(settings.preselection, member.name, potential, go_on, every)

    def begins() -> None:
        print(
            f"{len(atoms_list)} {'replica' if len(atoms_list) == 1 else 'replicas'} of "
            f"{len(atoms_list[0])} atoms, {dynamics.ensemble}, {dynamics.steps} steps of "
            f"{dynamics.timestep_fs:g} fs; the program is compiled first, or loaded",
            flush=True,
        )
        if not go_on:
            console.say_kept(*_written(settings, len(atoms_list)))

    with DynamicsProgress(dynamics.steps) as progress:
        result = mmtp.md(
            potential,
            atoms_list,
            dynamics.steps,
            trajectory=output.trajectory,
            trajectory_every=output.trajectory_every,
            log=output.log,
            checkpoint=output.checkpoint,
            checkpoint_every=output.checkpoint_every,
            resume=resume,
            watch=watched.watch,
            keep=watched.keep,
            kept_files=watched.files,
            begins=begins,
            callback=progress,
            observe=None if watched.sampled is None else watched.sample,
            observe_every=watched.every,
            **_options(settings),
        )
    print(result)
    done = (result.n_steps - result.resumed_at) * result.system.positions[..., 0].size
    print(f"{result.seconds:.1f} s, {done / result.seconds:.3g} atoms x steps per second")
    _say_what_stopped(result, watched)
    watched.report()
    for path in _written(settings, len(atoms_list)):
        print(f"wrote {path}")
    if output.trajectory is not None and result.n_steps % output.trajectory_every:
        where = output.checkpoint or "no file; --checkpoint FILE would keep it"
        print(
            f"step {result.n_steps} is between two frames, {output.trajectory_every} steps apart; "
            f"it is in {where}"
        )
    figure = None
    if output.plot is not None:
        from mmtp_jax import plot
        from mmtp_jax.plot.style import save_figure

        figure = plot.dynamics(result)
        save_figure(output.plot, figure)
        print(f"wrote {output.plot}")
    status = console.INTERRUPTED if result.interrupted else int(not result.completed)
    averages = result.averages()
    replicas = [
        {
            "replica": r,
            COUNTS: result.n_steps >= result.n_wanted and not result.outcomes[r],
            "message": result.message_of(r),
            **{name: float(mean[r]) for name, (mean, _) in averages.items()},
            **{f"{name} error": float(error[r]) for name, (_, error) in averages.items()},
        }
        for r in range(len(atoms_list))
    ]
    content = {
        "ensemble": dynamics.ensemble,
        "timestep_fs": dynamics.timestep_fs,
        "n_steps": result.n_steps,
        "n_wanted": result.n_wanted,
        "n_atoms": result.system.n_atoms,
        "bath_K": None if result.bath_K is None else result.bath_K.tolist(),
        "message": result.message,
        "averaged_steps": result.averaged_steps,
        "averages": replicas,
        "grades": watched.content(),
    }
    return Found(status, content, figure=figure)


class DynamicsProgress:
    """Shows temperature, energy and pressure on the way: a bar, or a line every few seconds."""

    def __init__(self, n_steps: int, terminal: bool | None = None) -> None:
        self.n_steps = n_steps
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._next = 0.0

    def __enter__(self) -> DynamicsProgress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, steps: np.ndarray, rows: Series) -> None:
        """Take the newest rows."""
        import numpy as np

        step = int(steps[-1])
        numbers = (
            ("T", rows.temperature, ".0f", "K"),
            ("E", rows.energy, ".4f", "eV"),
            ("P", rows.pressure, ".2f", "GPa"),
            ("T of spins", rows.spin_temperature, ".0f", "K"),
        )
        text = ", ".join(
            f"{name} {' '.join(format(float(v), form) for v in values[-1][:4])} {unit}"
            for name, values, form, unit in numbers
            if not np.all(np.isnan(values[-1]))
        )
        if self.terminal:
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(
                    total=self.n_steps,
                    initial=step,
                    bar_format="{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}",
                    file=sys.stderr,
                )
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() >= self._next or step == self.n_steps:
            print(f"step {step:>7}/{self.n_steps}  {text}", flush=True)
            self._next = time.monotonic() + LOG_EVERY


def _say_what_stopped(result: MDResult, watched: Watched) -> None:
    from mmtp_jax.simulation.dynamics.integrate import Outcome

    for replica, outcome in enumerate(result.outcomes):
        if outcome == Outcome.WATCH:
            print(watched.stopped(f"replica {replica}", replica))


def _check_files(resume: bool, inputs: Sequence[str], settings: MDSettings) -> None:
    if resume and settings.output.checkpoint is None:
        raise ValueError("to resume a run, give the checkpoint that it wrote, --checkpoint FILE")
    output = settings.output
    if output.trajectory is not None:
        from mmtp_jax.io.trajectory import check_name

        check_name(output.trajectory)
    written = (
        output.trajectory,
        output.log,
        output.json,
        output.checkpoint,
        settings.preselection.candidates,
    )
    written = [path for path in written if path is not None]
    console.check_outputs(*written, plots=[output.plot])
    written += [output.plot] if output.plot is not None else []
    for path in written:
        console.check_distinct(path, inputs)


def _written(settings: MDSettings, n_replicas: int) -> list[str]:
    from mmtp_jax.interfaces.dynamics import trajectory_paths

    output = settings.output
    paths = [str(path) for path in trajectory_paths(output.trajectory, n_replicas)]
    return [*paths, *(path for path in (output.log, output.checkpoint) if path is not None)]


def _options(settings: MDSettings) -> dict[str, Any]:
    """What `mmtp_jax.md` takes of `DynamicsOptions`."""
    options = {
        **vars(settings.dynamics),
        **vars(settings.moments),
        **vars(settings.spins),
        **vars(settings.run),
    }
    del options["steps"]
    return {**options, "log_every": settings.output.log_every}
