"""Magnetic moment tensor potentials in JAX.

>>> import mmtp_jax as mmtp
>>> atoms_list = mmtp.read("train.cfg", species=("Fe", "Al"))
>>> pot = mmtp.Potential.new(level=12, species=("Fe", "Al"))
>>> fit = mmtp.fit(pot, atoms_list, validation=0.1)
>>> mmtp.save("pot.mtp", fit.potential)
"""

from mmtp_jax.api import evaluate, fit, split
from mmtp_jax.fitting.fit import Fit, FitOptions
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.calculator import MMTPCalculator
from mmtp_jax.interfaces.evaluation import Result
from mmtp_jax.io.formats import read, write
from mmtp_jax.io.mtp import load, save
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.structures.domain import ExtrapolationWarning

__version__ = "0.1.0"

__all__ = [
    "ExtrapolationWarning",
    "Fit",
    "FitOptions",
    "MMTPCalculator",
    "Potential",
    "Result",
    "Weights",
    "double_precision",
    "evaluate",
    "fit",
    "load",
    "read",
    "save",
    "split",
    "write",
]
