"""Tables as text."""

from __future__ import annotations

import math
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


def with_error(mean: float, error: float | None = None, most: int = 6) -> str:
    """``mean +- error``, both to two digits of the error; without an error the mean alone.

    Args:
        mean: the number.
        error: of it; None, NaN or zero where there is none.
        most: decimals at most; an error that they do not show is none.

    Example:
        >>> with_error(11.52345, 0.0123)
        '11.523 +- 0.012'
    """
    if not math.isfinite(mean):
        return "-"
    if error is None or not math.isfinite(error) or error < 0.5 * 10.0**-most:
        return f"{mean:.{most}f}".rstrip("0").rstrip(".") if error == 0.0 else f"{mean:.6g}"
    decimals = min(most, 1 - math.floor(math.log10(error)))
    if decimals < 0:
        mean, error = round(mean, decimals), round(error, decimals)
    return f"{mean:.{max(decimals, 0)}f} +- {error:.{max(decimals, 0)}f}"


def some_of(n: int, most: int) -> list[int]:
    """Places of at most ``most`` of n rows, the first and the last among them.

    They are as far apart as each other where at least half as many can be.
    """
    even = (k for k in range(min(n, most), max(most // 2, 1), -1) if (n - 1) % (k - 1) == 0)
    most = next(even, most)
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
