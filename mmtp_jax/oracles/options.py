"""How labels are asked for and judged: one frozen dataclass."""

from __future__ import annotations

from mmtp_jax.options import POSITIVE, Bounds, option, options


@options
class JobOptions:
    """Who labels what is selected."""

    retries: int = option(
        "Further attempts of a job that failed.", 1, bounds=Bounds(least=0, most=1000)
    )
    timeout_s: float | None = option(
        "Wall time of one attempt, s.", example=3600.0, metavar="SECONDS", bounds=POSITIVE
    )
    workers: int = option(
        "Jobs at once, where there is no executor.", 1, bounds=Bounds(least=1, most=10_000)
    )
    moment_tolerance: float = option(
        "Largest miss of a target moment, mu_B.", 0.05, bounds=POSITIVE
    )
    accept_outliers: bool = option(
        "Take labels that stand apart from the others too; they may be converged and wrong.", False
    )
    mixed_meshes: bool = option(
        "Allow different meshes of k-points for cells alike.", False, off="--one-mesh"
    )
