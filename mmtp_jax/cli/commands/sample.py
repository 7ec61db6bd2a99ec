"""``mmtp sample``: averages over disordered magnetic states at fixed geometry."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Found, Member, run_simulation
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.sample_settings import SampleSettings, check

_EPILOG = """\
examples:
  mmtp sample pot.mtp cell.cfg -n 100 --plot convergence.png
  mmtp sample pot.mtp crn.extxyz -n 50 --magnetic Cr --json average.json
  mmtp sample pot.0.mtp pot.1.mtp pot.2.mtp cell.cfg -n 50 --json average.json
  mmtp template sample > sample.toml; mmtp sample --settings sample.toml

Half of the magnetic moments of each species point up and half down, at random; the magnitudes of
the file are equilibrated for each state (Kotykhov 2025, Sec. III.B). Several potentials give mean
and two standard deviations, and the outputs of each with its number.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "sample",
        help="averages over disordered magnetic states",
        description="Average energy, forces and stress over random collinear states without net "
        "moment, at fixed positions: the paramagnetic state.",
        epilog=_EPILOG,
    )
    declare(parser, SampleSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args)[0]
    return run_simulation(settings, partial(_check_files, inputs_of(settings, args)), _of_one)


def _check_files(inputs: Sequence[str], settings: SampleSettings) -> None:
    output = settings.output
    console.check_outputs(output.json, plots=[output.plot])
    for path in (output.json, output.plot):
        console.check_distinct(path, inputs)


def _of_one(settings: SampleSettings, member: Member) -> Found:
    of, output = settings.states, settings.output

    import mmtp_jax as mmtp
    from mmtp_jax.progress import CountProgress
    from mmtp_jax.simulation.constants import GPA
    from mmtp_jax.tables import with_error

    potential = member.potential
    atoms = read_start(settings.input, potential, member.name)[0]
    if not 0 <= output.atom < len(atoms):
        raise ValueError(f"--atom must be between 0 and {len(atoms) - 1}, got {output.atom}")
    with CountProgress(of.n, "states") as progress:
        states = mmtp.sample_disorder(potential, atoms, **vars(of), callback=progress)
    n, error = len(atoms), states.error("forces")
    print(f"{len(states.energies)} states of {n} atoms, {int(states.magnetic.sum())} magnetic")
    if states.n_failed:
        print(f"{states.n_failed} more do not count: their moments could not be equilibrated")
    print(f"energy  {with_error(states.energy / n, states.energy_error / n)} eV/atom")
    force, of_force = states.forces[output.atom], error[output.atom]
    print(f"force on atom {output.atom}  {_with_errors(force, of_force)} eV/Angstrom")
    content = {
        "n_states": len(states.energies),
        "n_failed": states.n_failed,
        "energy": states.energy,
        "energy_error": states.energy_error,
        "forces": states.forces.tolist(),
        "forces_error": error.tolist(),
    }
    if states.all_stresses is not None:
        stress, of_stress = states.stress, states.error("stress")
        print(f"stress  {_with_errors(stress / GPA, of_stress / GPA)} GPa")
        content |= {"stress": stress.tolist(), "stress_error": of_stress.tolist()}
    print("+- is the standard error of the mean over the states")
    figure = None
    if output.plot is not None:
        from mmtp_jax import plot
        from mmtp_jax.plot.style import save_figure

        figure = plot.convergence(states, output.atom)
        save_figure(output.plot, figure)
        print(f"wrote {output.plot}")
    return Found(0, content, figure=figure)


def _with_errors(values: Any, errors: Any) -> str:
    from mmtp_jax.tables import with_error

    return "  ".join(with_error(*of, most=4) for of in zip(values, errors, strict=True))
