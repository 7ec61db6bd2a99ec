"""``mmtp learn``: the loop of active learning."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.active.options import Choice, Keeping, LearnOptions, Loop, Thresholds
from mmtp_jax.cli import console
from mmtp_jax.cli.cells import repeated
from mmtp_jax.cli.command_line import Declared, add_options, options_given
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.fit_settings import first_potential
from mmtp_jax.cli.learn_settings import LearnSettings, Simulation, check
from mmtp_jax.cli.property_output import FIGURES
from mmtp_jax.cli.settings import merge, read_settings
from mmtp_jax.fitting.options import Domain, FitOptions, Method
from mmtp_jax.options import given_to
from mmtp_jax.oracles.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    import mmtp_jax as mmtp
    from mmtp_jax.active.learning_simulations import LearningSimulation
    from mmtp_jax.oracles.oracle import Oracle

_EPILOG = """\
examples:
  mmtp template learn > learn.toml      # then edit it
  mmtp validate learn.toml
  mmtp learn learn.toml                 # go on after an interruption: the same command

The folder of the loop holds each iteration in plain files, table.csv, selected.png and .pdf, and
the newest potential.mtp. Exit status: 0 converged, 1 not converged, 130 ended by Ctrl-C, 143 by
SIGTERM; the same command goes on.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "learn",
        help="let a potential choose its training set by active learning",
        description="Fit, simulate with preselection, select, label and fit again, until the "
        "simulations meet nothing new.",
        epilog=_EPILOG,
    )
    parser.add_argument("settings", metavar="TOML", help="settings file; options win over it")
    add_options(parser, LearnSettings, frozenset({"loop.folder", "loop.max_iterations"}))
    add_resume(parser, "the folder of the loop")
    parser.set_defaults(run=run, declared=Declared(LearnSettings, check, "FILE"))


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    given = options_given(args, LearnSettings)
    in_file = read_settings(args.settings, LearnSettings, "learn")
    given = merge(in_file, given)
    settings = args.declared.validated(given)
    console.check_species(settings.potential.species)
    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.executors import opened_executor

    potential = first_potential(settings.potential, Domain(), settings.fit.seed, given)
    species = tuple(potential.species)
    start = console.read_data(settings.data.files, species, settings.data)
    oracle = _oracle(settings, species)
    simulations = [simulation_of(s, potential) for s in settings.simulation]
    print("potential:")
    print(console.describe(potential, domain=False), flush=True)
    since = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - since:7.0f} s  {line}", flush=True)

    folder = Path(settings.loop.folder)
    with opened_executor(settings.oracle.executor) as executor:
        learned = mmtp.learn(
            potential,
            start,
            simulations,
            oracle,
            folder,
            _options(settings),
            executor=executor,
            callback=tell,
            missing_moments=settings.data.missing_moments,
        )
    print()
    print(learned)
    print()
    figures = [folder / f"selected{end}" for end in FIGURES]
    write_plots(figures, learned)
    for path in (folder / "potential.mtp", folder / "table.csv", *figures):
        print(f"wrote {path}")
    return 0 if learned.converged else 1


def write_plots(paths: Sequence[Path], learned: mmtp.results.Learned) -> None:
    """Draw what each iteration selected, and the errors of its fit."""
    from mmtp_jax import plot
    from mmtp_jax.plot.style import save_figure

    figure = plot.learning(learned.rows)
    for path in paths:
        save_figure(path, figure)


def _oracle(settings: LearnSettings, species: tuple[str, ...]) -> Oracle:
    import mmtp_jax as mmtp
    from mmtp_jax.oracles.configure import read_oracle

    if settings.oracle.file is not None:
        return read_oracle(settings.oracle.file)
    return mmtp.PotentialOracle(settings.oracle.potential, species)


def _options(settings: LearnSettings) -> LearnOptions:
    return LearnOptions(
        thresholds=Thresholds(**given_to(Thresholds, settings.preselection)),
        fit=FitOptions(
            **given_to(Method, settings.fit), weights=settings.weights, making=settings.data.making
        ),
        **given_to(Choice, settings.preselection),
        **given_to(Keeping, settings.preselection),
        **given_to(Loop, settings.loop),
        **given_to(JobOptions, settings.oracle),
    )


def simulation_of(of: Simulation, potential: mmtp.Potential) -> LearningSimulation:
    """The simulation of a section of the settings.

    Raises:
        ValueError: if a file cannot be read, or magmoms are not one per species.
    """
    import mmtp_jax as mmtp

    species = potential.species
    atoms_list = [_start(atoms, of) for atoms in console.read_data(of.start, species, of)]
    magmoms = None
    if of.magmoms is not None:
        if len(of.magmoms) not in (1, len(species)):
            raise ValueError(
                f"simulation {of.name!r}: magmoms has {len(of.magmoms)} numbers for the species "
                f"{' '.join(species)}; give one number, or one per species"
            )
        sizes = of.magmoms
        if len(sizes) == 1:
            # One number is that of all species that have moments.
            sizes = [sizes[0] if magnetic else 0.0 for magnetic in potential.magnetic]
        magmoms = dict(zip(species, sizes, strict=True))
    shared = {
        "states": of.states,
        "magmoms": magmoms,
        "seed": of.seed,
        "tolerance": of.tolerance,
        "allow_flips": of.allow_flips,
        "directions": of.directions,
    }
    if of.kind == "equilibrate":
        return mmtp.EquilibrationRun.of(of.name, atoms_list, species, **shared)
    return mmtp.DynamicsRun.of(
        of.name,
        atoms_list,
        species,
        of.steps,
        volumes=of.volumes,
        temperatures_K=of.temperatures_K,
        strain=of.strain,
        timestep_fs=of.timestep_fs,
        ensemble=of.ensemble,
        moments=of.moments,
        **shared,
    )


def _start(atoms: Atoms, of: Simulation) -> Atoms:
    """The cell, or a supercell with its moments; messages call it as before."""
    from mmtp_jax.io.schema import SOURCE

    copy = repeated(atoms, of.repeat)
    setattr(copy, SOURCE, getattr(atoms, SOURCE, of.name))
    return copy
