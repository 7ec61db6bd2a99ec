"""VASP as labeller: penalty on the moments, raised in steps (Burov 2026, supplement S1).

`oracle` is the labeller, `settings` its fields, `workflow` the order of the calculations and
`penalty` the formulas S5 to S12 (both know no files), `inputs` and `potcar` write what VASP
reads, `outputs` reads what VASP writes, `stages` runs one calculation in its folder.

What has been tried: VASP is licensed, and nothing here was run with it. In the tests the
workflow runs against a stand-in that answers with files in VASP's format and a known response.
The formats follow the manual and outputs of VASP 5.3.2 in a public repository. There, a
noncollinear run with ``I_CONSTRAINED_M = 2`` and the same run without it show that TOTEN contains
E_p (they differ by 100.0000 eV where E_p is 100 eV), that E_p is lambda sum |MW - M_CONSTR|^2,
that the block ``lambda*MW_perp`` holds lambda (MW - M_CONSTR), and that atoms with
M_CONSTR = 0 0 0 are not constrained. Not known from any file: how moments along x come out of the
collinear density that VASP reads as one along z, what forces contain of the penalty, and how good
the estimate of magnetic forces is.
"""

from mmtp_jax.oracles.vasp.oracle import VaspOracle

__all__ = ["VaspOracle"]
