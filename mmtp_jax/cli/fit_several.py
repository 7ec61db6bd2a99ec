"""``mmtp fit`` with several fits: ensembles, cross-validation and the scan of a weight."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.fit_output import (
    potential_content,
    report_content,
    run_fit,
    write_active_set,
    write_parity,
)
from mmtp_jax.cli.fit_settings import FitSettings
from mmtp_jax.cli.settings import Values

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.fitting.cross_validation import CrossValidation
    from mmtp_jax.fitting.fit import Fit
    from mmtp_jax.fitting.progress import Progress
    from mmtp_jax.fitting.series import Task
    from mmtp_jax.potential.potential import Potential

DEFAULT_FOLDS = 5


def run_several(
    settings: FitSettings,
    given: Values,
    potential: Potential,
    training: list[Atoms],
    validation: list[Atoms],
    options: dict[str, Any],
) -> int:
    """Run what the section ``several`` asks for; returns the exit status."""
    from mmtp_jax.interfaces.executors import opened_executor

    with opened_executor(settings.several.executor) as executor:
        options = options | {"executor": executor}
        if settings.several.ensemble is not None:
            interrupted = _ensemble(settings, potential, training, validation, options)
        else:
            interrupted = _held_out(settings, given, potential, training, validation, options)
    return console.INTERRUPTED if interrupted else 0


def _held_out(
    settings: FitSettings,
    given: Values,
    potential: Potential,
    training: list[Atoms],
    validation: list[Atoms],
    options: dict[str, Any],
) -> bool:
    """A cross-validation or a scan; whether it was interrupted."""
    if settings.potential.start is not None:
        console.warn(
            f"where {settings.potential.start} was fitted to these data, it has seen what is "
            "held out, and the errors are too small"
        )
    if settings.several.scan is not None:
        return _scan(settings, potential, training, validation, options)
    final = "potential" in given.get("output", {})
    return _folds(settings, potential, training, validation, options, final)


def checkpoints(settings: FitSettings) -> list[Path]:
    """All checkpoints that the fits keep."""
    from mmtp_jax.fitting.series import numbered

    path, several = settings.fit.checkpoint, settings.several
    if path is None:
        return []
    if several.ensemble is not None:
        return [numbered(path, k) for k in range(several.ensemble)]
    folds = range(several.folds or DEFAULT_FOLDS)
    if several.scan is not None:
        of_values = [numbered(path, i) for i in range(len(several.scan_values))]
        return [numbered(of_value, k) for of_value in of_values for k in folds]
    if several.folds is not None:
        return [Path(path), *(numbered(path, k) for k in folds)]
    return [Path(path)]


def _ensemble(
    settings: FitSettings,
    potential: Potential,
    training: list[Atoms],
    validation: list[Atoms],
    options: dict[str, Any],
) -> bool:
    import mmtp_jax as mmtp
    from mmtp_jax.fitting.series import numbered
    from mmtp_jax.progress import SeriesProgress

    output, n, seed = settings.output, settings.several.ensemble, settings.fit.seed
    _announce(
        f"an ensemble of {n}: random coefficients of this form, seeds {seed} to {seed + n - 1}"
    )
    with SeriesProgress() as progress:

        def tell(task: Task, news: Progress | Fit) -> None:
            progress(task, news)
            if hasattr(news, "potential"):
                # At once: nothing that happens to a later member may cost this one.
                path = str(numbered(output.potential, task.index))
                print(f"wrote {console.save_potential(path, news.potential)}", flush=True)
                if output.active_set:
                    write_active_set(path, news, training)

        ensemble = mmtp.fit_ensemble(
            potential,
            training,
            n,
            validation=validation,
            seed=seed,
            parallel=settings.several.parallel,
            callback=tell,
            **options,
        )
    best = ensemble.fits[ensemble.best]
    for k in range(len(ensemble.fits), n):
        if (stale := numbered(output.potential, k)).exists():
            console.warn(f"{stale} is from an earlier run")
    _end(ensemble.interrupted, "members", len(ensemble.fits), n)
    print(f"covered by the potentials:\n{console.describe_domain(best.potential)}\n\n{ensemble}\n")
    by = "training" if best.validation_loss is None else "validation"
    name = numbered(output.potential, ensemble.best)
    print(f"{name} has the lowest loss of the {by} set")
    print(f"wrote {console.save_potential(output.potential, best.potential)}")
    if output.active_set:
        write_active_set(output.potential, best, training)
    _write_report(settings, best.potential, {"ensemble": ensemble.as_dict()})
    if output.plot is not None:
        write_parity(output.plot, best.potential, training, validation)
        print(f"wrote {output.plot}")
    return ensemble.interrupted


def _folds(
    settings: FitSettings,
    potential: Potential,
    training: list[Atoms],
    validation: list[Atoms],
    options: dict[str, Any],
    final: bool,
) -> bool:
    import mmtp_jax as mmtp
    from mmtp_jax.progress import SeriesProgress

    output, n = settings.output, settings.several.folds
    last = (
        f"then one fit to all data, for {output.potential}"
        if final
        else "no potential is written; give -o FILE for one, which is fitted to all data"
    )
    _announce(f"{n} folds, each of which is held out once; {last}")
    with SeriesProgress() as progress:
        folds = mmtp.cross_validate(
            potential, training, n, validation=validation or None, seed=settings.fit.seed,
            callback=progress, **options,
        )  # fmt: skip
    _end(folds.interrupted, "folds", len(folds.fits), n)
    print(f"\n{folds}\n")
    content: dict[str, Any] = {"cross_validation": folds.as_dict()}
    _write_report(settings, potential, content)
    if output.plot is not None:
        _write_held_out_parity(output.plot, folds, training)
        print(f"wrote {output.plot}")
    if folds.interrupted or not final:
        return folds.interrupted
    print("fit to all data")
    alone = {name: value for name, value in options.items() if name != "executor"}
    fit = run_fit(potential, training, validation, **alone)
    print(f"wrote {console.save_potential(output.potential, fit.potential)}")
    if output.active_set:
        write_active_set(output.potential, fit, training)
    of_fit = report_content(fit, {})
    _write_report(
        settings, fit.potential, content | {"final": {k: of_fit[k] for k in ("errors", "fit")}}
    )
    return fit.interrupted


def _scan(
    settings: FitSettings,
    potential: Potential,
    training: list[Atoms],
    validation: list[Atoms],
    options: dict[str, Any],
) -> bool:
    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.plot.style import save_figure
    from mmtp_jax.progress import SeriesProgress

    several, output = settings.several, settings.output
    values, n_folds = several.scan_values, several.folds or DEFAULT_FOLDS
    _announce(
        f"{len(values)} weights of {several.scan.replace('-', ' ')} times {n_folds} folds, "
        f"{len(values) * n_folds} fits; no potential is written"
    )
    with SeriesProgress() as progress:
        scan = mmtp.scan_weights(
            potential,
            training,
            several.scan.replace("-", "_"),
            values,
            n_folds,
            validation=validation or None,
            seed=settings.fit.seed,
            callback=progress,
            **options,
        )
    _end(scan.interrupted, "weights", len(scan.values), len(values))
    print(f"\n{scan}\n")
    _write_report(settings, potential, {"scan": scan.as_dict()})
    if output.scan_csv is not None:
        _write_csv(output.scan_csv, scan.rows())
        print(f"wrote {output.scan_csv}")
    if output.plot is not None:
        save_figure(output.plot, plot.scan(scan))
        print(f"wrote {output.plot}")
    return scan.interrupted


def _announce(what: str) -> None:
    from mmtp_jax.progress import legend

    print(what)
    print("the program is compiled first, once for all, which takes 10 s and more the first time")
    print(f"  {legend()}", flush=True)


def _end(interrupted: bool, what: str, done: int, n: int) -> None:
    if interrupted:
        print(f"stopped by the user; {done} of {n} {what} are kept")


def _write_report(settings: FitSettings, potential: Potential, content: dict[str, Any]) -> None:
    path = settings.output.report
    if path is None:
        return
    console.write_json(
        path,
        {
            **content,
            "potential": potential_content(potential),
            "settings": dataclasses.asdict(settings),
        },
    )
    print(f"wrote {path}")


def _write_held_out_parity(path: str, folds: CrossValidation, atoms_list: list[Atoms]) -> None:
    """Labels against predictions of each configuration by the fold that has not seen it."""
    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.fitting.report import comparison
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.plot.style import save_figure

    labelled, results = [], []
    for held_out, fit in zip(folds.held_out, folds.fits, strict=True):
        part = [atoms_list[k] for k in held_out]
        results += mmtp.evaluate(fit.potential, part)
        labelled += structures_for(fit.potential, part, vectors=True)
    save_figure(path, plot.parity_of({"held out": comparison(labelled, results)}))


def _write_csv(path: str, rows: Sequence[Sequence[str]]) -> None:
    from mmtp_jax.io.atomic import atomic_write

    console.say_kept(path)
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
