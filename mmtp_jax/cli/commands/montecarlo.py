"""``mmtp montecarlo``: order of moments over temperature, and where it is lost."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Found, Member, run_simulation
from mmtp_jax.cli.console import add_command, add_resume
from mmtp_jax.cli.montecarlo_settings import MonteCarloSettings, check
from mmtp_jax.cli.property_output import write_csv
from mmtp_jax.cli.spin_walks import WAVE, SpinWalks
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.cli.watched import Watched

if TYPE_CHECKING:
    from mmtp_jax.simulation.spins.binder import OrderCurve
    from mmtp_jax.simulation.spins.crossing import Crossing

_EPILOG = """\
examples:
  mmtp montecarlo pot.mtp start.cfg --temperatures 600 800 1000 1200 --sweeps 2000 -o order.csv
  mmtp montecarlo pot.mtp cell.cfg --sizes 2 3 4 --temperatures 900 1000 1100 1200 --plot order.png
  mmtp montecarlo pot.0.mtp pot.1.mtp cell.cfg --temperatures 800 1000 1200 -o order.csv
  mmtp montecarlo pot.mtp canted.cfg --temperatures 800 1000 1200 -o order.csv
  mmtp montecarlo pot.mtp cell.cfg --vectors --sampled-moments --temperatures 800 1000 1200
  mmtp template montecarlo > mc.toml; mmtp montecarlo --settings mc.toml --checkpoint mc.npz
  mmtp montecarlo --settings mc.toml --checkpoint mc.npz --resume --sweeps 20000

Moments that are numbers change their signs; those that are vectors turn, and stretch where their
lengths are sampled. With --vectors numbers are vectors, too, along z at the start.

The order is measured against the signs of the start, of vectors along their main axis: start a
ferromagnet with all moments up, an antiferromagnet in its own pattern. Where the walk has gone to
another one, the strongest wave of its last state says so. With two or more --sizes,
multiples of the cell along its periodic directions, the crossing of the Binder cumulants estimates
the Curie or Neel temperature. Several potentials give mean and two standard deviations, and the
outputs of each with its number.
The walk ends where the grade of one replica is above --grade-break (exit status 1). One that is too
short for errors gives means alone (exit status 1, too).
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "montecarlo",
        help="Monte Carlo of moments, Curie and Neel temperatures",
        description="Sample the signs of magnetic moments, or moments that are vectors, at fixed "
        "positions by Metropolis' rule, at several temperatures together.",
        epilog=_EPILOG,
    )
    add_resume(parser)
    declare(parser, MonteCarloSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args)[0]
    check_files = partial(_check_files, args.resume, inputs_of(settings, args))
    return run_simulation(settings, check_files, partial(_of_one, args.resume))


def _of_one(resume: bool, settings: MonteCarloSettings, member: Member) -> Found:
    from mmtp_jax.io.lock import locked

    output, potential = settings.output, member.potential
    graded = None if settings.preselection.active_set else member.name
    cell = read_start(settings.input, potential, graded)[0]
    with locked(output.checkpoint):
        go_on = resume and Path(output.checkpoint).exists()
        watched = Watched(settings.preselection, member.name, potential, go_on)
        walks = SpinWalks(settings, potential, cell, watched)
        if go_on:
            walks.load()
        elif resume:
            print(f"there is no checkpoint {output.checkpoint} yet: the walk starts")
        else:
            console.say_kept(output.checkpoint)
        walks.run()
    rows = [row for curve, more in walks.curves for row in _rows(curve, more)]
    if rows:
        print(_table(rows))
        if walks.vectors:
            print(_moves(rows))
        if WAVE[0] in rows[0]:
            print(_waves(rows))
    crossing = _crossing(walks)
    watched.report()
    if output.checkpoint is not None:
        print(f"wrote {output.checkpoint}")
    found = Found(1 if walks.stopped or walks.too_short else 0)
    if rows:
        curves = [curve for curve, _ in walks.curves]
        found = _write(settings, rows, curves, crossing, walks.stopped)
    if walks.interrupted:
        if output.checkpoint is not None:
            print("go on with --resume")
        return dataclasses.replace(found, status=console.INTERRUPTED)
    return found


def _check_files(resume: bool, inputs: Sequence[str], settings: MonteCarloSettings) -> None:
    output = settings.output
    if resume and output.checkpoint is None:
        raise ValueError("to resume a walk, give the checkpoint that it wrote, --checkpoint FILE")
    written = (output.output, output.json, output.checkpoint, settings.preselection.candidates)
    console.check_outputs(*written, plots=[output.plot])
    for path in (*written, output.plot):
        console.check_distinct(path, inputs)


def _crossing(walks: SpinWalks) -> Crossing | None:
    if len(walks.curves) < 2 or len(walks.temperatures) < 2:
        return None
    if walks.too_short:
        print("no crossing is estimated: a walk is too short for errors")
        return None
    from mmtp_jax.simulation.spins.crossing import binder_crossing

    curves = [curve for curve, _ in walks.curves]
    crossing = binder_crossing(curves, dimension=int(walks.cell.pbc.sum()))
    print(crossing)
    return crossing


