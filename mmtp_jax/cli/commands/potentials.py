"""``mmtp potentials``: those that come with the program, and their cards."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command
from mmtp_jax.io import shipped

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential

_EPILOG = """\
examples:
  mmtp potentials                     # a line or two about each
  mmtp potentials Fe                  # its card: data, errors, range, what it is not for
  mmtp md Fe start.cfg --ensemble nvt --temperature 300

All commands and mmtp.load take the name in place of a file. A file of that name in the working
folder, Fe or Fe.mtp, is read in its place, which is said. Names are spelled as they are listed.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "potentials",
        help="potentials that come with the program, to use by name",
        description="List the potentials that come with the program, or print the card of one: "
        "its data, its errors, its range, and what it must not be used for.",
        epilog=_EPILOG,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="print the card of this one")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.name is not None:
        if args.json:
            raise ValueError("--json is for the list; 'mmtp info NAME --json' prints one potential")
        print(shipped.card(args.name).read_text("utf-8").rstrip())
        return
    from mmtp_jax.io.mtp import load

    found = {name: load(shipped.FOLDER / f"{name}.mtp") for name in shipped.names()}
    if args.json:
        content = {name: _content(potential) for name, potential in found.items()}
        print(json.dumps(content, indent=2))
        return
    print("\n\n".join(_text(name, potential) for name, potential in found.items()))
    print("\nmmtp potentials NAME prints the card; mmtp md NAME start.cfg uses one.")


def _content(potential: Potential) -> dict[str, Any]:
    from mmtp_jax.cli.fit_output import potential_content

    record = potential.record
    return {
        "use": potential.tag, **potential_content(potential),
        "data": record["data"], "held_out": record["held_out"], "range": record["range"],
    }  # fmt: skip


def _text(name: str, potential: Potential) -> str:
    held_out = potential.record["held_out"]
    errors = ", ".join(
        f"{kind.replace('_', ' ')} {error}" for kind, error in held_out["rmse"].items()
    )
    return "\n".join((
        f"{name}: {potential.tag}",
        console.describe(potential),
        f"  errors of configurations that were not fitted to, {held_out['folds']} folds: {errors}",
    ))  # fmt: skip
