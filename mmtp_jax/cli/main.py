"""Entry point of the command ``mmtp``: finds the subcommand and turns errors into one line.

Exit status: 0 done, 1 a check failed, 2 an error, foreseen or not, 130 ended by Ctrl-C,
143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mmtp_jax import __version__, interruption
from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import current_words
from mmtp_jax.cli.commands import (
    converge,
    convert,
    dos,
    elastic,
    eos,
    equilibrate,
    evaluate,
    exchange,
    expansion,
    fit,
    formation,
    grade,
    info,
    init,
    label,
    lammps,
    learn,
    magnons,
    md,
    montecarlo,
    phonons,
    plot,
    potentials,
    qha,
    quickstart,
    relax,
    sample,
    select,
    sqw,
    template,
)
from mmtp_jax.cli.settings import note
from mmtp_jax.io.compilation_cache import compilation_cache
from mmtp_jax.options import nearest

_COMMANDS = (
    quickstart,
    init,
    fit,
    evaluate,
    grade,
    select,
    equilibrate,
    relax,
    md,
    montecarlo,
    sample,
    elastic,
    eos,
    formation,
    phonons,
    qha,
    dos,
    sqw,
    expansion,
    exchange,
    magnons,
    learn,
    label,
    converge,
    lammps,
    convert,
    info,
    potentials,
    plot,
    template,
)

_LONGEST = 300
"""Letters shown of an error that nobody foresaw."""

_EPILOG = """\
start here:
  mmtp quickstart                 fit real DFT data of iron in about a minute
  mmtp potentials                 those that come with the program, to use by name
  mmtp fit --help                 options and an example; the same for every command

Compiled programs are kept in ~/.cache/mmtp_jax, at most 1 GB, so that the next run starts sooner;
--no-compilation-cache or MMTP_COMPILATION_CACHE=off does without, MMTP_COMPILATION_CACHE=FOLDER
keeps them there.

Ctrl-C ends a command after its running step: what was done is written, and the exit status is 130.
SIGTERM, which batch systems send before they kill, does the same with status 143. A second Ctrl-C
ends it at once.
"""


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of ``mmtp``, and those of its subcommands."""
    parser = console.Parser(
        prog="mmtp",
        description="Magnetic moment tensor potentials: fit, evaluate, select, convert, plot.",
        epilog=_EPILOG,
        formatter_class=console.HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mmtp_jax {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error (or set MMTP_DEBUG=1)"
    )
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile every program anew, and keep none for the next run",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    for command in commands.choices.values():
        # SUPPRESS: an absent option here must not undo `mmtp --debug fit`.
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
        command.add_argument(
            "--no-compilation-cache",
            action="store_true",
            default=argparse.SUPPRESS,
            help="compile every program anew",
        )
    return parser, commands.choices


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtp`` with the given arguments, by default those of the process."""
    with interruption.handled():
        status = _main(argv)
        # Also where it came too late to end anything earlier.
        ended = status == console.INTERRUPTED or interruption.take()
        return interruption.exit_status() if ended else status


def _main(argv: Sequence[str] | None) -> int:
    parser, commands = build_parser()
    words, said = current_words(sys.argv[1:] if argv is None else argv, commands)
    args, unknown = parser.parse_known_args(words)
    if unknown and (not hasattr(args, "files") or any(word.startswith("-") for word in unknown)):
        parser = commands[args.command]
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(parser, unknown)}")
    if unknown:
        # What follows an option is left over where files may be any number, also none.
        args.files += unknown
    name = f"mmtp {args.command}"
    debug = args.debug or os.environ.get("MMTP_DEBUG", "0") not in ("", "0")
    try:
        with console.messages(name):
            if not args.no_compilation_cache:
                compilation_cache()
            for text in said:
                note(text)
            return args.run(args) or 0
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print(f"{name}: interrupted", file=sys.stderr)
        return console.INTERRUPTED
    except BrokenPipeError:
        # `mmtp template fit | head`: the reader has what it wants. Python flushes stdout once
        # more at exit, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        print(f"{name}: error: {_sentence(error)}", file=sys.stderr)
        return 2


def _meant(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """What may have been meant by an unknown option."""
    known = {word for action in parser._actions for word in action.option_strings}
    for word in unknown:
        near = nearest(word.partition("=")[0], known) if word.startswith("--") else None
        if near is not None:
            return f"; did you mean {near}? ({parser.prog} --help lists all)"
    return f"; {parser.prog} --help lists all"


def _sentence(error: Exception) -> str:
    """What is said about an error; one that nobody foresaw is called so."""
    text = str(error)
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"there is no file {os.fspath(error.filename)!r}"
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, (str, Path)):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, (ValueError, OSError)) and not isinstance(error, UnicodeError) and text:
        return text
    kind = type(error).__name__
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        kind = f"the memory does not suffice; {kind}"
    words = " ".join(text.split())
    shown = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
    return (
        f"this should not happen ({kind}{': ' if shown else ''}{shown}); an input may be damaged, "
        "or this is a fault of mmtp; --debug shows where"
    )
