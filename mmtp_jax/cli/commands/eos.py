"""``mmtp eos`` and ``mmtp magnetisation``: energy, pressure and moments against volume."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, run_property
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import Crystal, prefix
from mmtp_jax.cli.spreads import NO_FIT
from mmtp_jax.language import listed
from mmtp_jax.options import (
    ANY_SEED,
    POSITIVE,
    STEPS,
    TEMPERATURE_K,
    Bounds,
    like,
    option,
    options,
)
from mmtp_jax.simulation.dynamics.options import Bath

_EOS = """\
examples:
  mmtp eos pot.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp eos pot.0.mtp pot.1.mtp pot.2.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp eos pot.mtp fe54.cfg --temperature 300 --steps 5000 -o fe300

At 0 K moments are equilibrated and positions relax at each volume, and the Birch-Murnaghan fit is
one to energies. At a temperature, replicas run at fixed volumes, and it is one to mean pressures.
Without a minimum between them, or with fewer than four whose state is kept, all but the fit is
written, and the exit status is 1.
Several potentials give mean and two standard deviations. Files: PREFIX.json, PREFIX.csv, PREFIX.pdf
and PREFIX.png, of each of several potentials PREFIX.0...
"""

_MAGNETISATION = """\
examples:
  mmtp magnetisation pot.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp magnetisation pot.0.mtp pot.1.mtp pot.2.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp magnetisation pot.mtp fepd.cfg --cell-atoms 4 --temperature 300 --range 0.96 1.03 -o fepd

