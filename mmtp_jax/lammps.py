"""The potential in LAMMPS: `attach` gives a running LAMMPS energies, forces and moments."""

from mmtp_jax.interfaces.lammps.bridge import LammpsBridge as LammpsBridge
from mmtp_jax.interfaces.lammps.bridge import attach as attach
from mmtp_jax.interfaces.lammps.gpus import share_gpus as share_gpus
from mmtp_jax.interfaces.lammps.options import BridgeOptions as BridgeOptions
