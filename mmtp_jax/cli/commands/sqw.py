"""``mmtp sqw``: dynamical structure factor of the moments of a trajectory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import file, prefix
from mmtp_jax.language import argument
from mmtp_jax.options import POSITIVE, Bounds, option, options

if TYPE_CHECKING:
    from mmtp_jax.properties.adiabatic import Line
    from mmtp_jax.properties.structure_factor_results import SpinStructureFactor

_EPILOG = """\
examples:
  mmtp sqw run.extxyz --path GHNG -o fe10
  mmtp sqw run.extxyz --path GHNG --magnons magnons.json -o fe10
  mmtp sqw run.0.extxyz run.1.extxyz --resolution 4 --q 0.25,0,0 0.5,0,0 -o fe10

Magnons from dynamics: S(q, omega) of the frames that `mmtp md --spins dynamics -o` writes. Keep
one every 1 to 5 fs: the highest energy that they show is 2068 meV over their distance in fs. A line
is as wide as 5960 meV over the fs of a block, a quarter of the trajectory or what --resolution asks
for. Waves are those that the supercell holds, q in reciprocal vectors of the primitive cell;
energies are positive for the sense of precession about the mean moment. Files: PREFIX.csv (maxima),
PREFIX_map.csv (S over q and energy), PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


@options
class SqwSettings:
    """Trajectories, waves, and how their moments are transformed."""

    trajectories: tuple[str, ...] = option(
        "Frames with vectors as moments, .extxyz.",
        (), example=("run.extxyz",), required=True, positional="a trajectory",
        metavar="TRAJECTORY",
    )  # fmt: skip
    cell: str | None = file(
        "Crystal whose reciprocal vectors q are in; the primitive cell that is found if not given.",
        "fe.cfg",
    )
    path: str | None = option(
        "Special points; ASE's choice if not given.", example="GHNG", metavar="NAMES"
    )
    q: tuple[str, ...] | None = option(
        "Waves, in place of a path.", example=("0.25,0,0", "0.5,0,0"), metavar="X,Y,Z"
    )
    positions: str = option(
        "Of atoms: lattice sites, or where they vibrate.", "ideal",
        choices=("ideal", "instantaneous"),
    )  # fmt: skip
    interval_fs: float | None = option(
        "Between frames; what they say if not given.", example=2.0, bounds=POSITIVE, metavar="FS"
    )
    skip: float = option("Share at the start.", 0.1, bounds=Bounds(least=0.0, below=1.0))
    resolution_meV: float | None = option(
        "Width of a line; that of a quarter of the trajectory if not given.",
        example=5.0, bounds=POSITIVE, metavar="MEV",
    )  # fmt: skip
    max_meV: float | None = option(
        "Highest energy that is kept and shown.", example=500.0, bounds=POSITIVE, metavar="MEV"
    )
    magnons: str | None = file(
        "JSON file of 'mmtp magnons', whose bands, in the .csv beside it, go over the map.",
        "magnons.json",
    )
    output: str = prefix("sqw")


