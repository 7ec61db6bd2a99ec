"""``mmtp template`` and ``mmtp validate``: settings files, made and checked."""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module
from typing import Any

from mmtp_jax.cli.command_line import Declared, declared_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.settings import checked, read_toml, template
from mmtp_jax.io import documents
from mmtp_jax.io.fields import shown

ORACLES = {
    "abinit": "mmtp_jax.oracles.abinit.template",
    "vasp": "mmtp_jax.oracles.vasp.template",
}
"""Module with the ``TEMPLATE`` of each labeller that has a settings file."""

TEMPLATES = ORACLES | {"executor": "mmtp_jax.interfaces.executors"}
"""The same for all files that are not settings of a command."""


def add_parser(commands: Any) -> None:
    """Add both commands to those of ``mmtp``, which are there already."""
    declared = declared_of(commands.choices)
    make = add_command(
        commands,
        "template",
        help="print a commented settings file",
        description="Print a settings file with every key, its default and what it means.",
        epilog="example:\n  mmtp template fit > fit.toml",
    )
    make.add_argument(
        "name", choices=(*declared, *TEMPLATES), metavar="NAME",
        help=f"what the settings are for: {', '.join((*declared, *TEMPLATES))}",
    )  # fmt: skip
    make.set_defaults(run=partial(run_template, declared=declared))
    validate = add_command(
        commands,
        "validate",
        help="check a settings file",
        description="Check a settings file: unknown keys and values of a wrong type are errors.",
        epilog="example:\n  mmtp validate fit.toml",
    )
    validate.add_argument("file", metavar="TOML", help="settings file")
    validate.set_defaults(run=partial(run_validate, declared=declared))


def run_template(args: argparse.Namespace, declared: dict[str, Declared]) -> None:
    """Print a template."""
    if args.name in TEMPLATES:
        print(import_module(TEMPLATES[args.name]).TEMPLATE, end="")
        return
    print(template(declared[args.name].of, args.name), end="")


def run_validate(args: argparse.Namespace, declared: dict[str, Declared]) -> None:
    """Check a settings file."""
    content = documents.read_toml(args.file)
    if "executor" in content:
        from mmtp_jax.interfaces.executors import read_executor

        print(f"{args.file}: valid settings of the executor {read_executor(args.file).kind}")
        return
    if "code" in content:
        from mmtp_jax.oracles.configure import read_oracle

        oracle = read_oracle(args.file)
        print(f"{args.file}: valid settings of the labeller {type(oracle).__name__}")
        return
    command, content = read_toml(args.file)
    if command not in declared:
        raise ValueError(
            f"{args.file}: no command {shown(command)} takes a settings file; "
            f"known are {', '.join(declared)}"
        )
    values = checked(content, declared[command].of, args.file)
    try:
        declared[command].validated(values)
    except ValueError as error:
        raise ValueError(f"{args.file}: {error}") from error
    sections = [t for s in values.values() for t in (s if isinstance(s, list) else [s])]
    n_keys = sum(map(len, sections))
    print(f"{args.file}: valid settings of 'mmtp {command}', {n_keys} keys set")
