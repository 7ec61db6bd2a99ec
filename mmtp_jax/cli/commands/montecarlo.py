"""``mmtp mc``: order of moments over temperature, and the temperature at which it is lost."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.montecarlo_settings import MonteCarloSettings, check
from mmtp_jax.cli.shared_settings import add_settings, collect, inputs_of
from mmtp_jax.cli.watched import Watched

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.simulation.spins.binder import Crossing, OrderCurve
    from mmtp_jax.simulation.spins.outcome import SpinSaved, SpinWalk

_EPILOG = """\
examples:
  mmtp mc pot.mtp start.cfg --temperatures 600 800 1000 1200 --sweeps 2000 -o order.csv
  mmtp mc pot.mtp cell.cfg --sizes 2 3 4 --temperatures 900 1000 1100 1200 --plot order.png
  mmtp template mc > mc.toml; mmtp mc --settings mc.toml --checkpoint mc.npz
  mmtp mc --settings mc.toml --checkpoint mc.npz --resume --sweeps 20000

The order is measured against the signs of the start: start a ferromagnet with all moments up, an
antiferromagnet in its own pattern. With two or more --sizes, multiples of the cell along its
periodic directions, the crossing of the Binder cumulants estimates the Curie or Neel temperature.
The walk ends where the grade of one replica is above --grade-break (exit status 1).
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
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, also with more sweeps"
    )
    add_settings(parser, MonteCarloSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args, MonteCarloSettings, "mc", check)
    _check_files(settings, args)
    output = settings.output

    import mmtp_jax as mmtp

    potential = mmtp.load(settings.input.potential, species=settings.input.species)
    cell = console.read_data(settings.input.start, potential.species)[0]
    watched = Watched(settings.preselection, potential, go_on=args.resume)
    walks = _Walks(settings, potential, cell, watched)
    if args.resume:
        walks.load()
    elif output.checkpoint is not None:
        note = console.keep_backup(output.checkpoint)
        if note:
            print(f"{output.checkpoint}:{note}")
    walks.run()
    rows = [row for curve, share in walks.curves for row in _rows(curve, share)]
    if rows:
        print("  ".join(f"{name:>16}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:>16.5g}" for value in row.values()))
    crossing = _crossing(walks)
    watched.report()
    if output.checkpoint is not None:
        print(f"wrote {output.checkpoint}")
    if rows:
        _write(settings, rows, [curve for curve, _ in walks.curves], crossing)
    if walks.interrupted:
        return console.INTERRUPTED
    return 1 if walks.stopped else 0


