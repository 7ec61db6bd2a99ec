"""The time series that ``mmtp md --log`` writes, read back by the names of its columns."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def read_series(
    path: str | Path, names: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Columns (t, R) of a log, t rows of each of R replicas, by name without unit.

    Args:
        path: the file, CSV.
        names: the columns that are wanted, e.g. ``("temperature", "volume")``.
        optional: those that a log need not have; they are NaN then.

    Raises:
        ValueError: if a column is missing, there are no rows, or not as many of each replica.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = [name.split(" (")[0] for name in next(reader, [])]
        absent = [name for name in optional if name not in header]
        names = tuple(name for name in (*names, *optional) if name not in absent)
        missing = sorted({"replica", *names} - set(header))
        if missing:
            raise ValueError(
                f"{path}: no column {missing[0]!r}; is it a log of 'mmtp md --log' of this version?"
            )
        places = [header.index(name) for name in ("replica", *names)]
        rows = [
            [float(row[k] or "nan") for k in places] for row in reader if len(row) > max(places)
        ]
    if not rows:
        raise ValueError(f"{path}: no rows")
    columns = np.array(rows).T
    n_replicas = int(columns[0].max()) + 1
    # A run that is still going on may have written a part of its last step.
    n_whole = columns.shape[1] // n_replicas * n_replicas
    found = {
        name: column[:n_whole].reshape(-1, n_replicas)
        for name, column in zip(names, columns[1:], strict=True)
    }
    return found | {name: np.full((n_whole // n_replicas, n_replicas), np.nan) for name in absent}
