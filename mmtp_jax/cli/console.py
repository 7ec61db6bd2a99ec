"""What the commands share: messages on the terminal, checks of output files, descriptions."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmtp_jax.io import documents
from mmtp_jax.io.compressed import suffixes
from mmtp_jax.io.fields import shown
from mmtp_jax.io.shipped import is_name
from mmtp_jax.language import speaking
from mmtp_jax.options import nearest

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential

INTERRUPTED = 130
"""What commands return that Ctrl-C or SIGTERM ended; the exit status says which of them."""

PLOT_SUFFIXES = (".png", ".pdf", ".svg")


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one sentence that names the option, below a line of usage."""

    def error(self, message: str) -> NoReturn:
        """Print it and end."""
        print(f"usage: {self.brief}", file=sys.stderr)
        self.exit(2, f"{self.prog}: error: {_WORDS.sub(_in_words, message)}\n")

    @property
    def brief(self) -> str:
        """The command and its arguments, without all options."""
        if self.usage is not None:
            return self.usage
        named = [
            action.metavar if isinstance(action.metavar, str) else action.dest
            for action in self._get_positional_actions()
        ]
        return " ".join([self.prog, *named, "[options]"])

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        near = nearest(str(value).lower(), map(str, action.choices))
        raise argparse.ArgumentError(
            action,
            f"must be one of {', '.join(map(str, action.choices))}, got {shown(value)}"
            + (f"; did you mean {near}?" if near else ""),
        )


_WORDS = re.compile(r"^argument (?:-\w/)?(\S+): (?:expected (at least one|\w+) arguments?)?")
"""How argparse begins to say which argument is wrong."""


def _in_words(found: re.Match[str]) -> str:
    name, count = found[1].split("/")[-1], found[2]
    if count is None:
        return f"{name} "
    return f"{name} takes {count} {'value' if count.endswith('one') else 'values'}"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions, and breaks none within the name of an option."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def add_command(
    commands: Any, name: str, *, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a subcommand whose epilog keeps its lines: first the examples, shown before options."""
    examples, _, rest = epilog.partition("\n\n")
    return commands.add_parser(
        name,
        help=help,
        description=f"{textwrap.fill(description, 79)}\n\n{examples}",
        epilog=rest,
        formatter_class=HelpFormatter,
    )


def add_resume(parser: argparse.ArgumentParser, always: str = "") -> None:
    """Add ``--resume``, which is harmless where there is nothing to go on from.

    Args:
        parser: of the command.
        always: what a command goes on from that does so also without the option.
    """
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"go on from {always}, if there is one; the command does so also without"
        if always
        else "go on from the checkpoint if there is one, and add to the files; else start",
    )


_written: set[str] = set()
"""Files that the running command has written or is about to."""


class _OneLine(logging.Handler):
    """Log records of the library as single lines on stderr, each text only once."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.INFO)
        self.command = name
        self.seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text in self.seen:
            return
        self.seen.add(text)
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"{self.command}: {kind}{text}", file=sys.stderr, flush=True)


@contextmanager
def messages(name: str) -> Iterator[None]:
    """A block in which warnings and log records are printed as lines of the command ``name``.

    They speak of options, those of commands that take a file only of its keys.
    """
    _written.clear()
    handler, kinds = _OneLine(name), set()
    logger = logging.getLogger("mmtp_jax")
    level = logger.level

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if getattr(message, "said_once", False):
            if type(message) in kinds:
                return
            kinds.add(type(message))
        handler.emit(logging.makeLogRecord({"msg": str(message), "levelno": logging.WARNING}))

    language = "toml" if name in ("mmtp learn", "mmtp validate") else "options"
    with warnings.catch_warnings(), speaking(language):
        warnings.showwarning = show
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def warn(text: str) -> None:
    """One line ``mmtp COMMAND: warning: text`` on stderr."""
    logging.getLogger("mmtp_jax.cli").warning("%s", text)


