"""``mmtp exchange``: exchange constants of a collinear state over distance."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, run_property
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.exchange_options import SpinSettings, check, found_by, head
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.options import options

_EPILOG = """\
examples:
  mmtp exchange pot.mtp fe.cfg -o fe
  mmtp exchange pot.0.mtp pot.1.mtp pot.2.mtp fe.cfg -o fe

The collinear moments of the file define the magnetic state: it is relaxed first, and must keep its
signs. J_ij are exact second derivatives of the energy by turns of two moments, of
E = -sum_(i != j) J_ij e_i.e_j with each pair in both orders; the crystal is infinite, and they end
at two cutoffs. Without spin-orbit coupling there are no others. Files: PREFIX.csv (shells),
PREFIX_pairs.csv (all pairs), PREFIX.json, PREFIX.pdf and PREFIX.png. Several potentials give mean
and two standard deviations, and the files of each, PREFIX.0... Where a potential was fitted to
collinear moments alone, J are extrapolated by the form, which report, figure and JSON file say.
"""


@options
class ExchangeSettings(SpinSettings):
    """Potential and crystal in a collinear state."""

    output: str = prefix("exchange")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "exchange",
        help="exchange constants between moments over distance",
        description="Exchange constants J_ij of a collinear magnetic state, and the critical "
        "temperature by mean field.",
        epilog=_EPILOG,
    )
    declare(parser, ExchangeSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    tables = ("", "pairs")
    return run_property(settings, tables, inputs_of(settings, args), partial(_of_one, settings))


def _of_one(settings: ExchangeSettings, member: Member, files: PropertyFiles) -> None:
    import mmtp_jax as mmtp
    from mmtp_jax import plot

    found = found_by(settings, member, mmtp.exchange)
    print(found)
    files.table(
        "",
        ["pair", "distance (Angstrom)", "neighbours", "J (meV)", "x (Angstrom)", "y (Angstrom)",
         "z (Angstrom)", "mean-field T_C of pairs so far (K)"],
        [
            ["-".join(s.pair), s.distance, s.neighbours, s.J, *s.vector,
             found.mean_field_of(s.distance + 0.01)]
            for s in found.shells
        ],
    )  # fmt: skip
    atoms, vectors = found.pairs
    files.table(
        "pairs",
        ["atom i", "atom j", "x (Angstrom)", "y (Angstrom)", "z (Angstrom)", "J (meV)"],
        [[i, j, *r, J] for (i, j), r, J in zip(atoms, vectors, found.J, strict=True)],
    )
    files.json(
        {
            **head(settings, member, found),
            "shells": [
                {
                    "name": f"{'-'.join(s.pair)} {k}",
                    "distance_A": s.distance,
                    "neighbours": s.neighbours,
                    "J_meV": s.J,
                    "vector_A": list(s.vector),
                }
                for k, s in enumerate(found.shells, 1)
            ],
        }
    )
    files.figure(plot.exchange(found))
    print(files)
