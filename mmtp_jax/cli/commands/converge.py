"""``mmtp converge``: what settings of a DFT code do to labels, varied one by one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import LabelReading, data, executor, missing_moments, prefix
from mmtp_jax.options import Bounds, given_to, option, options
from mmtp_jax.oracles.options import ConvergenceOptions

if TYPE_CHECKING:
    from ase import Atoms


_EPILOG = """\
examples:
  mmtp converge selected.cfg --oracle abinit.toml --dry-run      # what would run
  mmtp converge selected.cfg --oracle abinit.toml -o settings --workers 4
  mmtp converge selected.cfg --oracle abinit.toml --configurations 1 5 9 --strain 0.02
  mmtp converge selected.cfg --oracle abinit.toml --vary mesh ecut_Ha=16 smearing=cold
  mmtp converge selected.cfg --oracle abinit.toml --vary tolerance --check-derivatives

Every row changes one setting of TOML and says how labels change: energy differences between
configurations of one stoichiometry, forces, stress, stress differences between strains of one
state, dE/dm. What is beyond a bound has a star. Changes by better settings estimate the error of
those in TOML; the last row adds all of them up.
Files: PREFIX.json, PREFIX.csv, PREFIX_cells.csv, PREFIX.pdf and PREFIX.png. The same command goes
on after an interruption, and nothing is computed twice, also after the settings have changed.
Exit status: 0 all is within the bounds, 1 something is not or was not computed.
"""


@options
class ConvergeSettings(ConvergenceOptions, LabelReading):
    """Configurations, the labeller, what is varied, and bounds."""

    data: tuple[str, ...] = data("Configurations with moments.", "configurations")
    oracle: str | None = option(
        "Settings of the labeller; see 'mmtp template abinit'.",
        example="abinit.toml", required=True, needed=True, metavar="TOML",
    )  # fmt: skip
    number: int = option(
        "So many configurations are taken, chosen to differ.", 3, bounds=Bounds(least=1, most=1000)
    )
    configurations: tuple[int, ...] = option(
        "Take these, by their place among all, from 1, in place of a choice.",
        (), example=(1, 5, 9), bounds=Bounds(least=1), metavar="K",
    )  # fmt: skip
    output: str = prefix("converge")
    jobs: str | None = option(
        "Folder of the jobs; PREFIX-jobs if not given.", example="converge-jobs", metavar="DIR"
    )
    executor: str | None = executor("in place of workers")
    missing_moments: str = missing_moments()


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "converge",
        help="what cutoffs, k-points and other settings of a DFT code do to labels",
        description="Vary the settings of a DFT code one by one on a few configurations, and say "
        "what each does to the labels and what it costs.",
        epilog=_EPILOG,
    )
    declare(parser, ConvergeSettings)
    add_resume(parser, "the folder of the jobs")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would run; run and write nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, given = collect(args)
    files = PropertyFiles(settings.output, ("", "cells"), inputs_of(settings, args))

    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.interfaces.executors import opened_executor
    from mmtp_jax.oracles.configure import read_oracle
    from mmtp_jax.oracles.convergence import plan_convergence
    from mmtp_jax.oracles.convergence_results import CELL_HEADER, HEADER
    from mmtp_jax.oracles.oracle import refusals_of
    from mmtp_jax.progress import CountProgress

    if settings.executor is not None and "workers" in given[""]:
        raise ValueError("the executor has its own number of workers; leave out --workers")
    oracle = read_oracle(settings.oracle)
    targets = _targets(settings)
    folder = Path(settings.jobs or f"{files.prefix}-jobs")
    chosen = given_to(ConvergenceOptions, settings)
    plan = plan_convergence(oracle, targets, folder, **chosen)
    print(plan, flush=True)
    if args.dry_run:
        refused = refusals_of(oracle, plan.targets)
        print("\n".join(refused), end="\n" * bool(refused))
        print(f"dry run: jobs would be in {folder}; nothing was run or written")
        return 1 if refused else 0
    print(f"{plan.n_jobs} calculations, jobs in {folder}", flush=True)
    with (
        CountProgress(plan.n_jobs, "calculations done") as progress,
        opened_executor(settings.executor) as executor,
    ):
        found = mmtp.converge(oracle, targets, folder, executor, callback=progress, **chosen)
    print(found)
    for failure in found.failures:
        console.warn(failure)
    files.table("", HEADER, found.rows())
    files.table("cells", CELL_HEADER, found.cell_rows())
    files.json({"oracle": settings.oracle, "data": list(settings.data), **found.as_dict()})
    if found.changes:
        files.figure(plot.settings(found))
    print(files)
    return 0 if found.converged and not found.failures else 1


def _targets(settings: ConvergeSettings) -> list[Atoms]:
    """The configurations that are computed, told in lines."""
    from mmtp_jax.io.missing_moments import with_moments
    from mmtp_jax.oracles.choice import different
    from mmtp_jax.oracles.targets import target_of

    atoms_list = console.read_data(settings.data, settings.species, settings)
    targets = [target_of(atoms) for atoms in with_moments(atoms_list, settings.missing_moments)]
    places = [k - 1 for k in settings.configurations]
    if places and max(places) >= len(targets):
        raise ValueError(
            f"--configurations names {max(places) + 1}, and there are {len(targets)} configurations"
        )
    chosen = places or different(targets, settings.number)
    for k in chosen:
        label = targets[k].info.get("label")
        name = f"{k + 1}: {targets[k].get_chemical_formula()}" + (f", {label}" if label else "")
        targets[k].info["label"] = name
        print(f"configuration {name}")
    return [targets[k] for k in chosen]