def check_outputs(
    *paths: str | None,
    plots: Sequence[str | None] = (),
    configurations: Sequence[str | None] = (),
) -> None:
    """Refuse files that cannot be written before the work, not after it.

    Raises:
        ValueError: if a folder does not exist, a path is a folder, two are one file, or figures or
            configurations would be of a kind that is not written.
    """
    for path in configurations:
        if path is not None and suffixes(path)[0] not in (".cfg", ".extxyz", ".xyz"):
            from mmtp_jax.io.formats import format_to_write

            format_to_write(path)
    for path in plots:
        if path is not None and Path(path).suffix.lower() not in PLOT_SUFFIXES:
            raise ValueError(
                f"cannot plot to {path}: its name must end in {_one_of(PLOT_SUFFIXES)}"
            )
    # Those of configurations may be among the others as well.
    places = [os.path.realpath(path) for path in (*paths, *plots) if path is not None]
    for path in (*paths, *configurations, *plots):
        if path is None:
            continue
        if places.count(os.path.realpath(path)) > 1:
            raise ValueError(f"two outputs would be written to {path}; give each its own name")
        if Path(path).is_dir():
            raise ValueError(f"cannot write {path}: it is a folder")
        folder = Path(path).parent
        if not folder.is_dir():
            raise ValueError(f"cannot write {path}: the folder {folder} does not exist")
        if not os.access(folder, os.W_OK):
            raise ValueError(f"cannot write {path}: the folder {folder} is not writable")


def same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether two paths, which need not exist, are one file."""
    return os.path.realpath(one) == os.path.realpath(other)


def check_distinct(output: str | None, inputs: Sequence[str]) -> None:
    """Refuse to write over an input, whose labels would be lost.

    Raises:
        ValueError: if ``output`` is one of ``inputs``.
    """
    # An input may be some configurations of a file, file@-1.
    files = (of for path in inputs for of in (path, path.rpartition("@")[0]) if of)
    if output is not None and any(same_file(output, path) for path in files):
        raise ValueError(f"{output} is an input; write to another file")


def keep_backup(path: str | os.PathLike) -> str:
    """Copy an existing file to its `backup_place`; what to say about it, or nothing."""
    path = Path(path)
    if not path.is_file():
        return ""
    from mmtp_jax.io.atomic import atomic_write, backup_place

    backup = backup_place(path)
    # Else it holds the same.
    if not backup.exists():
        with atomic_write(backup) as temporary:
            shutil.copy2(path, temporary)
    return f" (the file that was there before is kept as {backup})"


def say_kept(*paths: str | os.PathLike | None) -> None:
    """Keep what a command replaces by `keep_backup`, and print a line about each file.

    What it has written itself is not kept when it writes it again.
    """
    for path in paths:
        if path is None or os.path.realpath(path) in _written:
            continue
        _written.add(os.path.realpath(path))
        note = keep_backup(path)
        if note:
            print(f"{path}:{note}")


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write JSON below the version of the package, whole or not at all, and keep an older file."""
    from mmtp_jax import __version__

    say_kept(path)
    documents.write_json(path, _without_nan({"mmtp_jax": __version__, **content}))


