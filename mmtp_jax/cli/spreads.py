"""Numbers of the members of a committee as one: means, and two standard deviations.

What goes together are contents of JSON files and tables of one command, which has written them
with each member.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

LISTED = 24
"""Most rows of a table that is printed."""

SMALL = 1e-3
"""Numbers below are printed with a power of ten."""
COLUMNS = 4
"""Most numbers of a row that are printed; files have all."""

Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""Header and rows."""

MISSING = object()
"""In place of what has no mean."""
LEFT_OUT = object()
"""In place of a number of a member that does not count there."""

COUNTS = "counts"
"""Key that is false in what does not count, such as a configuration that was not relaxed; beside
lists it is a list as long as they are. Also a column of tables, 0 where a row does not count."""

NO_FIT = "no_fit"
"""Key with why a member as a whole does not count, in words; empty where it does."""

N_COUNTED = "n_counted"
"""Key with the number of members that count, where that are not all."""


def joined(contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One content with the means of numbers; ``two_sigma`` has twice their standard deviations.

    What is no number stays where all members agree, and is left out elsewhere, as are lists of
    different lengths. What does not count in a member (`COUNTS`) does not enter, and `N_COUNTED`
    says so.
    """
    mean, width = _joined(list(contents))
    return {**mean, "two_sigma": {} if width is MISSING else width}


def _joined(values: list[Any]) -> tuple[Any, Any]:
    """Mean and two standard deviations; `MISSING` where there are none."""
    values = [value for value in values if value is not LEFT_OUT]
    if not values:
        return None, MISSING
    first = values[0]
    if all(isinstance(v, dict) for v in values):
        return _joined_dicts(values)
    if all(isinstance(v, (list, tuple)) for v in values):
        if len({len(v) for v in values}) > 1:
            return MISSING, MISSING
        items = [_joined(list(of)) for of in zip(*values, strict=True)]
        if all(width is MISSING for _, width in items):
            agree = all(mean is not MISSING for mean, _ in items)
            return ([mean for mean, _ in items] if agree else MISSING), MISSING
        return tuple([None if of[k] is MISSING else of[k] for of in items] for k in (0, 1))
    if any(_is_number(v) for v in values) and all(_is_number(v) or v is None for v in values):
        # What is not a number in one member, as an error of a short run, has no mean over all.
        if not all(v is not None and math.isfinite(v) for v in values):
            return None, MISSING
        if len(values) == 1 or all(isinstance(v, int) and v == first for v in values):
            return first, MISSING
        return statistics.fmean(values), 2 * statistics.stdev(map(float, values))
    return (first if all(v == first for v in values) else MISSING), MISSING


def _joined_dicts(values: list[dict[str, Any]]) -> tuple[Any, Any]:
    counted = [value for value in values if value.get(COUNTS) is not False]
    left = {} if len(counted) == len(values) else {N_COUNTED: len(counted)}
    if not counted:
        # Nothing but what says which one it is.
        words = {k: v for k, v in values[0].items() if isinstance(v, str)}
        pairs = {k: _joined([v.get(k) for v in values]) for k in words}
        return {**_kept(pairs, 0), **left}, MISSING
    counted = [_with_gaps(value) for value in counted]
    keys = [k for k in counted[0] if all(k in v for v in counted) and k != COUNTS]
    pairs = {k: _joined([v[k] for v in counted]) for k in keys}
    return {**_kept(pairs, 0), **_counts_of(values), **left}, _kept(pairs, 1) or MISSING


def _with_gaps(content: dict[str, Any]) -> dict[str, Any]:
    """A content in whose lists those numbers are `LEFT_OUT` that do not count."""
    counts = content.get(COUNTS)
    if not isinstance(counts, (list, tuple)):
        return content
    return {
        key: [of if c else LEFT_OUT for of, c in zip(value, counts, strict=True)]
        if key != COUNTS
        and isinstance(value, (list, tuple))
        and len(value) == len(counts)
        and all(map(_is_number, value))
        else value
        for key, value in content.items()
    }


def _counts_of(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Of lists, in how many members each place counts, or as they are where that are all."""
    lists = [v[COUNTS] for v in values if isinstance(v.get(COUNTS), (list, tuple))]
    if len(lists) < len(values) or len({len(of) for of in lists}) > 1:
        return {}
    if all(of == lists[0] for of in lists):
        return {COUNTS: lists[0]}
    return {N_COUNTED: [sum(map(bool, of)) for of in zip(*lists, strict=True)]}


def _kept(pairs: dict[str, tuple[Any, Any]], which: int) -> dict[str, Any]:
    return {key: pair[which] for key, pair in pairs.items() if pair[which] is not MISSING}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def joined_table(tables: Sequence[Table], curves: bool = False) -> Table | None:
    """One table, with a column ``2 sigma of NAME`` for each whose numbers differ.

    None where members have different rows or columns. A column `COUNTS` becomes the number of
    members that count where it differs, and the others do not enter.

    Args:
        tables: of each member.
        curves: they are numbers over the first column, and go together at equal values of it, on
            one grid; rows of other tables go together in their order.
    """
    if curves:
        tables = _on_one_grid(tables)
    headers = [list(header) for header, _ in tables]
    rows = [[list(row) for row in rows] for _, rows in tables]
    if any(h != headers[0] for h in headers) or len({len(r) for r in rows}) > 1:
        return None
    together = list(zip(*rows, strict=True))
    counted, differ = together, False
    if COUNTS in headers[0]:
        at = headers[0].index(COUNTS)
        differ = any(row[at] != of[0][at] for of in together for row in of)
        counted = [[row for row in of if row[at]] if differ else of for of in together]
    header, columns = [], []
    for k, name in enumerate(headers[0]):
        cells = [[of[k] for of in row] for row in counted]
        if differ and name == COUNTS:
            header.append("members that count")
            columns.append([len(of) for of in counted])
        elif all(cell == of[0] for of in cells for cell in of) and all(cells):
            header.append(name)
            columns.append([of[0] for of in cells])
        elif all(not isinstance(cell, str) for of in cells for cell in of):
            numbers = [[math.nan if cell is None else float(cell) for cell in of] for of in cells]
            header += [name, f"2 sigma of {name}"]
            columns += [
                [statistics.fmean(of) if of else math.nan for of in numbers],
                [2 * statistics.stdev(of) if len(of) > 1 else math.nan for of in numbers],
            ]
        else:
            return None
    return header, list(zip(*columns, strict=True))


def _on_one_grid(tables: Sequence[Table]) -> list[Table]:
    import numpy as np

    from mmtp_jax.curves import on_one_grid

    columns = [np.array(rows, float).T for _, rows in tables]
    grid, values = on_one_grid([of[0] for of in columns], [of[1:] for of in columns])
    return [
        (header, np.vstack([grid, of]).T.tolist())
        for (header, _), of in zip(tables, values, strict=True)
    ]


def in_words(content: dict[str, Any], n: int) -> str:
    """The numbers of `joined` that differ, ``mean +- two sigma``, and small tables of them."""
    from mmtp_jax.tables import aligned

    widths = content["two_sigma"]
    rows, tables = [("quantity", "mean +- 2 sigma")], []
    for name, mean, width in _scalars(content, widths, ""):
        rows.append((name, _shown(mean, width)))
    for key, width in widths.items() if isinstance(widths, dict) else ():
        if isinstance(width, list) and any(isinstance(of, dict) for of in width):
            tables.append(_table(content[key], width, n))
    parts = [aligned(rows)] if len(rows) > 1 else []
    return "\n\n".join([f"mean +- 2 sigma over {n} potentials:", *parts, *tables])


def _shown(mean: float, width: float | None) -> str:
    """``mean +- width``; small numbers with a power of ten."""
    from mmtp_jax.tables import with_error

    if width is None or not 0.0 < abs(mean) < SMALL:
        return with_error(mean, width)
    power = math.floor(math.log10(abs(mean)))
    return f"({with_error(mean / 10.0**power, width / 10.0**power)})e{power}"


def _scalars(means: Any, widths: Any, prefix: str) -> list[tuple[str, float, float]]:
    found = []
    for key, width in widths.items() if isinstance(widths, dict) else ():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(width, dict):
            found += _scalars(means[key], width, f"{key}: ")
        elif isinstance(width, float) and math.isfinite(width) and width > 0:
            found.append((name, means[key], width))
    return found


def _table(means: list[Any], widths: list[Any], n: int) -> str:
    """Rows of numbers, where any member differs, behind what names them."""
    from mmtp_jax.tables import aligned

    spread = {key for of in widths if of for key, w in of.items() if isinstance(w, float)}
    shown = next(mean for mean, width in zip(means, widths, strict=True) if width)
    named = [k for k, v in shown.items() if k not in spread and isinstance(v, (str, int, float))]
    named = ["name"] if "name" in named else [k for k in named if k != N_COUNTED]
    keys = [k for k in shown if k in spread and not k.endswith("error")][:COLUMNS]
    lines = [tuple(key.replace("_", " ") for key in (*named, *keys))]
    left = []
    for mean, width in list(zip(means, widths, strict=True))[:LISTED]:
        numbers = [
            "-" if mean.get(k) is None else _shown(mean[k], (width or {}).get(k)) for k in keys
        ]
        lines.append((*(str(mean.get(k, "")) for k in named), *numbers))
        if mean.get(N_COUNTED, n) < n:
            name = " ".join(str(mean.get(k, "")) for k in named) or f"row {len(lines) - 1}"
            left.append(f"{name}: over {mean[N_COUNTED]} of {n} potentials that count")
    text = "\n".join([aligned(lines, left=(0,) if named else ()), *left])
    return text if len(means) <= LISTED else f"{text}\nand {len(means) - LISTED} more"