def check(settings: SqwSettings, given: Values) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ValueError: in words.
    """
    del given
    waves_of(settings.q)
    for name in ("path", "magnons"):
        if settings.q is not None and getattr(settings, name) is not None:
            raise ValueError(f"--q goes not with --{name}, which is of a path")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "sqw",
        help="magnons of a trajectory: S(q, omega)",
        description="Dynamical structure factor S(q, omega) of the moments of spin dynamics, "
        "transverse and longitudinal, and where it has maxima: magnons at a temperature.",
        epilog=_EPILOG,
    )
    declare(parser, SqwSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    beside = [settings.magnons, settings.magnons and str(_table_of(settings.magnons))]
    inputs = [*inputs_of(settings, args), settings.cell, *beside]
    files = PropertyFiles(settings.output, ("", "map"), [path for path in inputs if path])
    bands, extrapolated = _read_bands(settings.magnons) if settings.magnons else (None, "")

    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.properties.adiabatic import lines_of_table

    cell = console.read_data(settings.cell, None)[0] if settings.cell else None
    runs = [mmtp.read(path, vectors=True) for path in settings.trajectories]
    found = mmtp.spin_structure_factor(
        runs, cell=cell, q=waves_of(settings.q), path=settings.path, positions=settings.positions,
        interval_fs=settings.interval_fs, skip=settings.skip, max_meV=settings.max_meV,
        resolution_meV=settings.resolution_meV,
    )  # fmt: skip
    print(found)
    lines = lines_of_table(found, *bands) if bands else []
    _write(files, settings, found, lines, extrapolated)
    files.figure(
        plot.spin_structure_factor(found, lines, settings.max_meV, by_form=bool(extrapolated))
    )
    print(files)


def waves_of(words: tuple[str, ...] | None) -> list[list[float]] | None:
    """q from words such as ``0.25,0,0``.

    Raises:
        ValueError: if they are no three numbers.
    """
    if words is None:
        return None
    found = []
    for word in words:
        try:
            q = [float(part) for part in word.split(",")]
        except ValueError:
            q = []
        if len(q) != 3:
            raise ValueError(
                f"{argument('q', ('0.25,0,0',))} is a wave of three numbers, got {word!r}"
            )
        found.append(q)
    return found


def _write(
    files: PropertyFiles,
    settings: SqwSettings,
    found: SpinStructureFactor,
    lines: list[Line],
    extrapolated: str,
) -> None:
    from mmtp_jax.properties.adiabatic import at_waves, nearest

    peaks = found.peaks
    columns = {
        "energy (meV)": peaks.energy,
        "error (meV)": peaks.error,
        "width (meV)": peaks.width,
        "sense": peaks.polarisation,
        "static transverse (mu_B^2/atom)": found.static_transverse,
        "static longitudinal (mu_B^2/atom)": found.static_longitudinal,
    }
    if lines:
        columns["adiabatic (meV)"] = nearest(peaks.energy, at_waves(found, lines))
    rows = zip(*found.q.T, found.distances, *columns.values(), strict=True)
    head = ["q1", "q2", "q3"]
    files.table("", [*head, "distance (1/Angstrom)", *columns], map(_known, rows))
    n = len(found.energies)
    units = ("transverse (mu_B^2/meV/atom)", "longitudinal (mu_B^2/meV/atom)")
    files.table(
        "map",
        [*head, "energy (meV)", *units],
        (
            (*found.q[k], found.energies[j], found.transverse[k, j], found.longitudinal[k, j])
            for k in range(len(found.q))
            for j in range(n)
        ),
    )
    files.json(
        {
            "trajectories": list(settings.trajectories),
            "magnons": settings.magnons,
            "extrapolated": extrapolated,
            "frames": found.n_frames,
            "interval_fs": found.interval_fs,
            "blocks": found.n_blocks,
            "resolution_meV": found.resolution_meV,
            "positions": settings.positions,
            "atoms": found.n_atoms,
            "primitive_cell": found.cell.tolist(),
            "supercell": found.supercell.tolist(),
            "axis": found.axis.tolist(),
            "moment": found.moment,
            "share_of_size": found.share,
            "path": None if found.path is None else [list(of) for of in found.path.labels],
            "q": found.q.tolist(),
            "equal_by_symmetry": found.star.tolist(),
            "peaks_meV": peaks.energy.tolist(),
            "errors_meV": peaks.error.tolist(),
            "widths_meV": peaks.width.tolist(),
            "limited_by_resolution": found.limited.tolist(),
            "sense": peaks.polarisation.tolist(),
            "adiabatic_meV": columns["adiabatic (meV)"].tolist() if lines else None,
            "static_transverse": found.static_transverse.tolist(),
            "static_longitudinal": found.static_longitudinal.tolist(),
        }
    )


def _known(row: tuple[float, ...]) -> list[float | None]:
    """Numbers of a row of a table; those that are none are left empty."""
    return [None if value != value else float(value) for value in row]


def _table_of(path: str) -> Path:
    return Path(path).with_suffix(".csv")


def _read_bands(path: str) -> tuple[tuple[Any, ...], str]:
    """Cell, names of lines, distances and energies of what 'mmtp magnons' wrote, and its remark.

    Raises:
        ValueError: if a file is something else.
    """
    import csv
    import json

    import numpy as np

    table = _table_of(path)
    try:
        content = json.loads(Path(path).read_text())
        cell = np.reshape(content["primitive_cell"], (3, 3)).astype(float)
        with open(table, newline="") as lines:
            rows = list(csv.DictReader(lines))
        modes = [name for name in rows[0] if name.startswith("mode ")]
        if not modes:
            raise KeyError("mode 1 (meV)")
        energies = np.array([[float(row[name]) for name in modes] for row in rows])
        distances = np.array([float(row["distance (1/Angstrom)"]) for row in rows])
        names = [row["line"] for row in rows]
        bands = (cell, names, distances, energies.reshape(len(rows), len(modes)))
        return bands, str(content.get("extrapolated", ""))
    except (ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f"{path} and {table} are not the JSON file and the table of 'mmtp magnons'"
        ) from None
