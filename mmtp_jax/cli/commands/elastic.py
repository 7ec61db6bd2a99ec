"""``mmtp elastic``: elastic constants of a magnetic state, or of the paramagnetic one."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, run_property
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import Crystal, prefix
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.options import POSITIVE, option, options
from mmtp_jax.properties.options import States

_EPILOG = """\
examples:
  mmtp elastic pot.mtp fe.cfg -o fe
  mmtp elastic pot.0.mtp pot.1.mtp pot.2.mtp fe.cfg -o fe
  mmtp elastic pot.mtp crn_supercell.extxyz --states 50 --magnetic Cr -o paramagnetic

The state is relaxed, then the energy is differentiated twice by the strain, with moments and
positions that follow (Kotykhov 2025, Table II). With --states, second derivatives are averaged over
disordered states of an ideal supercell. Several potentials give mean and two standard deviations
over those with which the crystal is stable; --committee mean takes their mean energy.
Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png, of each of several potentials PREFIX.0...
The exit status is 1 if the crystal is elastically unstable.
"""


@options
class ElasticSettings(States, Crystal):
    """Potential, crystal, and magnetic states."""

    relax: bool = option(
        "The state is relaxed first.", True, off_help="Take the configuration as it is."
    )
    max_stress_GPa: float = option(
        "Largest stress that is neglected.", 0.1, bounds=POSITIVE, metavar="GPA"
    )
    output: str = prefix("elastic")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "elastic",
        help="elastic constants in a magnetic state",
        description="Elastic constants by exact second derivatives, with moments and positions "
        "that follow the strain; stability and averages of a polycrystal.",
        epilog=_EPILOG,
    )
    declare(parser, ElasticSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    return run_property(settings, ("",), inputs_of(settings, args), partial(_of_one, settings))


def _of_one(settings: ElasticSettings, member: Member, files: PropertyFiles) -> int:
    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.progress import CountProgress
    from mmtp_jax.properties.elastic_results import AXES

    potential = member.potential
    atoms = read_start(settings, potential, member.name)[0]
    options = {"relax": settings.relax, "max_stress_GPa": settings.max_stress_GPa}
    if settings.states:
        with CountProgress(settings.states, "states") as progress:
            found = mmtp.elastic_constants(
                potential, atoms, states=settings.states, magnetic=settings.magnetic,
                seed=settings.seed, callback=progress, **options,
            )  # fmt: skip
    else:
        found = mmtp.elastic_constants(potential, atoms, **options)
    print(found)
    c11, c12, c44 = found.cubic
    print(f"averaged over the axes: C11 {c11:.1f}, C12 {c12:.1f}, C44 {c44:.1f} GPa")
    if settings.states:
        largest = found.error.max()
        print(f"{found.n_states} states, largest standard error {largest:.2g} GPa")
        if found.n_failed:
            print(f"{found.n_failed} more do not count: their moments are at no minimum")
    kinds = {
        "constants": found.constants,
        "clamped_moments": found.clamped_moments,
        "clamped_ions": found.clamped_ions,
        **({"error": found.error} if found.error is not None else {}),
    }
    files.table(
        "",
        ["kind (GPa)", "row", *AXES],
        [[kind, AXES[k], *c[k]] for kind, c in kinds.items() for k in range(6)],
    )
    averages = found.averages
    files.json(
        {
            "potential": member.name,
            "data": settings.data,
            "order": AXES,
            **{f"{kind}_GPa": c.tolist() for kind, c in kinds.items()},
            "cubic_GPa": {"C11": c11, "C12": c12, "C44": c44},
            "is_stable": found.is_stable,
            COUNTS: found.is_stable,
            "message": ""
            if found.is_stable
            else f"elastically unstable, lowest eigenvalue {found.lowest:.1f} GPa",
            "lowest_eigenvalue_GPa": found.lowest,
            "averages": {
                **{f"{name}_GPa": value for name, value in vars(averages).items()},
                "young_GPa": averages.young,
                "poisson": averages.poisson,
                "anisotropy": averages.anisotropy,
            },
            "stress_GPa": found.stress.tolist(),
            "volume_per_atom": found.volume,
            "magmoms": found.magmoms.tolist(),
            "n_states": found.n_states,
            "n_failed": found.n_failed,
            "note": found.note,
        }
    )
    files.figure(plot.elastic(found))
    print(files)
    return 0 if found.is_stable else 1
