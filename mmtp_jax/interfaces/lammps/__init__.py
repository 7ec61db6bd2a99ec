"""The potential in LAMMPS, over any number of MPI ranks; `attach` is what a driver calls."""

from mmtp_jax.interfaces.lammps.bridge import LammpsBridge, attach
from mmtp_jax.interfaces.lammps.options import BridgeOptions

__all__ = ["BridgeOptions", "LammpsBridge", "attach"]
