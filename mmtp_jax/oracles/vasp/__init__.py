"""VASP as labeller: penalty on the moments, raised in steps (Burov 2026, supplement S1).

`oracle` is the labeller, `settings` its fields, `workflow` the order of the calculations and
`penalty` the formulas S5 to S12 (both know no files), `inputs` and `potcar` write what VASP
reads, `outputs` reads what VASP writes, `stages` runs one calculation in its folder.

What has been tried: VASP is licensed, and nothing here was run with it. The workflow runs in
the tests against a stand-in that answers with files in VASP's format and a known response. The
formats follow the manual and outputs of VASP 5.3.2 in public repositories. One of those, a
noncollinear run with ``I_CONSTRAINED_M = 2``, shows that E_p is lambda sum |MW - M_CONSTR|^2,
that TOTEN contains it, that the block ``lambda*MW_perp`` holds lambda (MW - M_CONSTR), and that
atoms with M_CONSTR = 0 0 0 are not constrained.
"""

from mmtp_jax.oracles.vasp.oracle import VaspOracle

__all__ = ["VaspOracle"]