def _without_nan(value: Any) -> Any:
    """JSON has no numbers that are none, or infinite; null stands for them."""
    if isinstance(value, dict):
        return {key: _without_nan(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_fitted(path: str, species: Sequence[str] | None) -> Potential:
    """Load a potential that is about to be evaluated, and warn of one that is yet to be fitted."""
    import mmtp_jax as mmtp

    potential = mmtp.load(path, species=species)
    if potential.unfitted:
        warn(
            f"{path} has not been fitted: it has the random coefficients of a new potential, so "
            "that no number of it means anything; mmtp fit fits it to labels"
        )
    return potential


def save_potential(path: str, potential: Potential, **options: Any) -> str:
    """Write a potential and keep a backup of an older file; returns what to say about it."""
    import mmtp_jax as mmtp

    note = keep_backup(path)
    mmtp.save(path, potential, **options)
    intervals = zip(potential.min_magmom, potential.max_magmom, strict=True)
    if len({(float(low), float(high)) for low, high in intervals}) > 1:
        note += (
            "\n  note: other programs refuse moment intervals per species; mmtp convert "
            "--common-interval writes one for all"
        )
    return f"{path}{note}"


def read_data(
    files: str | Sequence[str],
    species: Sequence[str] | None,
    reading: Any = None,
) -> list[Atoms]:
    """Configurations of files; `mmtp_jax.read` says which labels it reads under other names.

    Args:
        files: a file or several.
        species: chemical symbols of the types.
        reading: settings with some of `shared_settings.LabelReading`: how files are read.

    Raises:
        ValueError: if the files hold no configuration.
    """
    import mmtp_jax as mmtp

    files = [files] if isinstance(files, str) else list(files)
    options = {
        name: value
        for name in ("keys", "moments_at_equilibrium", "magnetic_gradient", "vectors")
        if (value := getattr(reading, name, None))
    }
    atoms_list = mmtp.read(files, species=species, **options)
    if not atoms_list:
        raise ValueError(f"no configurations in {', '.join(files)}")
    return atoms_list


def check_species(species: Sequence[str] | None) -> tuple[str, ...] | None:
    """The chemical symbols, if they are symbols.

    Raises:
        ValueError: if one is not, with the likely reason on a command line.
    """
    from ase.data import chemical_symbols

    for symbol in species or ():
        if symbol not in chemical_symbols[1:]:
            meant = symbol.capitalize()
            advice = (
                f"did you mean {meant}?"
                if meant in chemical_symbols[1:]
                else "--species takes all words up to the next option, so put files before it"
            )
            raise ValueError(f"{symbol!r} among the species is not a chemical symbol; {advice}")
    return None if species is None else tuple(species)


def is_potential(path: str, by_name: bool = False) -> bool:
    """Whether a file is a potential, by its name or, whatever its name, by its first line.

    So are the names of those that come with the program.
    """
    if Path(path).suffix.lower() in (".mtp", ".mmtp") or by_name:
        return Path(path).suffix.lower() in (".mtp", ".mmtp")
    if not Path(path).is_file():
        return is_name(path)
    with open(path, "rb") as file:
        return file.readline(100).strip() == b"MTP"


def describe(potential: Potential, domain: bool = True) -> str:
    """A few lines about a potential: form, intervals if ``domain``, and number of parameters."""
    level = "tables of its file" if potential.level is None else f"level {potential.level}"
    even = {
        "symmetrised": "[E(M) + E(-M)] / 2, even under reversal of all moments",
        "parity": f"E(M), even under reversal of all moments: radial functions "
        f"{' '.join(potential.parities)} (even, odd)",
        "bare": "bare E(M)",
    }[potential.form]
    sizes = potential.parameter_sizes
    more = ""
    if potential.noncollinear is not None:
        linear, radial = sizes["noncollinear"], sizes["noncollinear_radial"]
        n = potential.noncollinear_terms
        functions = f"{n} function{'' if n == 1 else 's'}"
        zero = "" if potential.noncollinear.coeffs.any() else ", the linear ones zero"
        more = (
            f", {linear + radial} of noncollinear terms\n  noncollinear terms, which vanish for "
            f"collinear moments: {functions}, {linear} linear and {radial} radial "
            f"parameters{zero}"
        )
    return "\n".join(
        (
            f"  {level}, species {' '.join(potential.species)}, "
            f"{potential.radial_size} radial x {potential.magnetic_size} magnetic functions",
            f"  energy: {even}",
            describe_domain(potential)
            if domain
            else f"  cutoff {float(potential.cutoff):.4g} Angstrom",
            f"  {potential.n_parameters} parameters: {sizes['moment_coeffs']} linear, "
            f"{sizes['radial_coeffs']} radial, {sizes['species_coeffs']} species "
            f"{'energy' if potential.n_species == 1 else 'energies'}{more}",
        )
    )


def describe_domain(potential: Potential) -> str:
    """A line or two about the distances and moments that a potential covers."""
    intervals = ", ".join(
        f"{symbol} {_interval(low, high)}"
        for symbol, low, high in zip(
            potential.species, potential.min_magmom, potential.max_magmom, strict=True
        )
        if symbol not in potential.non_magnetic
    )
    still = "".join(f", {symbol} non-magnetic" for symbol in potential.non_magnetic)
    inside = (
        f"  distances {float(potential.min_dist):.4g} to {float(potential.cutoff):.4g} Angstrom, "
        f"moments {intervals} mu_B{still}"
    )
    if potential.confinement is None:
        return inside
    return f"{inside}\n  confined to them: a repulsion below, an energy of larger moments"


def _interval(low: float, high: float) -> str:
    return f"+-{high:.4g}" if low == -high else f"{low:.4g} to {high:.4g}"


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
