"""What every fitting command does: run a fit, print how it went, and write what came of it."""

from __future__ import annotations

import csv
import time
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.fitting.fit import Fit
    from mmtp_jax.potential.potential import Potential


def run_fit(
    potential: Potential, training: list[Atoms], validation: list[Atoms], **options: Any
) -> Fit:
    """Fit with progress on the terminal, and print how it ended and the errors."""
    import mmtp_jax as mmtp
    from mmtp_jax.progress import FitProgress, legend

    print("fitting; the program is compiled first, which takes 10 s and more once", flush=True)
    start = time.monotonic()
    with FitProgress() as progress:
        if progress.terminal:
            print(f"  RMSE of the training set, {legend()}", flush=True)
        fit = mmtp.fit(potential, training, validation=validation, callback=progress, **options)
    seconds = time.monotonic() - start
    print(f"{fit.message}; {fit.n_iterations} steps, loss {fit.loss:.4e}, {seconds:.0f} s")
    print(fit.stages)
    print(f"{fit.fill:.0%} of the packed rows held neighbours, the rest was padding")
    print("covered by the potential:")
    print(console.describe_domain(fit.potential))
    print()
    print(fit.report)
    print()
    return fit


def write_active_set(path: str, fit: Fit, training: list[Atoms]) -> None:
    """Write the active set of a fit beside its potential; rows are those of atoms.

    So grades do not grow with the cell, and simulations may have more atoms than training cells.

    Args:
        path: of the potential.
        fit: not one that was interrupted, for who ends a fit waits for nothing more.
        training: what it was fitted to.
    """
    import mmtp_jax as mmtp
    from mmtp_jax.active.beside import path_beside
    from mmtp_jax.active.options import NEIGHBORHOOD

    if fit.interrupted:
        return
    active = mmtp.ActiveSet.from_configurations(
        fit.potential, training, mode=NEIGHBORHOOD, missing_moments="zero"
    )
    file = path_beside(path)
    console.say_kept(str(file))
    active.save(file)
    print(f"wrote {file}, {active}")


def report_content(fit: Fit, settings: dict[str, Any]) -> dict[str, Any]:
    """What the report of a fit holds."""
    return {
        "errors": fit.report.as_dict(),
        "fit": {
            "loss": fit.loss,
            "n_iterations": fit.n_iterations,
            "converged": fit.converged,
            "message": fit.message,
            "stages": fit.stages,
            "part": None if fit.part is None else fit.part.summary(),
        },
        "potential": potential_content(fit.potential),
        "settings": settings,
    }


def potential_content(potential: Potential) -> dict[str, Any]:
    """What reports say of a potential."""
    return {
        "species": list(potential.species),
        "level": potential.level,
        "n_parameters": potential.n_parameters,
        "radial_size": potential.radial_size,
        "magnetic_size": potential.magnetic_size,
        "form": potential.form,
        "parities": potential.parities,
        "non_magnetic": list(potential.non_magnetic),
        "noncollinear_terms": potential.noncollinear_terms,
        "min_dist": float(potential.min_dist),
        "cutoff": float(potential.cutoff),
        "min_magmom": [float(m) for m in potential.min_magmom],
        "max_magmom": [float(m) for m in potential.max_magmom],
    }


def write_history(path: str, fit: Fit) -> None:
    """Write the loss of each step, and the errors where they were evaluated, as CSV."""
    from mmtp_jax.io.atomic import atomic_write
    from mmtp_jax.progress import history_rows

    console.say_kept(path)
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(history_rows(fit))


def write_parity(
    path: str, potential: Potential, training: list[Atoms], validation: list[Atoms]
) -> None:
    """Draw labels against predictions of both sets."""
    from mmtp_jax import plot
    from mmtp_jax.cli.comparison import evaluated
    from mmtp_jax.plot.style import save_figure

    sets = {"training": training} | ({"validation": validation} if validation else {})
    compared = {name: evaluated(potential, {name: of}).whole[0] for name, of in sets.items()}
    save_figure(path, plot.parity_of(compared))


def print_labels(name: str, atoms_list: list[Atoms], potential: Potential) -> None:
    """Print what a set of configurations carries."""
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.io.labels import count_labels
    from mmtp_jax.structures.making import makings_of

    structures = structures_for(potential, atoms_list, vectors=True)
    makings = makings_of(structures, potential.species)
    lines = [str(count_labels(structures, atoms_list)), str(makings)]
    text = "\n".join(filter(None, lines))
    print(f"{name}:")
    print("  " + text.replace("\n", "\n  "), flush=True)
