"""``mmtp fit``: fit a potential to labelled configurations."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.fit_output import (
    print_labels,
    report_content,
    run_fit,
    write_active_set,
    write_history,
    write_parity,
)
from mmtp_jax.cli.fit_settings import Data, FitSettings, check, first_potential
from mmtp_jax.cli.settings import Values
from mmtp_jax.fitting.options import Method
from mmtp_jax.language import named
from mmtp_jax.options import given_to

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential

_EPILOG = """\
examples:
  mmtp fit train.cfg --level 12 --species Fe Al --magnetic-size 3 --validation 0.1 -o pot.mtp
  mmtp fit train.cfg --potential start.mtp --checkpoint fit.npz --report report.json
  mmtp fit train.cfg --level 12 --species Fe Al --ensemble 5 --validation 0.1
  mmtp fit train.cfg --level 12 --species Fe Al --folds 5
  mmtp fit train.cfg --level 12 --species Fe Al --scan magnetic-forces --plot scan.png
  mmtp template fit > fit.toml; mmtp fit --settings fit.toml --max-iterations 5000
  srun mmtp fit --settings fit.toml --distributed    # all GPUs of a job, also of several nodes

Put the files before options that take several words (--species, --max-magmom). Ctrl-C ends the
fit after the running step; the best potential so far is written and the exit status is 130. Of
several fits those that are done are kept.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "fit",
        help="fit a potential to labelled configurations",
        description="Fit a potential to energies, forces, stresses and magnetic forces.",
        epilog=_EPILOG,
    )
    declare(parser, FitSettings, check)
    add_resume(parser, "the checkpoint")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start afresh although the checkpoint exists; it is kept as FILE.bak, the next one as "
        "FILE.bak2",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="this is one of several processes that fit together, as srun or mpirun start them; "
        "elsewhere JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say which",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, given = collect(args)
    _check_files(settings, given, args)
    if args.distributed:
        from mmtp_jax.cli.distributed import joined

        with joined(settings) as own:
            return _fit(own, given, args.restart)
    return _fit(settings, given, args.restart)


def _fit(settings: FitSettings, given: Values, restart: bool) -> int:
    form, seed = settings.potential, settings.fit.seed
    potential = first_potential(form, settings.domain, seed, given)
    training, validation = _data(settings, potential)
    _check_domain(settings, potential)
    print("potential to fit:")
    print(console.describe(potential, domain=settings.domain.keep_domain), flush=True)
    if restart:
        from mmtp_jax.fitting import processes

        if processes.is_first():
            _start_afresh(settings)
        processes.wait()
    options = _options(settings)
    if settings.is_several:
        from mmtp_jax.cli.fit_several import run_several

        return run_several(settings, given, potential, training, validation, options)
    fit = run_fit(potential, training, validation, **options)
    output = settings.output
    # The potential first: nothing that fails after it may cost the fit.
    print(f"wrote {console.save_potential(output.potential, fit.potential)}")
    if output.active_set:
        write_active_set(output.potential, fit, training)
    if output.report is not None:
        console.write_json(output.report, report_content(fit, dataclasses.asdict(settings)))
        print(f"wrote {output.report}")
    if output.history is not None:
        write_history(output.history, fit)
        print(f"wrote {output.history}")
    if output.plot is not None:
        write_parity(output.plot, fit.potential, training, validation)
        print(f"wrote {output.plot}")
    return console.INTERRUPTED if fit.interrupted else 0


def _check_files(settings: FitSettings, given: Values, args: argparse.Namespace) -> None:
    data, output, start = settings.data, settings.output, settings.potential.start
    potentials = _potentials(settings, given)
    others = (output.report, output.history, output.scan_csv, settings.fit.checkpoint)
    console.check_outputs(*potentials, *others, plots=(output.plot,))
    inputs = [*data.files, *([data.validation] if isinstance(data.validation, str) else [])]
    inputs += [args.settings] if args.settings else []
    written = [path for path in (*potentials, *others, output.plot) if path is not None]
    for path in written:
        console.check_distinct(path, inputs)
    if start is not None:
        # Replacing the start potential must be said, not happen by default.
        said = "potential" in given.get("output", {})
        for path in written:
            if not (said and path == output.potential):
                console.check_distinct(path, [start])


def _potentials(settings: FitSettings, given: Values) -> list[str]:
    """The potentials that will be written."""
    output, n_members = settings.output.potential, settings.several.ensemble
    if settings.held_out_in_turn and "potential" not in given.get("output", {}):
        return []
    if n_members is None:
        return [output]
    from mmtp_jax.fitting.series import numbered

    return [output, *(str(numbered(output, k)) for k in range(n_members))]


def _options(settings: FitSettings) -> dict[str, Any]:
    """What `mmtp_jax.fit` and its relatives take."""
    return {
        **given_to(Method, settings.fit),
        **vars(settings.domain),
        "weights": settings.weights,
        "making": settings.data.making,
    }


def _start_afresh(settings: FitSettings) -> None:
    from mmtp_jax.cli.fit_several import checkpoints

    for path in checkpoints(settings):
        if Path(path).exists():
            print(f"starting afresh{console.keep_backup(path)}")
            Path(path).unlink()


def _data(settings: FitSettings, potential: Potential) -> tuple[list[Atoms], list[Atoms]]:
    import mmtp_jax as mmtp
    from mmtp_jax.fitting.dataset import require_labels
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.io.missing_moments import with_moments
    from mmtp_jax.structures.domain import no_neighbours

    data, species = settings.data, potential.species

    def labelled(files: str | Sequence[str]) -> list[Atoms]:
        found = console.read_data(files, species, data)
        if potential.magnetic_size == 1:
            return found
        return with_moments(found, data.missing_moments, non_magnetic=potential.non_magnetic)

    _check_declared(data)
    training = labelled(data.files)
    validation: list[Atoms] = []
    if isinstance(data.validation, float):
        kept, held_out = mmtp.split(len(training), data.validation, settings.fit.seed)
        training, validation = [training[k] for k in kept], [training[k] for k in held_out]
    elif data.validation is not None:
        validation = labelled(data.validation)
    structures = to_structures(training, species, vectors=True)
    lonely = no_neighbours(structures, float(potential.cutoff))
    if lonely is not None:
        raise ValueError(lonely)
    if settings.several.scan is None:
        require_labels(structures, settings.weights)
    print_labels("training set", training, potential)
    if validation:
        print_labels("validation set", validation, potential)
    return training, validation


def _check_declared(data: Data) -> None:
    """Refuse files at equilibrium that are not read: their labels would be missed in silence."""
    from mmtp_jax.io.at_equilibrium import ALL
    from mmtp_jax.io.reading import files_of

    named = [word for word in data.moments_at_equilibrium if word != ALL]
    held_out = [data.validation] if isinstance(data.validation, str) else []
    read = {path.resolve() for path in files_of([*data.files, *held_out])} if named else set()
    for path in files_of(named):
        if path.resolve() not in read:
            raise ValueError(
                f"{path}, whose moments are said to be at equilibrium, is none of the files with "
                "configurations; files that an option takes are not read as data, so give it "
                "there as well"
            )


def _check_domain(settings: FitSettings, potential: Potential) -> None:
    given = settings.domain.max_magmom
    if given is not None and len(given) not in (1, potential.n_species):
        raise ValueError(
            f"{named('max_magmom')} has {len(given)} numbers for the species "
            f"{' '.join(potential.species)}; give one number, or one per species"
        )
