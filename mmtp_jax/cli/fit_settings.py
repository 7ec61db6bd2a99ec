"""Settings of ``mmtp fit``: the sections of its TOML file and the options of its command line.

Form's defaults are those of `mmtp_jax.Potential.new`; a test compares them. This module imports no
JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    executor,
    file,
    keys,
    magnetic_gradient,
    missing_moments,
    moments_at_equilibrium,
    output,
    vectors,
)
from mmtp_jax.fitting.options import Domain, Method, check_deciding, check_following, making
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.io.label_keys import checked_keys
from mmtp_jax.language import named
from mmtp_jax.options import CUTOFF, LEVEL, POSITIVE, SEED, Bounds, option, options
from mmtp_jax.potential.forms import DEFAULT_FORM, FORMS, MOST_FUNCTIONS

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential


@options
class Data:
    """Labelled configurations."""

    files: tuple[str, ...] = option(
        "Training configurations: files or patterns; .cfg, .extxyz or any format that ASE reads.",
        (), example=("train.cfg",), required=True, positional="training data", metavar="DATA",
    )  # fmt: skip
    validation: float | str | None = option(
        "Fraction of the training configurations to hold out, or a file; reported, not fitted. Of "
        "folds it decides what is kept and where a fit ends.",
        example=0.1, metavar="FRACTION|FILE", bounds=Bounds(above=0.0, below=1.0),
    )  # fmt: skip
    magnetic_gradient: bool = magnetic_gradient()
    moments_at_equilibrium: tuple[str, ...] = moments_at_equilibrium()
    vectors: bool = vectors()
    making: str = making()
    keys: tuple[str, ...] = keys()
    missing_moments: str = missing_moments()


@options
class Form:
    """The potential: a file to start from, or the form of a new one."""

    start: str | None = option(
        "Potential to start from, in place of the form of a new one.",
        example="start.mtp", flag="--potential", metavar="FILE",
    )  # fmt: skip
    level: int | None = option(
        "Level of a new potential, even, e.g. 8 to 16.",
        example=12,
        required=True,
        bounds=LEVEL,
    )
    species: tuple[str, ...] | None = option(
        "Chemical symbols in the order of the types of .cfg files.",
        example=("Fe", "Al"), required=True, metavar="SYMBOL",
    )  # fmt: skip
    radial_size: int = option(
        "Number of radial Chebyshev polynomials.", 8, bounds=Bounds(least=1, most=200)
    )
    magnetic_size: int = option(
        "Number of magnetic Chebyshev polynomials per moment; with 2, an atom among atoms without "
        "moment has no magnetic force whatever its moment.",
        3,
        bounds=Bounds(least=1, most=20),
    )
    cutoff: float = option("Cutoff radius, Angstrom.", 5.0, bounds=CUTOFF)
    form: str = option(
        "'parity' has radial functions of one parity, 'symmetrised' is [E(M) + E(-M)] / 2; both "
        "are even under reversal of all moments. 'bare' is E(M), which is all that MLIP-3 and "
        "motep know: 'parity' is the same there, 'symmetrised' is not. A start potential keeps "
        "its own form if not given.",
        DEFAULT_FORM, choices=FORMS, old=("symmetrised",),
        old_values={True: "symmetrised", False: "bare"},
        old_flags={"--bare": "--form=bare", "--symmetrised": "--form=symmetrised"},
    )  # fmt: skip
    pattern: str | None = option(
        "Of the form 'parity', one letter for each mu of the level: e (even), o (odd) or b (one of "
        "each); eoe... if not given, of which levels below 12 have even ones only.",
        example="eoe", metavar="LETTERS",
    )  # fmt: skip
    non_magnetic: tuple[str, ...] = option(
        "Species without moments: no energy depends on theirs, which count as zero.",
        (), example=("Al",), metavar="SYMBOL",
    )  # fmt: skip
    noncollinear_terms: int = option(
        "Number of radial functions of terms that vanish for collinear moments, e.g. 2: "
        "coefficients of their own for canted labels. A start potential without them gets new "
        "ones; with 0 it keeps those that it has.",
        0, bounds=Bounds(least=0, most=MOST_FUNCTIONS),
    )  # fmt: skip


@options
class Fit(Method):
    """How to fit."""

    seed: int = option(
        "Seed of the coefficients of a new potential and of the choice of a held-out fraction.",
        0, bounds=SEED,
    )  # fmt: skip


@options
class Several:
    """Several fits in place of one: an ensemble, cross-validation or the scan of a weight."""

    ensemble: int | None = option(
        "Fit so many potentials to the same data from random starts, with the seeds 'seed', "
        "'seed' + 1 and so on; of a start potential the form is taken, not the coefficients.",
        example=5, bounds=Bounds(least=2, most=10_000),
    )  # fmt: skip
    folds: int | None = option(
        "Cross-validate: split the data at random into so many parts, and hold each out once. A "
        "potential is written only where its file is given; it is fitted to all data at the end.",
        example=5, bounds=Bounds(least=2, most=10_000),
    )  # fmt: skip
    scan: str | None = option(
        "Cross-validate for several values of this weight, with 5 folds if not given.",
        example="magnetic-forces",
        choices=("energy", "forces", "stress", "magnetic-forces", "magnetic-forces-along",
                 "magnetic-forces-across"),
    )  # fmt: skip
    scan_values: tuple[float, ...] = option(
        "Values of the weight that is scanned.",
        (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0),
        bounds=POSITIVE,
    )
    parallel: bool = option(
        "Fit all members of an ensemble at once, for devices that one member leaves idle; on a "
        "CPU one after the other is faster.",
        False, off="--no-parallel",
    )  # fmt: skip
    executor: str | None = executor("several at once")


@options
class Output:
    """What is written."""

    potential: str = output(
        "Potential to write; a file that is there already is kept as FILE.bak, the next one as "
        "FILE.bak2. Of an ensemble this is the best, and the members are pot.0.mtp, pot.1.mtp and "
        "so on.",
        default="pot.mtp",
    )
    active_set: bool = option(
        "Write the active set of the training set beside the potential, pot.active.npz, for "
        "extrapolation grades; also beside each member of an ensemble.",
        True, off="--no-active-set", off_help="Write no active set beside the potential.",
    )  # fmt: skip
    report: str | None = file("Errors and settings as JSON.", "report.json", aliases=("json",))
    plot: str | None = file(
        "Parity plot (.png, .pdf or .svg), of held-out data where there are folds; of a scan the "
        "errors over the weight.",
        "parity.png",
    )
    scan_csv: str | None = file("Errors for each weight of a scan as CSV.", "scan.csv")
    history: str | None = file("Loss and errors of each step as CSV.", "loss.csv")


@dataclass(frozen=True)
class FitSettings:
    """All settings of ``mmtp fit``."""

    data: Data = field(default_factory=Data)
    potential: Form = field(default_factory=Form)
    domain: Domain = field(default_factory=Domain)
    weights: Weights = field(default_factory=Weights)
    fit: Fit = field(default_factory=Fit)
    several: Several = field(default_factory=Several)
    output: Output = field(default_factory=Output)

    @property
    def held_out_in_turn(self) -> bool:
        """Is it a cross-validation or a scan?"""
        return self.several.folds is not None or self.several.scan is not None

    @property
    def is_several(self) -> bool:
        """Are there several fits in place of one?"""
        return self.several.ensemble is not None or self.held_out_in_turn


def check(settings: FitSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    check_form(settings.potential, settings.domain, given)
    domain = given.get("domain", {})
    if settings.domain.keep_domain and settings.potential.start and len(domain) > 1:
        raise ValueError(
            "keep the domain of the start potential, or give --min-dist and --max-magmom; not both"
        )
    checked_keys(settings.data.keys)
    _check_several(settings, given)


def check_form(potential: Form, domain: Domain, given: Values) -> None:
    """Refuse a potential that is a file and a new one, or none that can be.

    Raises:
        ValueError: in words.
    """
    form = given.get("potential", {})
    if "start" in form:
        both = sorted(set(form) - {"start", "species", "form", "noncollinear_terms"})
        if both:
            options = ", ".join(map(named, both))
            raise ValueError(
                f"the potential starts from {form['start']}, and {options} of a new one cannot be "
                "given as well; remove one of the two"
            )
    else:
        _check_new(potential, domain)


def _check_new(form: Form, domain: Domain) -> None:
    from mmtp_jax.cli.console import check_species

    species = check_species(form.species) or ()
    if len(set(species)) < len(species):
        raise ValueError(f"a species is there twice: {' '.join(species)}")
    moments = domain.max_magmom or ()
    if species and len(moments) > 1 and len(moments) != len(species):
        raise ValueError(
            f"{named('max_magmom')} has {len(moments)} numbers for the species "
            f"{' '.join(species)}; give one number, or one per species"
        )
    if domain.min_dist is not None and domain.min_dist >= form.cutoff:
        raise ValueError(
            f"{named('min_dist')} {domain.min_dist:g} is not below {named('cutoff')} "
            f"{form.cutoff:g}"
        )


def _check_several(settings: FitSettings, given: Values) -> None:
    several, output = settings.several, given.get("output", {})
    if several.ensemble is not None and (several.folds is not None or several.scan is not None):
        raise ValueError(
            "an ensemble has no folds; give either ensemble, or folds and scan; not both"
        )
    if settings.held_out_in_turn:
        check_deciding(settings.fit, settings.data.validation is not None)
    if several.scan is None:
        for name, where in (("scan_values", given.get("several", {})), ("scan_csv", output)):
            if name in where:
                raise ValueError(f"{name} needs the weight to scan, e.g. scan magnetic-forces")
    elif "potential" in output:
        raise ValueError("the scan of a weight writes no potential; remove the file for it")
    if not settings.held_out_in_turn:
        check_following(settings.fit, settings.data.validation is not None)
    if several.parallel and settings.fit.follows_validation:
        raise ValueError(
            "members in parallel take the same steps; leave out --parallel, or --patience and "
            "--best-validation"
        )
    if several.parallel:
        if several.ensemble is None:
            raise ValueError("parallel is for the members of an ensemble; give their number")
        if settings.fit.method != "lbfgs" or settings.fit.checkpoint is not None:
            raise ValueError("parallel members need the method lbfgs, and have no checkpoint")
        if settings.fit.coarse_to_fine == "on":
            raise ValueError(
                "parallel members are fitted to all data from the start; coarse_to_fine may be "
                "'auto' or 'off'"
            )
    if several.executor is not None:
        if not settings.is_several:
            raise ValueError("an executor is for several fits: ensemble, folds or scan")
        if several.parallel:
            raise ValueError("members run in parallel in one process, or by an executor; not both")
    if settings.is_several and output.get("history") is not None:
        raise ValueError("a history is that of one fit; the report has the members and folds")


def new_potential(form: Form, domain: Domain, seed: int) -> Potential:
    """A potential of the given form with random coefficients.

    Raises:
        ValueError: if level or species are missing, or a value is out of its range.
    """
    import mmtp_jax as mmtp
    from mmtp_jax.cli.console import check_species

    missing = [named(name) for name in ("level", "species") if not getattr(form, name)]
    if missing:
        raise ValueError(
            f"a new potential needs {' and '.join(missing)}, e.g. --level 12 --species Fe Al"
        )
    optional = {
        name: value
        for name, value in (("min_dist", domain.min_dist), ("max_magmom", domain.max_magmom))
        if value is not None
    }
    return mmtp.Potential.new(
        level=form.level,
        species=check_species(form.species),
        radial_size=form.radial_size,
        magnetic_size=form.magnetic_size,
        cutoff=form.cutoff,
        form=form.form,
        pattern=form.pattern,
        non_magnetic=form.non_magnetic,
        noncollinear_terms=form.noncollinear_terms,
        seed=seed,
        **optional,
    )


def first_potential(form: Form, domain: Domain, seed: int, given: Values) -> Potential:
    """The potential that fits start from: a new one, or that of a file.

    The latter keeps its form and its noncollinear terms unless ``given`` names others.

    Raises:
        ValueError: as `new_potential` and `mmtp_jax.load`.
    """
    import mmtp_jax as mmtp
    from mmtp_jax.cli.console import check_species

    if form.start is None:
        return new_potential(form, domain, seed)
    start = mmtp.load(
        form.start,
        species=check_species(form.species),
        form=given.get("potential", {}).get("form"),
    )
    n = form.noncollinear_terms
    return start if n in (0, start.noncollinear_terms) else start.with_noncollinear_terms(n, seed)
