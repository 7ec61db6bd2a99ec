"""``mmtp template`` and ``mmtp validate``: settings files, made and checked."""

from __future__ import annotations

import argparse
import json
from dataclasses import make_dataclass
from functools import partial
from importlib import import_module
from typing import Any

from mmtp_jax.cli.command_line import Declared, declared_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.settings import COMMAND_KEY, checked, head, read_toml, template
from mmtp_jax.io import documents
from mmtp_jax.io.fields import shown

ORACLES = {
    "abinit": "mmtp_jax.oracles.abinit.template",
    "vasp": "mmtp_jax.oracles.vasp.template",
}
"""Module with the ``TEMPLATE`` of each labeller that has a settings file."""

EXECUTOR = """\
# Settings of an executor: where 'mmtp label' and the fits of ensembles and folds run, with the
# option '--executor FILE', and the jobs of 'mmtp learn', with 'executor' in its section [oracle].
# A line '#key = value' shows the default, or an example where nothing is set by default.
# The file can run any program ('setup', 'options'): use only files that you trust.
"""


def add_parser(commands: Any) -> None:
    """Add both commands to those of ``mmtp``, which are there already."""
    declared = declared_of(commands.choices)
    names = (*declared, *ORACLES, "executor")
    make = add_command(
        commands,
        "template",
        help="print a commented settings file",
        description="Print a settings file with every key, its default and what it means.",
        epilog="examples:\n  mmtp template fit > fit.toml\n"
        "  mmtp template fit --schema > fit.schema.json",
    )
    make.add_argument(
        "name", choices=names, metavar="NAME", help=f"what they are for: {', '.join(names)}",
    )  # fmt: skip
    make.add_argument(
        "--schema",
        action="store_true",
        help="print a JSON schema in its place, by which editors check and complete the file",
    )
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
    """Print a template, or a schema."""
    if args.schema:
        _print_schema(args.name, declared)
    elif args.name in ORACLES:
        print(import_module(ORACLES[args.name]).TEMPLATE, end="")
    elif args.name == "executor":
        from mmtp_jax.interfaces.executors import SECTION, ExecutorSettings

        of = make_dataclass("File", [(SECTION, ExecutorSettings)], frozen=True)
        print(EXECUTOR + template(of), end="")
    else:
        of = declared[args.name]
        print(head(args.name, of.takes) + template(of.of), end="")


def _print_schema(name: str, declared: dict[str, Declared]) -> None:
    from mmtp_jax.cli.schema import code_schema, schema

    if name in declared:
        print(json.dumps(schema(declared[name].of, name), indent=2))
    elif name == "executor":
        from mmtp_jax.interfaces.executors import SECTION, ExecutorSettings

        of = make_dataclass("File", [(SECTION, ExecutorSettings)], frozen=True)
        print(json.dumps(schema(of), indent=2))
    else:
        from mmtp_jax.oracles.configure import class_of

        print(json.dumps(code_schema(name, class_of(name)), indent=2))


def run_validate(args: argparse.Namespace, declared: dict[str, Declared]) -> None:
    """Check a settings file."""
    content = documents.read_toml(args.file)
    # A file for a command may name another one with an executor.
    if "executor" in content and COMMAND_KEY not in content:
        from mmtp_jax.interfaces.executors import settings_of

        print(f"{args.file}: valid settings of the executor {settings_of(args.file).kind}")
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
