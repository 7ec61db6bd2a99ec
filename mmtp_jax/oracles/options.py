"""How labels are asked for and judged, and how settings are tried: frozen dataclasses."""

from __future__ import annotations

from mmtp_jax.options import POSITIVE, Bounds, option, options


@options
class RunOptions:
    """How jobs run."""

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


@options
class JobOptions(RunOptions):
    """Who labels what is selected."""

    accept_outliers: bool = option(
        "Take labels that stand apart from the others too; they may be converged and wrong.", False
    )
    mixed_meshes: bool = option(
        "Allow different meshes of k-points for cells alike.", False, off="--one-mesh"
    )


@options
class ConvergenceOptions(RunOptions):
    """What is varied, and what counts as converged."""

    vary: tuple[str, ...] = option(
        "Settings to vary: by name, to what the labeller thinks better (mesh; for ABINIT ecut_Ha, "
        "pawecutdg_Ha, smearing_Ha, bands, tolerance; for VASP cutoff_ev, SIGMA, NBANDS, EDIFF); "
        "or to values as in the settings file, 'kmesh=[5,5,5]'. All names, if not given.",
        (), example=("mesh", "ecut_Ha=30"), metavar="SETTING",
    )  # fmt: skip
    strain: float | None = option(
        "The first configuration comes along stretched by so much along its last vector, for "
        "differences of stress.", example=0.02, bounds=Bounds(above=0.0, most=0.1),
    )  # fmt: skip
    check_derivatives: bool = option(
        "Hold a force, a stress and a dE/dm against central differences of the energy: six more "
        "calculations.", False,
    )  # fmt: skip
    max_energy: float = option(
        "Bound for changes of energy differences, meV/atom.", 2.0, bounds=POSITIVE
    )
    max_force: float = option(
        "Bound for changes of forces, meV/Angstrom, root mean square.", 15.0, bounds=POSITIVE
    )
    max_stress_GPa: float = option(
        "Bound for changes of the stress.", 1.0, bounds=POSITIVE, metavar="GPA"
    )
    max_stress_difference_GPa: float = option(
        "Bound for changes of stress differences between strains of one state.", 0.5,
        bounds=POSITIVE, metavar="GPA",
    )  # fmt: skip
    max_magnetic_force: float = option(
        "Bound for changes of dE/dm, meV/mu_B, root mean square.", 15.0, bounds=POSITIVE
    )
