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


def joined(contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One content with the means of numbers; ``two_sigma`` has twice their standard deviations.

    What is no number stays where all members agree, and is left out elsewhere, as are lists of
    different lengths.
    """
    mean, width = _joined(list(contents))
    return {**mean, "two_sigma": width}


def _joined(values: list[Any]) -> tuple[Any, Any]:
    """Mean and two standard deviations; `MISSING` where there are none."""
    first = values[0]
    if all(isinstance(v, dict) for v in values):
        pairs = {k: _joined([v[k] for v in values]) for k in first if all(k in v for v in values)}
        return _kept(pairs, 0), _kept(pairs, 1) or MISSING
    if all(isinstance(v, (list, tuple)) for v in values):
        if len({len(v) for v in values}) > 1:
            return MISSING, MISSING
        items = [_joined(list(of)) for of in zip(*values, strict=True)]
        if all(width is MISSING for _, width in items):
            agree = all(mean is not MISSING for mean, _ in items)
            return ([mean for mean, _ in items] if agree else MISSING), MISSING
        return tuple([None if of[k] is MISSING else of[k] for of in items] for k in (0, 1))
    if any(_is_number(v) for v in values) and all(_is_number(v) or v is None for v in values):
        if None in values:
            return None, MISSING
        if all(isinstance(v, int) and v == first for v in values):
            return first, MISSING
        return statistics.fmean(values), 2 * statistics.stdev(map(float, values))
    return (first if all(v == first for v in values) else MISSING), MISSING


def _kept(pairs: dict[str, tuple[Any, Any]], which: int) -> dict[str, Any]:
    return {key: pair[which] for key, pair in pairs.items() if pair[which] is not MISSING}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def joined_table(tables: Sequence[Table]) -> Table | None:
    """One table, with a column ``2 sigma of NAME`` for each whose numbers differ.

    None where members have different rows or columns.
    """
    headers = [list(header) for header, _ in tables]
    rows = [[list(row) for row in rows] for _, rows in tables]
    if any(h != headers[0] for h in headers) or len({len(r) for r in rows}) > 1:
        return None
    header, columns = [], []
    for k, name in enumerate(headers[0]):
        cells = [[of[k] for of in together] for together in zip(*rows, strict=True)]
        if all(cell == of[0] for of in cells for cell in of):
            header.append(name)
            columns.append([of[0] for of in cells])
        elif all(not isinstance(cell, str) for of in cells for cell in of):
            numbers = [[float(cell) for cell in of] for of in cells]
            header += [name, f"2 sigma of {name}"]
            columns += [
                [statistics.fmean(of) for of in numbers],
                [2 * statistics.stdev(of) for of in numbers],
            ]
        else:
            return None
    return header, list(zip(*columns, strict=True))


def in_words(content: dict[str, Any], n: int) -> str:
    """The numbers of `joined` that differ, ``mean +- two sigma``, and small tables of them."""
    from mmtp_jax.tables import aligned

    widths = content["two_sigma"]
    rows, tables = [("quantity", "mean +- 2 sigma")], []
    for name, mean, width in _scalars(content, widths, ""):
        rows.append((name, _shown(mean, width)))
    for key, width in widths.items() if isinstance(widths, dict) else ():
        if isinstance(width, list) and any(isinstance(of, dict) for of in width):
            tables.append(_table(content[key], width))
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
        elif isinstance(width, float) and math.isfinite(width):
            found.append((name, means[key], width))
    return found


def _table(means: list[Any], widths: list[Any]) -> str:
    """Rows of numbers, where any member differs, behind what names them."""
    from mmtp_jax.tables import aligned

    spread = {key for of in widths if of for key, w in of.items() if isinstance(w, float)}
    named = [k for k, v in means[0].items() if k not in spread and isinstance(v, (str, int, float))]
    named = ["name"] if "name" in named else named
    keys = [k for k in means[0] if k in spread and not k.endswith("error")][:COLUMNS]
    lines = [tuple(key.replace("_", " ") for key in (*named, *keys))]
    for mean, width in list(zip(means, widths, strict=True))[:LISTED]:
        numbers = [_shown(mean[k], (width or {}).get(k)) for k in keys if mean[k] is not None]
        lines.append((*(str(mean.get(k, "")) for k in named), *numbers))
    if any(len(line) != len(lines[0]) for line in lines):
        return "rows differ in their columns; see the files"
    text = aligned(lines, left=(0,) if named else ())
    return text if len(means) <= LISTED else f"{text}\nand {len(means) - LISTED} more"
