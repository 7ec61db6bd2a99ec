"""ABINIT as labeller: DFT with hard constraints on the moments, numbers or vectors (Gonze 2022).

`oracle` runs it, `settings` says how, `datasets` finds the PAW datasets, `inputs` writes its
input, `output` reads what it answers.
"""

from mmtp_jax.oracles.abinit.oracle import AbinitOracle

__all__ = ["AbinitOracle"]