def _write(
    settings: MonteCarloSettings,
    rows: Sequence[dict[str, float]],
    curves: Sequence[OrderCurve],
    crossing: Crossing | None,
    stopped: bool,
) -> Found:
    import numpy as np

    short = any(curve.too_short for curve in curves)
    why = "a walk is too short for errors" * short
    if stopped:
        why = "a grade above the threshold ended the walk"
    output, table = settings.output, (list(rows[0]), [list(row.values()) for row in rows])
    content = {
        "rows": list(rows),
        COUNTS: not stopped,
        "message": why,
    }
    if crossing is not None and np.isfinite(crossing.temperature):
        content |= {"crossing_K": crossing.temperature, "crossing_error_K": crossing.error}
    if output.output is not None:
        write_csv(output.output, *table)
        print(f"wrote {output.output}")
    figure = None
    if output.plot is not None:
        from mmtp_jax import plot
        from mmtp_jax.plot.style import save_figure

        figure = plot.order(curves, crossing)
        save_figure(output.plot, figure)
        print(f"wrote {output.plot}")
    return Found(1 if stopped or short else 0, content, table, figure)


def _table(rows: Sequence[dict[str, float]]) -> str:
    """The numbers and their standard errors, narrow enough for a terminal."""
    from mmtp_jax.tables import aligned, with_error

    lines = [("atoms", "T (K)", "order", "chi (1/eV)", "U4", "time", "accepted")]
    for row in rows:
        numbers = [with_error(row[name], row[f"{name.split()[0]} error"])
                   for name in ("order", "chi (1/eV)", "U4")]  # fmt: skip
        lines.append(
            (f"{row['magnetic atoms']:g}", f"{row['temperature (K)']:g}", *numbers,
             f"{row['time (sweeps)']:.3g}", f"{100 * row['acceptance']:.3g} %")
        )  # fmt: skip
    return (
        f"{aligned(lines)}\n+- is one standard error of the mean, by a bootstrap over blocks; time "
        "is the autocorrelation\ntime in sweeps; the burn-in is left out"
    )


def _moves(rows: Sequence[dict[str, float]]) -> str:
    """Lengths of vectors, and what was done to them."""
    from mmtp_jax.tables import aligned, with_error

    columns = {
        "cone": ("cone", "cone (degrees)", "deg, "),
        "random": ("random", "", ""),
        "opposite": ("reversal", "", ""),
        "reflected": ("reflection", "", ""),
        "stretch": ("stretch", "stretch (% of M_max)", "%, "),
    }
    columns = {k: of for k, of in columns.items() if f"{of[0]} acceptance" in rows[0]}
    lines = [("atoms", "T (K)", "length (mu_B)", *columns)]
    for row in rows:
        cells = [
            (f"{row[size]:.3g} {unit}" if size else "") + f"{100 * row[f'{of} acceptance']:.3g} %"
            for of, size, unit in columns.values()
        ]
        length = with_error(row["length (mu_B)"], row["length error"])
        lines.append((f"{row['magnetic atoms']:g}", f"{row['temperature (K)']:g}", length, *cells))
    sizes = "largest turn, " * ("cone" in columns) + "largest stretch as a share of M_max, " * (
        "stretch" in columns
    )
    return f"{aligned(lines)}\n{sizes}and how many trials of each kind were accepted"


def _waves(rows: Sequence[dict[str, float]]) -> str:
    """Which order was there at the end, whatever the walk began with."""
    from mmtp_jax.tables import aligned

    lines = [("atoms", "T (K)", "strongest wave", "share")]
    for row in rows:
        q = " ".join(f"{row[name]:.4g}" for name in WAVE[:3])
        lines.append(
            (f"{row['magnetic atoms']:g}", f"{row['temperature (K)']:g}", f"({q})",
             f"{100 * row[WAVE[3]]:.0f} %")
        )  # fmt: skip
    return (
        f"{aligned(lines)}\nof the squared moments at the end of the walk; in reciprocal vectors "
        "of the conventional cell"
    )


def _rows(curve: OrderCurve, more: dict[str, Any]) -> list[dict[str, float]]:
    return [
        {
            "magnetic atoms": curve.n_magnetic,
            "temperature (K)": float(curve.temperatures[k]),
            "order": float(curve.order[k]),
            "order error": float(curve.order_error[k]),
            "chi (1/eV)": float(curve.susceptibility[k]),
            "chi error": float(curve.susceptibility_error[k]),
            "U4": float(curve.binder[k]),
            "U4 error": float(curve.binder_error[k]),
            "time (sweeps)": float(curve.correlation_time[k]),
            **{name: float(values[k]) for name, values in more.items()},
        }
        for k in range(len(curve.temperatures))
    ]
