"""``mmtp init``: write a potential that is yet to be fitted."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import add_options, options_given
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.fit_settings import FitSettings, new_potential
from mmtp_jax.cli.settings import build

_USED = frozenset({"potential.level", "potential.species", "potential.radial_size",
         "potential.magnetic_size", "potential.cutoff", "potential.form", "potential.pattern",
         "potential.non_magnetic", "potential.noncollinear_terms",
         "domain.min_dist", "domain.max_magmom", "fit.seed", "output.potential"})  # fmt: skip

_EPILOG = """\
example:
  mmtp init --level 12 --species Fe Al --magnetic-size 3 --max-magmom 3.0 0.3 -o start.mtp
  mmtp init --level 12 --species Fe Al --non-magnetic Al -o start.mtp

A fit finds its own intervals of distances and moments in the data. Those given here (by default
1.9 Angstrom and 3.5 mu_B) matter for `mmtp fit --keep-domain`.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "init",
        help="write an unfitted potential",
        description="Write an unfitted potential with random coefficients.",
        epilog=_EPILOG,
    )
    add_options(parser, FitSettings, _USED)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings = build(FitSettings, options_given(args, FitSettings))
    output = settings.output.potential
    console.check_outputs(output)
    potential = new_potential(settings.potential, settings.domain, settings.fit.seed)
    print("new potential:")
    print(console.describe(potential))
    print(f"wrote {console.save_potential(output, potential)}")