Magnetisation and pressure over the lattice parameter (Burov 2026, Fig. 3). Moments keep their signs
unless --spins lets them flip. Where the volumes carry no fit, all is written but what is at zero
pressure, and the exit status is 1. Several potentials give mean and two standard deviations.
Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png, of each of several potentials PREFIX.0...
"""


@options
class EosSettings(Crystal):
    """Potential, crystal, volumes, and dynamics."""

    range: tuple[float, float] = option(
        "Factors of the lengths of the cell.", (0.97, 1.03), metavar="LOW HIGH", bounds=POSITIVE
    )
    n: int = option("Number of volumes.", 9, flag="-n", bounds=Bounds(least=4, most=1000))
    cell_atoms: float | None = option(
        "Atoms of the cubic cell whose length is the lattice parameter (bcc 2, fcc 4); those of "
        "the crystal if not given.",
        example=2.0, bounds=POSITIVE, metavar="N", aliases=("atoms_per_cell",),
    )  # fmt: skip
    shape: bool = option("At 0 K the shape relaxes, too.", False)
    temperature_K: float | None = option(
        "Of dynamics at fixed volumes, K; 0 K without dynamics if not given.",
        example=300.0, bounds=TEMPERATURE_K, metavar="K",
        aliases=("temperature", "temperatures", "temperatures_K"),
    )  # fmt: skip
    steps: int = option("Of dynamics.", 2000, bounds=STEPS, aliases=("n_steps",))
    timestep_fs: float = like(Bath, "timestep_fs", help="Of dynamics, fs.", metavar="FS")
    spins: str = option(
        "Monte Carlo of the signs within dynamics.", "none", choices=("none", "flip", "swap")
    )
    seed: int = option("Of dynamics.", 0, bounds=ANY_SEED)
    output: str = prefix("eos")


@options
class MagnetisationSettings(EosSettings):
    """Potential, crystal, volumes, and dynamics."""

    output: str = prefix("magnetisation")


def check(settings: EosSettings, given: Values) -> None:
    """Refuse factors that do not rise.

    Raises:
        ValueError: in words.
    """
    if not settings.range[0] < settings.range[1]:
        raise ValueError(f"--range takes two rising factors, got {listed(settings.range)}")


def add_parser(commands: Any) -> None:
    """Add both commands to those of ``mmtp``."""
    parser = add_command(
        commands,
        "eos",
        help="equation of state: energy and moments against volume",
        description="Energy, pressure and moments at several volumes, at 0 K or from dynamics, "
        "with a Birch-Murnaghan fit.",
        epilog=_EOS,
    )
    declare(parser, EosSettings, check)
    parser.set_defaults(run=partial(_run, which="eos"))
    parser = add_command(
        commands,
        "magnetisation",
        help="magnetisation and pressure against lattice parameter",
        description="Magnetisation and pressure at several lattice parameters, at 0 K or from "
        "dynamics.",
        epilog=_MAGNETISATION,
    )
    declare(parser, MagnetisationSettings, check)
    parser.set_defaults(run=partial(_run, which="magnetisation"))


def _run(args: argparse.Namespace, which: str) -> int:
    settings, _ = collect(args)
    one = partial(_of_one, settings, which)
    return run_property(settings, ("",), inputs_of(settings, args), one)


def _of_one(settings: EosSettings, which: str, member: Member, files: PropertyFiles) -> int:
    import numpy as np

    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.progress import CountProgress

    potential = member.potential
    atoms = read_start(settings, potential, member.name)[0]
    cell_atoms = settings.cell_atoms or len(atoms)
    options: dict[str, Any] = {"shape": settings.shape}
    total, what = settings.n, "volumes"
    if settings.temperature_K is not None:
        options = {
            "temperature_K": settings.temperature_K, "n_steps": settings.steps,
            "timestep_fs": settings.timestep_fs, "spins": settings.spins, "seed": settings.seed,
        }  # fmt: skip
        total, what = settings.steps, "steps"
    with CountProgress(total, what) as progress:
        found = mmtp.equation_of_state(
            potential, atoms, np.linspace(*settings.range, settings.n), callback=progress, **options
        )
    print(found.in_words(cell_atoms))
    for scale, message in zip(found.scales, found.messages, strict=True):
        if message:
            console.warn(f"at {scale:.4g} times the lengths, not in the fit: {message}")
    lattice = found.lattice_parameters(cell_atoms)
    files.table(
        "",
        [
            "lattice parameter (Angstrom)", "volume (Angstrom^3/atom)", "energy (eV/atom)",
            "pressure (GPa)", "mean |m| (mu_B)", "magnetisation (mu_B/atom)", "counts",
        ],
        zip(
            lattice, found.volumes, found.energies, found.pressures, found.moments,
            found.magnetisations, found.counts.astype(int), strict=True,
        ),
    )  # fmt: skip
    errors = {
        name: None if values is None else values.tolist()
        for name, values in (
            ("pressure_errors_GPa", found.pressure_errors),
            ("moment_errors", found.moment_errors),
        )
    }
    fit = found.fit
    at_minimum = {
        "lattice_parameter": fit and found.lattice_parameter(cell_atoms),
        "volume_per_atom": fit and fit.volume,
        "energy_per_atom": None if fit is None or np.isnan(fit.energy) else fit.energy,
        "bulk_modulus_GPa": fit and fit.bulk_modulus,
        "bulk_derivative": fit and fit.bulk_derivative,
        "moment": fit and found.moment,
        "fit_rms": fit and fit.rms,
        NO_FIT: found.no_fit,
    }
    files.json(
        {
            "potential": member.name,
            "data": settings.data,
            "temperature_K": found.temperature_K,
            **at_minimum,
            "lattice_parameters": lattice.tolist(),
            "volumes": found.volumes.tolist(),
            "energies": found.energies.tolist(),
            "pressures_GPa": found.pressures.tolist(),
            "moments": found.moments.tolist(),
            "magnetisations": found.magnetisations.tolist(),
            "counts": found.counts.tolist(),
            "messages": found.messages,
            **errors,
        }
    )
    files.figure(
        plot.eos(found, cell_atoms) if which == "eos" else plot.magnetisation(found, cell_atoms)
    )
    print(files)
    return int(fit is None)
