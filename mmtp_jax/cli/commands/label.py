"""``mmtp label``: labels of configurations from a DFT code or a potential."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.commands.evaluate import add_reading_options
from mmtp_jax.cli.console import add_command

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.oracles.jobs import Jobs

_EPILOG = """\
examples:
  mmtp template abinit > abinit.toml          # then edit it
  mmtp validate abinit.toml
  mmtp label selected.cfg --oracle abinit.toml -o labelled.extxyz --workers 4
  mmtp label many.cfg --oracle abinit.toml -o labelled.cfg --executor executor.toml
  mmtp label hard.cfg --oracle abinit.toml -o labelled.cfg --jobs hard --timeout 7200

The moments of the configurations are the targets. Every job has a folder with its input, output,
labels or reasons; the same command goes on after an interruption and tries again what failed.
Exit status: 0 all are labelled, 1 some are not, 130 interrupted by Ctrl-C.
"""


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
    parser.add_argument("data", nargs="+", metavar="DATA", help="configurations with moments")
    parser.add_argument("--oracle", metavar="TOML", required=True, help="settings of the labeller")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="labelled ones, .cfg or .extxyz"
    )
    parser.add_argument("--failed", metavar="FILE", help="write the others to this file")
    parser.add_argument(
        "--jobs", metavar="DIR", help="folder of the jobs (default: the name of FILE with -jobs)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="jobs at once")
    parser.add_argument(
        "--executor",
        metavar="TOML",
        help="where jobs run: settings of executorlib or parsl, see 'mmtp template executor'; in "
        "place of --workers",
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wall time of one attempt")
    parser.add_argument(
        "--retries", type=int, default=1, metavar="N", help="further attempts (default 1)"
    )
    parser.add_argument(
        "--moment-tolerance", type=float, default=0.05, metavar="X",
        help="largest miss of a target moment, mu_B (default 0.05)",
    )  # fmt: skip
    add_reading_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console.check_outputs(args.output, args.failed)
    for path in (args.output, args.failed):
        console.check_distinct(path, [*args.data, args.oracle])

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.interfaces.executors import opened_executor
    from mmtp_jax.oracles.configure import read_oracle

    if args.executor is not None and args.workers != 1:
        raise ValueError("the executor has its own number of workers; leave out --workers")
    oracle = read_oracle(args.oracle)
    species = console.check_species(args.species)
    targets = [
        _target(atoms) for atoms in console.read_data(args.data, species, args.magnetic_gradient)
    ]
    output = Path(args.output)
    folder = Path(args.jobs) if args.jobs else output.with_name(f"{output.stem}-jobs")
    print(f"{len(targets)} configurations, jobs in {folder}", flush=True)
    with (
        CountProgress(len(targets), "configurations done") as progress,
        opened_executor(args.executor) as executor,
    ):
        jobs = mmtp.label_all(
            oracle,
            targets,
            folder,
            executor,
            retries=args.retries,
            timeout_s=args.timeout,
            moment_tolerance=args.moment_tolerance,
            workers=args.workers,
            callback=progress,
        )
    print(summary(jobs))
    if jobs.labelled:
        mmtp.write(output, _with_info(jobs, targets), species=species)
        print(f"wrote {output}")
    else:
        print(f"nothing is labelled, so {output} is not written")
    if args.failed and jobs.failures:
        mmtp.write(args.failed, [targets[k] for k in jobs.failures], species=species)
        print(f"wrote {args.failed}")
    return 1 if jobs.failures else 0


def summary(jobs: Jobs) -> str:
    """How many are labelled, and why the others are not."""
    new = len(jobs.labelled) - jobs.n_found
    seconds = sum(answer.provenance.seconds for answer in jobs.labelled)
    lines = [
        f"{len(jobs.labelled)} labelled ({new} now, {jobs.n_found} before), "
        f"{seconds:.0f} s of jobs; {len(jobs.failures)} failed"
    ]
    helped = Counter(
        str(answer.provenance.settings["attempt"])
        for answer in jobs.labelled
        if answer.provenance.settings.get("attempt", "default") != "default"
    )
    lines += [f"  {count} needed the attempt '{name}'" for name, count in helped.items()]
    lines += [f"  job-{k:05d}: {failure.reason}" for k, failure in jobs.failures.items()]
    return "\n".join(lines)


def _with_info(jobs: Jobs, targets: list[Atoms]) -> list[Atoms]:
    """The labelled configurations, with what was known of them and who has labelled them."""
    from mmtp_jax.oracles.oracle import Labelled

    found = []
    for answer, target in zip(jobs.answers, targets, strict=True):
        if isinstance(answer, Labelled):
            code = f"{answer.provenance.code} {answer.provenance.version}"
            answer.atoms.info = {**target.info, "labelled_by": code}
            found.append(answer.atoms)
    return found


def _target(atoms: Atoms) -> Atoms:
    """The configuration with its moments as targets, and no labels."""
    from mmtp_jax.interfaces.equilibration import moments_of_results

    moments = moments_of_results(atoms)
    copy = atoms.copy()
    copy.calc = None
    copy.arrays.pop("magnetic_forces", None)
    if moments is not None:
        copy.set_initial_magnetic_moments(moments)
    return copy
