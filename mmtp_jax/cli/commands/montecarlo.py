"""``mmtp mc``: order of moments over temperature, and the temperature at which it is lost."""

from __future__ import annotations

import argparse
import csv
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command

if TYPE_CHECKING:
    from mmtp_jax.simulation.spins.binder import OrderCurve

_EPILOG = """\
examples:
  mmtp mc pot.mtp start.cfg --temperatures 600 800 1000 1200 --sweeps 2000 -o order.csv
  mmtp mc pot.mtp cell.cfg --sizes 2 3 4 --temperatures 900 1000 1100 1200 --plot order.png

The order is measured against the signs of the start: start a ferromagnet with all moments up, an
antiferromagnet in its own pattern. With two or more --sizes, multiples of the cell along its
periodic directions, the crossing of the Binder cumulants estimates the Curie or Neel temperature.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "mc",
        help="spin-flip Monte Carlo, Curie and Neel temperatures",
        description="Sample the signs of magnetic moments at fixed positions by Metropolis' rule, "
        "at several temperatures together.",
        epilog=_EPILOG,
    )
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", help="configuration with moments; the first counts")
    parser.add_argument(
        "--temperatures", nargs="+", type=float, required=True, metavar="T", help="temperatures, K"
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[1], metavar="N", help="multiples of the cell"
    )
    parser.add_argument("--sweeps", type=int, default=1000, help="recorded sweeps (default 1000)")
    parser.add_argument("--burn-in", type=int, help="sweeps before (default a tenth of them)")
    parser.add_argument("--copies", type=int, default=1, help="replicas per temperature")
    parser.add_argument(
        "--swap", action="store_true", help="swap opposite moments: their numbers stay"
    )
    parser.add_argument(
        "--fixed", action="store_true", help="keep the magnitudes: far faster, less physics"
    )
    parser.add_argument(
        "--warm", action="store_true", help="equilibrate from the present magnitudes"
    )
    parser.add_argument("--magnetic", nargs="+", metavar="SYMBOL", help="species that flip")
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="symbols of the types")
    parser.add_argument("--seed", type=int, default=0, help="of the walk (default 0)")
    parser.add_argument("-o", "--output", metavar="FILE", help="the table as .csv")
    parser.add_argument("--json", metavar="FILE", help="table and crossing")
    parser.add_argument("--plot", metavar="FILE", help="order, susceptibility, Binder cumulant")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console.check_outputs(args.output, args.json, plots=[args.plot])
    for path in (args.output, args.json, args.plot):
        console.check_distinct(path, [args.potential, args.data])
    sizes, temperatures = sorted(set(args.sizes)), sorted(set(args.temperatures))
    if sizes[0] < 1:
        raise ValueError(f"--sizes must be positive, got {sizes[0]}")
    if temperatures[0] <= 0:
        raise ValueError(f"--temperatures must be positive, got {temperatures[0]:g} K")

    import numpy as np

    import mmtp_jax as mmtp
    from mmtp_jax.cli.commands.md import repeated
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.simulation.spins.binder import binder_crossing, order_curve

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    cell = console.read_data(args.data, potential.species)[0]
    burn_in = args.sweeps // 10 if args.burn_in is None else args.burn_in
    curves, shares, interrupted = [], [], False
    for size in sizes:
        atoms = repeated(cell, tuple(np.where(cell.pbc, size, 1)))
        with CountProgress(args.sweeps + burn_in, f"sweeps of {len(atoms)} atoms") as progress:
            walk = mmtp.montecarlo(
                potential, atoms, temperatures, copies=args.copies, sweeps=args.sweeps,
                burn_in=burn_in, move="swap" if args.swap else "flip",
                moments="fixed" if args.fixed else "equilibrate", warm=args.warm,
                magnetic=None if args.magnetic is None else tuple(args.magnetic),
                seed=args.seed, callback=progress,
            )  # fmt: skip
        lost = float(walk.inadmissible.mean())
        if lost:
            console.warn(
                f"{100 * lost:.1f} % of the trials of {len(atoms)} atoms were refused because "
                "the moments could not be equilibrated: those states are missing"
            )
        curves.append(
            order_curve(walk.temperatures, walk.series.order, walk.n_magnetic, walk.series.energy)
        )
        shares.append(walk.acceptance.reshape(len(temperatures), -1).mean(axis=1))
        interrupted = interrupted or walk.interrupted
        print(f"{walk.n_magnetic} magnetic atoms, {walk.n_sweeps} sweeps, {walk.seconds:.1f} s")
        if interrupted:
            break
    rows = [row for curve, share in zip(curves, shares, strict=True) for row in _rows(curve, share)]
    names = list(rows[0])
    print("  ".join(f"{name:>16}" for name in names))
    for row in rows:
        print("  ".join(f"{value:>16.5g}" for value in row.values()))
    crossing = None
    if len(curves) > 1 and len(temperatures) > 1:
        crossing = binder_crossing(curves)
        print(crossing)
    if args.output is not None:
        from mmtp_jax.io.atomic import atomic_write

        with atomic_write(args.output) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        print(f"wrote {args.output}")
    if args.json is not None:
        content = {"mmtp_jax": mmtp.__version__, "potential": args.potential, "rows": rows}
        if crossing is not None and np.isfinite(crossing.temperature):
            content |= {"crossing_K": crossing.temperature, "crossing_error_K": crossing.error}
        console.write_json(args.json, content)
        print(f"wrote {args.json}")
    if args.plot is not None:
        from mmtp_jax.cli.plots import save_figure
        from mmtp_jax.cli.spin_plots import order_figure

        save_figure(args.plot, order_figure(curves, crossing))
        print(f"wrote {args.plot}")
    return console.INTERRUPTED if interrupted else 0


def _rows(curve: OrderCurve, acceptance: Any) -> list[dict[str, float]]:
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
            "acceptance": float(acceptance[k]),
        }
        for k in range(len(curve.temperatures))
    ]
