"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,), rule: bool = True) -> str:
    """A table whose first row is a header, with a rule below it.

    Args:
        rows: cells; those like ``mean +- width`` have their signs below each other.
        left: columns whose cells start at the left.
        rule: draw it.

    Example:
        >>> print(aligned([("quantity", "value"), ("energy", "1.0")]))
        quantity  value
        --------  -----
        energy      1.0
    """
    columns = [_lined_up(column) for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    padded = [
        [cell.ljust(width) if place in left else cell.rjust(width) for cell in column]
        for place, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    lines = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    if rule:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def some_of(n: int, most: int) -> list[int]:
    """Places of at most ``most`` of n rows, spread evenly, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


def _lined_up(cells: Sequence[str]) -> list[str]:
    """Cells ``mean +- width`` with their signs below each other."""
    parts = [cell.partition(" +- ") for cell in cells]
    left = max((len(mean) for mean, sign, _ in parts if sign), default=0)
    right = max((len(width) for _, sign, width in parts if sign), default=0)
    return [
        f"{mean.rjust(left)}{sign}{width.ljust(right)}" if sign else mean
        for mean, sign, width in parts
    ]