class _Walks:
    """The walks of all sizes, one after the other."""

    def __init__(
        self, settings: MonteCarloSettings, potential: Potential, cell: Atoms, watched: Watched
    ) -> None:
        import numpy as np

        from mmtp_jax.interfaces.spins import walk_fingerprint

        of = settings.walk
        self.settings, self.potential, self.cell, self.watched = settings, potential, cell, watched
        self.sizes = sorted(set(of.sizes))
        self.temperatures = np.unique(of.temperatures_K)
        self.burn_in = of.sweeps // 10 if of.burn_in is None else of.burn_in
        self.options = {
            "move": of.move, "moments": of.moments, "warm": of.warm, "tolerance": of.tolerance,
            "magnetic": of.magnetic, "seed": of.seed, "sweeps": of.sweeps,
            "burn_in": self.burn_in, "when_stopped": "all",
        }  # fmt: skip
        self.belongs_to = walk_fingerprint(
            potential, cell, self.temperatures, of.copies, **self.options
        )
        self.saved: dict[int, SpinSaved] = {}
        self.curves: list[tuple[OrderCurve, np.ndarray]] = []
        self.interrupted = self.stopped = False

    def load(self) -> None:
        """Go on from the checkpoint."""
        from mmtp_jax.io.spin_checkpoint import load_spins
        from mmtp_jax.io.trajectory import cut_to

        path = self.settings.output.checkpoint
        self.saved, sizes = load_spins(path, self.belongs_to)
        names = [Path(file).name for file in self.watched.files]
        if names != list(sizes):
            raise ValueError(
                f"{path} goes with the files {list(sizes)}, not {names}; give the same ones to "
                "resume"
            )
        for file in self.watched.files:
            cut_to(file, sizes[Path(file).name])

    def save(self, size: int, saved: SpinSaved) -> None:
        """Write the checkpoint."""
        from mmtp_jax.io.spin_checkpoint import save_spins
        from mmtp_jax.io.trajectory import size_of

        self.saved[size] = saved
        sizes = {Path(file).name: size_of(file) for file in self.watched.files}
        save_spins(self.settings.output.checkpoint, self.saved, self.belongs_to, sizes)

    def run(self) -> None:
        """Walk until all is done, a grade is too high, or Ctrl-C."""
        for size in self.sizes:
            self.walk(size)
            if self.interrupted or self.stopped:
                break

    def walk(self, size: int) -> None:
        """Walk with cells of one size."""
        import numpy as np

        import mmtp_jax as mmtp
        from mmtp_jax.cli.commands.md import repeated
        from mmtp_jax.cli.progress import CountProgress
        from mmtp_jax.simulation.spins.outcome import SpinObserver

        output, of, watched = self.settings.output, self.settings.walk, self.watched
        atoms = repeated(self.cell, tuple(np.where(self.cell.pbc, size, 1)))
        watched.highest.clear()
        observer = None
        if output.checkpoint is not None:
            observer = SpinObserver(output.checkpoint_seconds, lambda s: self.save(size, s))
        n_sweeps = of.sweeps + self.burn_in
        with CountProgress(n_sweeps, f"sweeps of {len(atoms)} atoms") as progress:
            walk = mmtp.montecarlo(
                self.potential, atoms, self.temperatures, copies=of.copies, watch=watched.watch,
                keep=watched.keep, callback=progress, observer=observer,
                resume=self.saved.get(size), **self.options,
            )  # fmt: skip
        self.interrupted, self.stopped = walk.interrupted, bool(walk.stopped.any())
        lost = float(walk.inadmissible.mean())
        if lost:
            console.warn(
                f"{100 * lost:.1f} % of the trials of {len(atoms)} atoms were refused because "
                "the moments could not be equilibrated: those states are missing"
            )
        print(f"{walk.n_magnetic} magnetic atoms, {walk.n_sweeps} sweeps, {walk.seconds:.1f} s")
        for replica in np.flatnonzero(walk.stopped):
            who = f"replica {replica} ({walk.temperatures[replica]:g} K) of {len(atoms)} atoms"
            print(watched.stopped(who, int(replica), "sweep"))
        self.add(walk)

    def add(self, walk: SpinWalk) -> None:
        """Average over a walk; of one that was cut short only if it is long enough."""
        from mmtp_jax.simulation.spins.binder import order_curve

        try:
            curve = order_curve(
                walk.temperatures, walk.series.order, walk.n_magnetic, walk.series.energy
            )
        except ValueError as error:
            if not (self.interrupted or self.stopped):
                raise
            print(f"no averages of {walk.n_magnetic} magnetic atoms: {error}")
            return
        share = walk.acceptance.reshape(len(self.temperatures), -1).mean(axis=1)
        self.curves.append((curve, share))


def _check_files(settings: MonteCarloSettings, args: argparse.Namespace) -> None:
    output = settings.output
    if not settings.walk.temperatures_K:
        raise ValueError("give temperatures, e.g. --temperatures 900 1000 1100")
    if args.resume and output.checkpoint is None:
        raise ValueError("to resume a walk, give the checkpoint that it wrote, --checkpoint FILE")
    written = (output.output, output.json, output.checkpoint, settings.preselection.candidates)
    console.check_outputs(*written, plots=[output.plot])
    for path in (*written, output.plot):
        console.check_distinct(path, inputs_of(settings, args))


def _crossing(walks: _Walks) -> Crossing | None:
    if len(walks.curves) < 2 or len(walks.temperatures) < 2:
        return None
    from mmtp_jax.simulation.spins.binder import binder_crossing

    crossing = binder_crossing([curve for curve, _ in walks.curves])
    print(crossing)
    return crossing


def _write(
    settings: MonteCarloSettings,
    rows: Sequence[dict[str, float]],
    curves: Sequence[OrderCurve],
    crossing: Crossing | None,
) -> None:
    import numpy as np

    import mmtp_jax as mmtp

    output = settings.output
    if output.output is not None:
        from mmtp_jax.io.atomic import atomic_write

        with atomic_write(output.output) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print(f"wrote {output.output}")
    if output.json is not None:
        content = {"mmtp_jax": mmtp.__version__, "potential": settings.input.potential}
        content["rows"] = list(rows)
        if crossing is not None and np.isfinite(crossing.temperature):
            content |= {"crossing_K": crossing.temperature, "crossing_error_K": crossing.error}
        console.write_json(output.json, content)
        print(f"wrote {output.json}")
    if output.plot is not None:
        from mmtp_jax.cli.plots import save_figure
        from mmtp_jax.cli.spin_plots import order_figure

        save_figure(output.plot, order_figure(curves, crossing))
        print(f"wrote {output.plot}")


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
