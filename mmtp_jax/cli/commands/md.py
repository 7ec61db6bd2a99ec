"""``mmtp md``: molecular dynamics with moments that follow the atoms."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.md_settings import MDSettings, check
from mmtp_jax.cli.settings import add_options, build, merge, options_given, read_settings

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.simulation.dynamics.series import Series

LOG_EVERY = 5.0
"""Seconds between lines of progress."""

_EPILOG = """\
examples:
  mmtp md pot.mtp start.cfg --ensemble nvt --temperature 300 --steps 5000 -o run.extxyz
  mmtp md pot.mtp a.cfg b.cfg --ensemble npt --temperature 300 600 --log thermo.csv
  mmtp template md > md.toml; mmtp md --settings md.toml --checkpoint md.npz
  mmtp md --settings md.toml --checkpoint md.npz --resume --steps 20000

The first file that ends in .mtp is the potential. Ctrl-C ends the run; what was done is written,
and the exit status is 130. It is 1 where a replica stopped before the end.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "md",
        help="molecular dynamics with magnetic moments",
        description="Molecular dynamics at constant energy, temperature or pressure; the magnetic "
        "moments are equilibrated as the atoms move, or fixed.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="potential (.mtp) and start configurations"
    )
    parser.add_argument(
        "--settings", metavar="TOML", help="file with any of the settings; options here win"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, and add to the files"
    )
    add_options(parser, MDSettings, skip=frozenset({"input.potential", "input.start"}))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    in_file = read_settings(args.settings, MDSettings, "md") if args.settings else {}
    given = merge(in_file, options_given(args, MDSettings), _positional(args.files))
    settings = build(MDSettings, given)
    check(settings, given)
    console.check_species(settings.input.species)
    _check_files(settings, args)

    import mmtp_jax as mmtp

    potential = mmtp.load(settings.input.potential, species=settings.input.species)
    atoms_list = console.read_data(settings.input.start, potential.species)
    if settings.input.repeat is not None:
        atoms_list = [repeated(atoms, settings.input.repeat) for atoms in atoms_list]
    dynamics, output = settings.dynamics, settings.output
    print(
        f"{len(atoms_list)} {'replica' if len(atoms_list) == 1 else 'replicas'} of "
        f"{len(atoms_list[0])} atoms, {dynamics.ensemble}, {dynamics.steps} steps of "
        f"{dynamics.timestep_fs:g} fs; the program is compiled first",
        flush=True,
    )
    if not args.resume:
        for path in _written(settings, len(atoms_list)):
            note = console.keep_backup(path)
            if note:
                print(f"{path}:{note}")
    with Progress(dynamics.steps) as progress:
        result = mmtp.md(
            potential,
            atoms_list,
            dynamics.steps,
            trajectory=output.trajectory,
            trajectory_every=output.trajectory_every,
            log=output.log,
            checkpoint=output.checkpoint,
            checkpoint_every=output.checkpoint_every,
            resume=args.resume,
            callback=progress,
            **_options(settings),
        )
    print(result)
    speed = len(result.steps) * output.log_every * result.system.positions[..., 0].size
    print(f"{result.seconds:.1f} s, {speed / result.seconds:.3g} atoms x steps per second")
    for path in _written(settings, len(atoms_list)):
        print(f"wrote {path}")
    if result.interrupted:
        return console.INTERRUPTED
    return 0 if result.completed else 1


class Progress:
    """Shows temperature, energy and pressure on the way: a bar, or a line every few seconds."""

    def __init__(self, n_steps: int, terminal: bool | None = None) -> None:
        self.n_steps = n_steps
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._next = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, steps: np.ndarray, rows: Series) -> None:
        """Take the newest rows."""
        step = int(steps[-1])
        numbers = (
            ("T", rows.temperature, ".0f", "K"),
            ("E", rows.energy, ".4f", "eV"),
            ("P", rows.pressure, ".2f", "GPa"),
        )
        text = ", ".join(
            f"{name} {' '.join(format(float(v), form) for v in values[-1][:4])} {unit}"
            for name, values, form, unit in numbers
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


def _positional(files: list[str]) -> dict[str, dict[str, Any]]:
    potentials = [file for file in files if file.endswith(".mtp")]
    if len(potentials) > 1:
        raise ValueError(f"give one potential, got {' and '.join(potentials)}")
    given: dict[str, Any] = {}
    if potentials:
        given["potential"] = potentials[0]
    start = tuple(file for file in files if file not in potentials)
    if start:
        given["start"] = start
    return {"input": given}


def _check_files(settings: MDSettings, args: argparse.Namespace) -> None:
    if settings.input.potential is None or not settings.input.start:
        raise ValueError(
            "give a potential and a start, e.g. mmtp md pot.mtp start.cfg; the name of the "
            "potential must end in .mtp"
        )
    if args.resume and settings.output.checkpoint is None:
        raise ValueError("to resume a run, give the checkpoint that it wrote, --checkpoint FILE")
    output = settings.output
    written = [p for p in (output.trajectory, output.log, output.checkpoint) if p is not None]
    console.check_outputs(*written)
    if len({Path(path).resolve() for path in written}) < len(written):
        raise ValueError("two outputs have the same file name")
    inputs = [settings.input.potential, *settings.input.start]
    inputs += [args.settings] if args.settings else []
    for path in written:
        console.check_distinct(path, inputs)


def _written(settings: MDSettings, n_replicas: int) -> list[str]:
    from mmtp_jax.interfaces.dynamics import trajectory_paths

    output = settings.output
    paths = [str(path) for path in trajectory_paths(output.trajectory, n_replicas)]
    return [*paths, *(path for path in (output.log, output.checkpoint) if path is not None)]


def repeated(atoms: Atoms, repeat: tuple[int, ...]) -> Atoms:
    """A supercell with the moments of the cell; its results do not hold for it."""
    from mmtp_jax.interfaces.equilibration import moments_of_results

    moments = moments_of_results(atoms)
    copy = atoms.copy()
    if moments is not None:
        copy.set_initial_magnetic_moments(moments)
    return copy.repeat(repeat)


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
