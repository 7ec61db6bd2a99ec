"""``mmtp template`` and ``mmtp validate``: settings files, made and checked."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from mmtp_jax.cli import (
    equilibrate_settings,
    fit_settings,
    learn_settings,
    md_settings,
    montecarlo_settings,
    relax_settings,
    sample_settings,
)
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.settings import build, checked, read_toml, template
from mmtp_jax.io import documents
from mmtp_jax.io.fields import shown

SETTINGS = {
    "fit": (fit_settings.FitSettings, fit_settings.check),
    "learn": (learn_settings.LearnSettings, learn_settings.check),
    "md": (md_settings.MDSettings, md_settings.check),
    "equilibrate": (equilibrate_settings.EquilibrateSettings, equilibrate_settings.check),
    "relax": (relax_settings.RelaxSettings, relax_settings.check),
    "mc": (montecarlo_settings.MonteCarloSettings, montecarlo_settings.check),
    "sample": (sample_settings.SampleSettings, sample_settings.check),
}
"""Class of the settings of each command that has a settings file, and what else is checked."""

ORACLES = {
    "abinit": "mmtp_jax.oracles.abinit.template",
    "vasp": "mmtp_jax.oracles.vasp.template",
}
"""Module with the ``TEMPLATE`` of each labeller that has a settings file."""

TEMPLATES = ORACLES | {"executor": "mmtp_jax.interfaces.executors"}
"""The same for all files that are not settings of a command."""


def add_parser(commands: Any) -> None:
    """Add both commands to those of ``mmtp``."""
    make = add_command(
        commands,
        "template",
        help="print a commented settings file",
        description="Print a settings file with every key, its default and what it means.",
        epilog="example:\n  mmtp template fit > fit.toml",
    )
    make.add_argument("name", choices=(*SETTINGS, *TEMPLATES), help="what the settings are for")
    make.set_defaults(run=run_template)
    validate = add_command(
        commands,
        "validate",
        help="check a settings file",
        description="Check a settings file: unknown keys and values of a wrong type are errors.",
        epilog="example:\n  mmtp validate fit.toml",
    )
    validate.add_argument("file", metavar="TOML", help="settings file")
    validate.set_defaults(run=run_validate)


def run_template(args: argparse.Namespace) -> None:
    """Print a template."""
    if args.name in TEMPLATES:
        print(import_module(TEMPLATES[args.name]).TEMPLATE, end="")
        return
    print(template(SETTINGS[args.name][0], args.name), end="")


def run_validate(args: argparse.Namespace) -> None:
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
    if command not in SETTINGS:
        raise ValueError(
            f"{args.file}: no command {shown(command)} takes a settings file; "
            f"known are {', '.join(SETTINGS)}"
        )
    settings_class, check = SETTINGS[command]
    values = checked(content, settings_class, args.file)
    try:
        check(build(settings_class, values), values)
    except ValueError as error:
        raise ValueError(f"{args.file}: {error}") from error
    sections = [t for s in values.values() for t in (s if isinstance(s, list) else [s])]
    n_keys = sum(map(len, sections))
    print(f"{args.file}: valid settings of 'mmtp {command}', {n_keys} keys set")
