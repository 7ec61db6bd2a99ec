"""The walks of ``mmtp montecarlo``: cells of several sizes in turn, with a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmtp_jax.cli import console
from mmtp_jax.cli.montecarlo_settings import MonteCarloSettings
from mmtp_jax.cli.watched import Watched
from mmtp_jax.language import argument
from mmtp_jax.options import given_to

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.simulation.spins.binder import OrderCurve
    from mmtp_jax.simulation.spins.outcome import SpinSaved, SpinWalk


WAVE = ("wave h", "wave k", "wave l", "wave share")
"""Columns of `SpinWalks.orders`."""


class SpinWalks:
    """The walks of all sizes, one after the other."""

    def __init__(
        self, settings: MonteCarloSettings, potential: Potential, cell: Atoms, watched: Watched
    ) -> None:
        import numpy as np

        from mmtp_jax.interfaces.spins import walk_fingerprint, walk_start
        from mmtp_jax.simulation.spins.options import SpinOptions

        of = settings.walk
        self.settings, self.potential, self.cell, self.watched = settings, potential, cell, watched
        self.sizes = sorted(set(of.sizes))
        self.temperatures = np.unique(of.temperatures_K)
        self.burn_in = of.sweeps // 10 if of.burn_in is None else of.burn_in
        self.options = {
            **given_to(SpinOptions, of), "burn_in": self.burn_in, "when_stopped": "all"
        }  # fmt: skip
        self.vectors = walk_start(potential, cell, SpinOptions(**self.options)).vectors
        self.belongs_to = walk_fingerprint(
            potential, cell, self.temperatures, of.copies, **self.options
        )
        self.saved: dict[int, SpinSaved] = {}
        self.curves: list[tuple[OrderCurve, dict[str, np.ndarray]]] = []
        """Of each size, and what else there is to say at its temperatures."""
        self.interrupted = self.stopped = False

    @property
    def too_short(self) -> bool:
        """Whether errors are not known."""
        return any(curve.too_short for curve, _ in self.curves)

    def load(self) -> None:
        """Go on from the checkpoint, with the burn-in that it was begun with.

        Raises:
            ValueError: if it belongs to another walk, or has another burn-in than was asked for.
        """
        from mmtp_jax.io.spin_checkpoint import load_spins
        from mmtp_jax.io.trajectory import cut_to

        path = self.settings.output.checkpoint
        self.saved, sizes, burn_in = load_spins(path, self.belongs_to, self.vectors)
        given = self.settings.walk.burn_in
        if given not in (None, burn_in):
            raise ValueError(
                f"{path} was begun with a burn-in of {burn_in} sweeps, not with "
                f"{argument('burn_in', given)}; leave it out to go on, or start afresh"
            )
        # A tenth of another number of sweeps would cut other ones, after other step sizes.
        self.burn_in = self.options["burn_in"] = burn_in
        names = [Path(file).name for file in self.watched.files]
        if names != list(sizes):
            raise ValueError(
                f"{path} goes with {', '.join(sizes) or 'no files'}, not "
                f"{', '.join(names) or 'no files'}; give the same files to resume"
            )
        for file in self.watched.files:
            cut_to(file, sizes[Path(file).name])

    def save(self, size: int, saved: SpinSaved) -> None:
        """Write the checkpoint."""
        from mmtp_jax.io.spin_checkpoint import save_spins
        from mmtp_jax.io.trajectory import size_of

        self.saved[size] = saved
        sizes = {Path(file).name: size_of(file) for file in self.watched.files}
        save_spins(
            self.settings.output.checkpoint, self.saved, self.belongs_to, sizes, self.burn_in
        )

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
        from mmtp_jax.cli.cells import repeated
        from mmtp_jax.progress import CountProgress
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
        for k in np.flatnonzero(walk.acceptance == 0.0):
            console.warn(
                f"no trial of {len(atoms)} atoms was accepted at {walk.temperatures[k]:g} K: its "
                "numbers are those of the start, and their errors mean nothing"
            )
        print(
            f"{walk.n_magnetic} magnetic atoms, {walk.n_sweeps} sweeps after a burn-in of "
            f"{self.burn_in}, {walk.seconds:.1f} s"
        )
        for replica in np.flatnonzero(walk.stopped):
            who = f"replica {replica} ({walk.temperatures[replica]:g} K) of {len(atoms)} atoms"
            print(watched.stopped(who, int(replica), "sweep"))
        self.add(walk, atoms)

    def add(self, walk: SpinWalk, atoms: Atoms) -> None:
        """Average over a walk, and warn where it is too short for errors."""
        from mmtp_jax.simulation.spins.binder import order_curve

        if walk.n_sweeps < 2:
            print(f"no averages of {walk.n_magnetic} magnetic atoms: nothing after the burn-in")
            return
        curve = order_curve(
            walk.temperatures, walk.series.order, walk.n_magnetic, walk.series.energy
        )
        if curve.too_short:
            longer, checkpoint = curve.least_sweeps, self.settings.output.checkpoint
            go_on = ""
            if checkpoint is not None and not self.stopped:
                go_on = f"; --resume --sweeps {longer} goes on from {checkpoint}"
            console.warn(
                f"{walk.n_sweeps} sweeps of {walk.n_magnetic} magnetic atoms are too few for "
                f"errors, and their means may be far off; take at least {longer}, rather several "
                f"times that, as a short walk sees but part of its autocorrelation{go_on}"
            )
        self.curves.append((curve, self.columns(walk) | self.orders(walk, atoms)))

    def columns(self, walk: SpinWalk) -> dict[str, np.ndarray]:
        """Acceptances at the temperatures (T,); of vectors also lengths and step sizes."""
        from mmtp_jax.simulation.spins.binder import means

        def mean(of_replicas: np.ndarray) -> np.ndarray:
            return of_replicas.reshape(len(self.temperatures), -1).mean(axis=1)

        found = {"acceptance": mean(walk.acceptance)}
        if walk.series.length is None:
            return found
        length, error = means(walk.temperatures, walk.series.length)
        found |= {"length (mu_B)": length, "length error": error}
        if "cone" in walk.moves:
            found["cone (degrees)"] = mean(walk.largest_turn)
        if "stretch" in walk.moves:
            found["stretch (% of M_max)"] = 100 * mean(walk.largest_stretch)
        return found | {f"{name} acceptance": mean(of) for name, of in walk.moves.items()}

    def orders(self, walk: SpinWalk, atoms: Atoms) -> dict[str, np.ndarray]:
        """The strongest wave at the end of the first copy of each temperature, (T,) each.

        Nothing where the atoms are on no lattice that repeats.
        """
        import numpy as np

        from mmtp_jax.io.schema import set_moments
        from mmtp_jax.properties.magnetic_order import strongest_wave

        found = []
        for moments in walk.magmoms[:: self.settings.walk.copies]:
            ordered = atoms.copy()
            set_moments(ordered, moments, vectors=self.vectors)
            try:
                wave = strongest_wave(ordered)
            except ValueError:
                return {}
            if wave is None:
                return {}
            found.append([*wave.q, wave.share])
        return dict(zip(WAVE, np.array(found).T, strict=True))
