"""``mmtp label``: labels of configurations from a DFT code or a potential."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.shared_settings import (
    LabelReading,
    data,
    executor,
    file,
    missing_moments,
    output,
)
from mmtp_jax.io.atomic import backup_place
from mmtp_jax.io.compressed import with_word
from mmtp_jax.language import counted
from mmtp_jax.options import given_to, option, options
from mmtp_jax.oracles.options import JobOptions

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.oracles.jobs import Jobs

_SUSPECT = "suspect"
"""In the name of the file with labels that stand apart, and why, in the info of each."""

_EPILOG = """\
examples:
  mmtp template abinit > abinit.toml          # then edit it
  mmtp validate abinit.toml
  mmtp label selected.cfg --oracle abinit.toml -o labelled.extxyz --workers 4
  mmtp label many.cfg --oracle abinit.toml -o labelled.cfg --executor executor.toml
  mmtp label hard.cfg --oracle abinit.toml -o labelled.cfg --jobs hard --timeout 7200

The moments of the configurations are the targets. Every job has a folder with its input, output,
labels or reasons; the same command goes on after an interruption and tries again what failed.
Cells that are alike get one mesh of k-points: the table is printed first, and kept in DIR.
While the DFT code runs nothing is printed: look into the folders of the jobs.
Labels that stand apart from the others (energy, forces, stress, |dE/dm|, charges in spheres) may be
converged and wrong: they go to a file of their own, labelled.suspect.extxyz for labelled.extxyz.
Exit status: 0 all are labelled, 1 some are not or are suspect, 130 ended by Ctrl-C, 143 by SIGTERM;
in these cases the same command goes on.
"""


@options
class LabelSettings(JobOptions, LabelReading):
    """What is labelled, by whom, how jobs run, and what is written."""

    data: tuple[str, ...] = data("Configurations with moments.", "configurations")
    oracle: str | None = option(
        "Settings of the labeller; see 'mmtp template abinit'.",
        example="abinit.toml", required=True, needed=True, metavar="TOML",
    )  # fmt: skip
    output: str | None = output(
        "Labelled ones, .cfg or .extxyz.", "labelled.extxyz", required=True, needed=True
    )
    failed: str | None = file("Write the others to this file.", "failed.cfg")
    jobs: str | None = option(
        "Folder of the jobs; the name of the output with -jobs if not given.",
        example="labelled-jobs", metavar="DIR",
    )  # fmt: skip
    executor: str | None = executor("in place of workers")
    beside: tuple[str, ...] = option(
        "Labels of the same making that exist already; the new ones are held against them.",
        (), example=("train.extxyz",), metavar="DATA",
    )  # fmt: skip
    missing_moments: str = missing_moments()


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "label",
        help="label configurations by DFT at their own moments",
        description="Compute energy, forces, stress and magnetic forces of configurations at "
        "their own moments. What does not converge, or misses its moments, is left out.",
        epilog=_EPILOG,
    )
    declare(parser, LabelSettings)
    add_resume(parser, "the folder of the jobs")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be labelled, with which meshes of k-points; run and write nothing",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, given = collect(args)
    output = Path(settings.output)
    suspect_file = _suspect_file(output)
    console.check_outputs(configurations=(settings.output, settings.failed))
    for path in (settings.output, settings.failed, str(suspect_file)):
        console.check_distinct(path, inputs_of(settings, args))

    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.executors import opened_executor
    from mmtp_jax.io.missing_moments import with_moments
    from mmtp_jax.oracles.configure import read_oracle
    from mmtp_jax.oracles.meshes import plan_meshes
    from mmtp_jax.oracles.oracle import refusals_of
    from mmtp_jax.oracles.targets import target_of
    from mmtp_jax.progress import CountProgress

    if settings.executor is not None and "workers" in given[""]:
        raise ValueError("the executor has its own number of workers; leave out --workers")
    oracle = read_oracle(settings.oracle)
    species = settings.species
    atoms_list = console.read_data(settings.data, species, settings)
    targets = [target_of(atoms) for atoms in with_moments(atoms_list, settings.missing_moments)]
    beside = console.read_data(settings.beside, species) if settings.beside else []
    folder = Path(settings.jobs) if settings.jobs else output.with_name(f"{output.stem}-jobs")
    print(f"{counted(len(targets), 'configuration')}, jobs in {folder}", flush=True)
    plan = plan_meshes(oracle, targets, folder / "meshes.json", beside)
    if plan is not None:
        print(plan, flush=True)
    if args.dry_run:
        refused = refusals_of(oracle, targets)
        print("\n".join([*refused, _dry(settings, oracle, targets, folder)]))
        return 1 if refused else 0
    with (
        CountProgress(len(targets), "configurations done") as progress,
        opened_executor(settings.executor) as executor,
    ):
        jobs = mmtp.label_all(
            oracle,
            targets,
            folder,
            executor,
            beside=beside,
            callback=progress,
            **given_to(JobOptions, settings),
        )
    print(summary(jobs))
    labelled = _with_info(jobs, targets)
    if jobs.taken:
        console.say_kept(output)
        mmtp.write(output, [labelled[k] for k in jobs.taken], species=species)
        print(f"wrote {output}")
    else:
        why = "all labels stand apart" if jobs.suspect else "nothing is labelled"
        print(f"{why}, so {output} is not written")
    set_aside = [k for k in jobs.suspect if k not in jobs.taken]
    if set_aside:
        console.say_kept(suspect_file)
        mmtp.write(suspect_file, [labelled[k] for k in set_aside], species=species)
        print(f"wrote {suspect_file}; look at these, and take them with --accept-outliers")
    elif suspect_file.exists():
        # What it held is in the output now, or no longer asked for.
        suspect_file.replace(backup := backup_place(suspect_file))
        print(f"moved {suspect_file}, which is out of date, to {backup}")
    if settings.failed and jobs.failures:
        console.say_kept(settings.failed)
        mmtp.write(settings.failed, [targets[k] for k in jobs.failures], species=species)
        print(f"wrote {settings.failed}")
    return 1 if jobs.failures or set_aside else 0


def _dry(settings: LabelSettings, oracle: Any, targets: list[Atoms], folder: Path) -> str:
    """What would run, by composition; nothing does."""
    formulas = Counter(atoms.get_chemical_formula() for atoms in targets)
    kinds = ", ".join(f"{n} of {formula}" for formula, n in formulas.items())
    where = settings.executor or f"{settings.workers} at a time"
    there = sum(1 for _ in folder.glob("job-*")) if folder.is_dir() else 0
    return (
        f"dry run: {type(oracle).__name__} would label {kinds}; {where}, {there} folders of jobs "
        f"are there already; labels go to {settings.output}; nothing was run or written"
    )


def summary(jobs: Jobs) -> str:
    """How many are labelled, which of them stand apart, and why the others are not."""
    from mmtp_jax.oracles.oracle import Labelled

    labels = [answer for answer in jobs.answers if isinstance(answer, Labelled)]
    seconds = sum(answer.provenance.seconds for answer in labels)
    suspect = f"{len(jobs.suspect)} of them stand apart; " if jobs.suspect else ""
    lines = [
        f"{len(labels)} labelled ({len(labels) - jobs.n_found} now, {jobs.n_found} before), "
        f"{seconds:.0f} s of jobs; {suspect}{len(jobs.failures)} failed"
    ]
    helped = Counter(
        str(answer.provenance.settings["attempt"])
        for answer in labels
        if answer.provenance.settings.get("attempt", "default") != "default"
    )
    lines += [f"  {count} needed the attempt '{name}'" for name, count in helped.items()]
    lines += [f"  stands apart: {suspect}" for suspect in jobs.suspect.values()]
    lines += [f"  job-{k:05d}: {failure.reason}" for k, failure in jobs.failures.items()]
    return "\n".join(lines)


def _suspect_file(output: Path) -> Path:
    """``name.suspect.extxyz`` for ``name.extxyz``."""
    return with_word(output, _SUSPECT)


def _with_info(jobs: Jobs, targets: list[Atoms]) -> dict[int, Atoms]:
    """The labelled configurations, with what was known of them and who has labelled them."""
    from mmtp_jax.oracles.oracle import Labelled

    found = {}
    for k, (answer, target) in enumerate(zip(jobs.answers, targets, strict=True)):
        if isinstance(answer, Labelled):
            code = f"{answer.provenance.code} {answer.provenance.version}"
            # The stamp of its magnetic forces is the labelled one's own.
            answer.atoms.info = {**target.info, **answer.atoms.info, "labelled_by": code}
            # Targets may have been suspect labels.
            answer.atoms.info.pop(_SUSPECT, None)
            if k in jobs.suspect:
                answer.atoms.info[_SUSPECT] = "; ".join(jobs.suspect[k].reasons)
            found[k] = answer.atoms
    return found
