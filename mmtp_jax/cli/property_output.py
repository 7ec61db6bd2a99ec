"""Files of a property: tables as CSV, numbers as JSON, a figure as PDF and PNG, all of one name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (".pdf", ".png")


class PropertyFiles:
    """``PREFIX.json``, ``PREFIX.csv``, ``PREFIX_NAME.csv``, ``PREFIX.pdf`` and ``PREFIX.png``.

    Args:
        prefix: of all names, with or without folder.
        tables: names of the tables; the empty one has the prefix alone.
        inputs: files that must not be written over.

    Raises:
        ValueError: if the folder cannot be written to, or a file is an input.
    """

    def __init__(self, prefix: str, tables: Sequence[str], inputs: Sequence[str]) -> None:
        self.prefix = str(Path(prefix).with_suffix("")) if _has_suffix(prefix) else prefix
        self.content: dict[str, Any] = {}
        self.tables: dict[str, tuple[Sequence[str], list[Sequence[Any]]]] = {}
        self.curves: dict[str, bool] = {}
        self.drawn: Figure | None = None
        self.written: list[str] = []
        names = [self.path_of(name) for name in tables]
        paths = [f"{self.prefix}.json", *names, *(self.prefix + end for end in FIGURES)]
        console.check_outputs(*paths)
        for path in paths:
            console.check_distinct(path, inputs)

    def table(
        self,
        name: str,
        header: Sequence[str],
        rows: Iterable[Sequence[Any]],
        curves: bool = False,
    ) -> None:
        """Write a table.

        Args:
            name: behind the prefix.
            header: names of the columns.
            rows: words and numbers.
            curves: rows of several members go together by their first number, else in order.
        """
        self.tables[name] = (header, list(rows))
        self.curves[name] = curves
        write_csv(self.path_of(name), *self.tables[name])
        self.written.append(self.path_of(name))

    def json(self, content: dict[str, Any]) -> None:
        """Write the numbers."""
        self.content = content
        console.write_json(f"{self.prefix}.json", content)
        self.written.append(f"{self.prefix}.json")

    @contextmanager
    def extra(self, path: str) -> Iterator[str]:
        """Another file of this property: a name to write to, which becomes ``path`` at the end."""
        from mmtp_jax.io.atomic import atomic_write

        console.say_kept(path)
        with atomic_write(path) as temporary:
            yield str(temporary)
        self.written.append(path)

    def figure(self, figure: Figure) -> None:
        """Write the figure in both formats."""
        from mmtp_jax.plot.style import save_figure

        self.drawn = figure
        for end in FIGURES:
            save_figure(self.prefix + end, figure)
            self.written.append(self.prefix + end)

    def __str__(self) -> str:
        """What was written, in a line."""
        return f"wrote {', '.join(self.written)}"

    def numbered(self, k: int) -> str:
        """The prefix of the files of member k of a committee."""
        return f"{self.prefix}.{k}"

    def path_of(self, name: str) -> str:
        """The file of a table."""
        return f"{self.prefix}_{name}.csv" if name else f"{self.prefix}.csv"


def write_csv(path: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; one that was there is kept."""
    from mmtp_jax.io.atomic import atomic_write

    console.say_kept(path)
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _has_suffix(prefix: str) -> bool:
    return Path(prefix).suffix in (".json", ".csv", *FIGURES)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.8g}"
