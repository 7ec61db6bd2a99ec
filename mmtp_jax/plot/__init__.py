"""Figures of results, those that the commands write: ``mmtp.plot.parity(pot, atoms_list)``.

Each function returns a plain `matplotlib.figure.Figure`, which notebooks show and ``savefig``
writes; nothing global of matplotlib is touched. It is imported when `mmtp_jax.plot` is first used.
"""

from mmtp_jax.plot.active import grades, learning
from mmtp_jax.plot.fits import loss, loss_of, parity, parity_of, scan
from mmtp_jax.plot.magnons import exchange, magnons
from mmtp_jax.plot.properties import elastic, eos, formation, magnetisation, settings
from mmtp_jax.plot.simulations import dynamics, relaxation, thermo_of_series
from mmtp_jax.plot.spin_waves import spin_structure_factor
from mmtp_jax.plot.spins import convergence, order
from mmtp_jax.plot.vibrations import bands, dos, expansion, quasiharmonic

__all__ = [
    "bands",
    "convergence",
    "dos",
    "dynamics",
    "elastic",
    "eos",
    "exchange",
    "expansion",
    "formation",
    "grades",
    "learning",
    "loss",
    "loss_of",
    "magnetisation",
    "magnons",
    "order",
    "parity",
    "parity_of",
    "quasiharmonic",
    "relaxation",
    "scan",
    "settings",
    "spin_structure_factor",
    "thermo_of_series",
]
