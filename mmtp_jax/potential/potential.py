"""The magnetic moment tensor potential as one immutable pytree.

What is static (species, basis sizes, contraction tables, form) decides the shape of the
compiled program; what is numeric (coefficients, cutoffs, intervals) is a leaf, so that neither a
new fit nor a new moment interval compiles anything again.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mmtp_jax.language import argument, named
from mmtp_jax.options import MAX_CUTOFF
from mmtp_jax.potential.chebyshev import chebyshev_rescaling
from mmtp_jax.potential.forms import DEFAULT_FORM, form_of
from mmtp_jax.potential.free import free_indices, masked, spread
from mmtp_jax.potential.largest_moments import declared, magnetic_of
from mmtp_jax.potential.moments import MomentTables, moment_tables
from mmtp_jax.potential.noncollinear_coefficients import (
    NoncollinearTerms,
    free_radial,
    new_terms,
)
from mmtp_jax.potential.parity import parity_tables

Array = Any

_PARAMETERS = ("species_coeffs", "moment_coeffs", "radial_coeffs")
SETTINGS = ("scaling", "min_dist", "cutoff", "min_magmom", "max_magmom", "confinement")
"""Fields that a fit leaves alone and that are no part of the form."""
_OPTIONAL = ("noncollinear",)
"""Parameters that most potentials do not have; behind all other leaves."""
_STATIC = ("species", "tables", "form", "parities", "non_magnetic", "tag")


class Confinement(NamedTuple):
    """Energies outside of the intervals of a potential (`mmtp_jax.potential.confinement`)."""

    repulsion: Array
    """(S, S) A of A exp(-r / lambda) between atoms closer than R_min, eV."""
    decay: Array
    """(S, S) lambda, Angstrom."""
    stiffness: Array
    """(S,) k of k M u^3, the energy of a moment (1 + u) M, eV/mu_B."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=list(_PARAMETERS + SETTINGS + _OPTIONAL),
    meta_fields=list(_STATIC),
    # As a part of the static description it would have every new fit compiled anew.
    drop_fields=["record"],
)
@dataclass(frozen=True, eq=False)
class Potential:
    """A magnetic moment tensor potential (Burov 2026, Eqs. 1-7).

    Parameters that a fit changes:

    ``species_coeffs`` (S,)
        Energy of an isolated atom of each species, eV.
    ``moment_coeffs`` (N_B,)
        The linear coefficients xi of the basis functions, eV.
    ``radial_coeffs`` (S, S, N_mu, N_phi, N_psi, N_psi)
        c for (central species, neighbour species, mu, zeta, beta, gamma): beta belongs to the
        moment of the central atom, gamma to the neighbour's.
    ``noncollinear``
        `NoncollinearTerms`, coefficients of terms that vanish for parallel moments
        (`mmtp_jax.potential.noncollinear`); or None.

    Numbers that a fit leaves alone:

    ``scaling`` ()
        Factor of every radial function.
    ``min_dist``, ``cutoff`` ()
        Interval of the radial Chebyshev polynomials, Angstrom.
    ``min_magmom``, ``max_magmom`` (S,)
        Interval of the magnetic Chebyshev polynomials of each species, mu_B.
    ``confinement``
        `Confinement`, what keeps atoms and moments inside of these intervals; or None.

    Static description: ``species`` (chemical symbols), ``tables`` (contractions), ``form``,
    ``parities``, ``non_magnetic`` and ``tag`` (free text that a potential file carries).

    The form is ``"symmetrised"``, [E(M) + E(-M)] / 2 (Burov 2026, Eq. 7); ``"bare"``, E(M) as it
    is; or ``"parity"``, E(M) with radial functions of one parity and even contractions only. Then
    ``parities`` has a letter for each radial function, ``e`` or ``o``, and the coefficients that
    are zero by parity are no parameters (`mmtp_jax.potential.parity`). ``parities`` is empty in
    the other forms.

    No energy depends on the moments of atoms of the species ``non_magnetic``: of c they have
    beta = 0 alone as central atoms and gamma = 0 alone as neighbours, and the rest are zeros and
    no parameters (`mmtp_jax.potential.free`). Their moments count as zero wherever atoms are
    taken for this potential.

    ``record`` says how it was fitted (`mmtp_jax.fitting.record`). It goes with copies and files,
    but not through transformations of JAX, whose results have none.
    """

    species_coeffs: Array
    moment_coeffs: Array
    radial_coeffs: Array
    scaling: Array
    min_dist: Array
    cutoff: Array
    min_magmom: Array
    max_magmom: Array
    species: tuple[str, ...]
    tables: MomentTables
    form: str = "symmetrised"
    parities: str = ""
    non_magnetic: tuple[str, ...] = ()
    tag: str = ""
    record: dict[str, Any] | None = None
    confinement: Confinement | None = None
    noncollinear: NoncollinearTerms | None = None

    @classmethod
    def new(
        cls,
        *,
        level: int | None = None,
        species: Sequence[str],
        radial_size: int = 8,
        magnetic_size: int = 3,
        min_dist: float = 1.9,
        cutoff: float = 5.0,
        max_magmom: float | Sequence[float] = 3.5,
        form: str | None = None,
        pattern: str | None = None,
        non_magnetic: Sequence[str] = (),
        noncollinear_terms: int = 0,
        seed: int = 0,
        tables: MomentTables | None = None,
        symmetrised: bool | None = None,
    ) -> Potential:
        """A potential with random coefficients, ready to be fitted.

        The radial coefficients are drawn so that a radial function has the size of about one at
        mid-range whatever the cutoff; the linear coefficients are small.

        Args:
            level: even level of the potential; ``lev M = 2 + 4 mu + nu`` (Burov 2026, Sec. 2).
            species: chemical symbols; their order gives the types of ``.cfg`` files.
            radial_size: N_phi, number of radial Chebyshev polynomials.
            magnetic_size: N_psi, number of magnetic Chebyshev polynomials per moment. With 2, an
                atom among atoms without moment has dE/dm = 0 whatever its moment.
            min_dist: R_min, Angstrom.
            cutoff: R_cut, Angstrom.
            max_magmom: M_max in mu_B, one number or one per species; 0 declares a species
                ``non_magnetic``.
            form: ``"parity"``, ``"symmetrised"`` or ``"bare"``, see the class.
            pattern: of the form ``"parity"``, one letter for each mu: ``e`` for an even radial
                function, ``o`` for an odd one, ``b`` for one of each; by default e o e ..., of
                which levels below 12 have even ones only.
            non_magnetic: species whose atoms have no moments, see the class.
            noncollinear_terms: number of radial functions of the terms that vanish for parallel
                moments, see `with_noncollinear_terms`; 0 for none.
            seed: of the random coefficients.
            tables: contraction tables to use in place of the generated ones of ``level``, in the
                other forms.
            symmetrised: older name of the forms: true for ``"symmetrised"``, false for
                ``"bare"``.

        Raises:
            ValueError: if an argument is out of its range.
        """
        species = (species,) if isinstance(species, str) else tuple(species)
        _check_new(species, radial_size, magnetic_size, min_dist, cutoff)
        form = form_of(form, symmetrised, DEFAULT_FORM if tables is None else "symmetrised")
        parities = ""
        if pattern is not None and form != "parity":
            raise ValueError(
                f"a {named('pattern')} ({pattern}) belongs to the form 'parity', not to {form!r}; "
                "leave out one of the two"
            )
        if tables is None and level is None:
            raise ValueError(f"give the level of the potential, e.g. {argument('level', 12)}")
        if form == "parity":
            if tables is not None:
                raise ValueError("form='parity' makes tables of its own; give a level, no tables")
            tables, parities = parity_tables(level, pattern)
        elif tables is None:
            tables = moment_tables(level)
        max_magmom, non_magnetic = declared(max_magmom, non_magnetic, species)
        rng = np.random.default_rng(seed)
        n_species, n_mu = len(species), tables.n_radial
        shape = (n_species, n_species, n_mu, radial_size, magnetic_size, magnetic_size)
        smoothing = (0.5 * (cutoff - min_dist)) ** 2
        # Lower orders dominate in fitted potentials, so draw them larger.
        order = np.add.outer(
            np.arange(radial_size),
            2 * np.add.outer(np.arange(magnetic_size), np.arange(magnetic_size)),
        )
        radial = rng.normal(size=shape) / (smoothing * (1.0 + order))
        new = cls(
            species_coeffs=np.zeros(n_species),
            moment_coeffs=1e-3 * rng.normal(size=tables.n_scalars),
            radial_coeffs=masked(parities, magnetic_of(species, non_magnetic), radial),
            scaling=np.float64(1.0),
            min_dist=np.float64(min_dist),
            cutoff=np.float64(cutoff),
            min_magmom=-max_magmom,
            max_magmom=max_magmom,
            species=species,
            tables=tables,
            form=form,
            parities=parities,
            non_magnetic=non_magnetic,
        )
        return new.with_noncollinear_terms(noncollinear_terms, seed)

    def __repr__(self) -> str:
        """One line: what it is, without its numbers."""
        level = "tables of its file" if self.level is None else f"level {self.level}"
        still = f"{' '.join(self.non_magnetic)} non-magnetic, " if self.non_magnetic else ""
        more = f"noncollinear terms {n}, " if (n := self.noncollinear_terms) else ""
        return (
            f"Potential({level}, species {' '.join(self.species)}, {still}form {self.form}, "
            f"{self.radial_size} radial x {self.magnetic_size} magnetic functions, {more}"
            f"{self.n_parameters} parameters)"
        )

    @property
    def unfitted(self) -> bool:
        """Whether it is one of `new`: of no recorded fit, and without energies of the species."""
        return self.record is None and not np.any(self.species_coeffs)

    @property
    def even(self) -> bool:
        """Whether E(M) = E(-M), exactly."""
        return self.form != "bare" or self.magnetic_size == 1

    @property
    def symmetrised(self) -> bool:
        """Older name of ``form == "symmetrised"``."""
        warnings.warn(
            "Potential.symmetrised is Potential.form == 'symmetrised' now; whether the energy is "
            "even under reversal is Potential.even",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.form == "symmetrised"

    @property
    def n_species(self) -> int:
        """Number of species."""
        return len(self.species)

    @property
    def magnetic(self) -> tuple[bool, ...]:
        """(S,) whether a species has moments; a tuple, for it is static."""
        return magnetic_of(self.species, self.non_magnetic)

    @property
    def radial_size(self) -> int:
        """N_phi, number of radial Chebyshev polynomials."""
        return self.radial_coeffs.shape[-3]

    @property
    def magnetic_size(self) -> int:
        """N_psi, number of magnetic Chebyshev polynomials per moment."""
        return self.radial_coeffs.shape[-1]

    @property
    def level(self) -> int | None:
        """Level of the potential, or None where a file brought tables of its own."""
        return self.tables.level

    @property
    def noncollinear_terms(self) -> int:
        """Number of radial functions of the terms that vanish for parallel moments."""
        return 0 if self.noncollinear is None else self.noncollinear.radial.shape[3]

    @property
    def parameter_sizes(self) -> dict[str, int]:
        """Number of parameters of each kind, in the order of `flatten`."""
        sizes = {name: int(np.size(getattr(self, name))) for name in _PARAMETERS}
        if self._has_zeros:
            sizes["radial_coeffs"] = len(self._free)
        if self.noncollinear is not None:
            sizes["noncollinear"] = int(np.size(self.noncollinear.coeffs))
            sizes["noncollinear_radial"] = len(self._free_noncollinear)
        return sizes

    @property
    def n_parameters(self) -> int:
        """P = N_species + N_B + N_mu N_phi N_species^2 N_psi^2 (Kotykhov 2024, Table 1).

        Of the form ``"parity"``, the radial coefficients that are not zero by parity count; of
        non-magnetic species those that need no moments of theirs. Those of ``noncollinear`` come
        on top.
        """
        return sum(self.parameter_sizes.values())

    @property
    def n_noncollinear(self) -> int:
        """Number of parameters of the terms that vanish for parallel moments."""
        sizes = self.parameter_sizes
        return sum(sizes.get(name, 0) for name in ("noncollinear", "noncollinear_radial"))

    @property
    def parameters(self) -> Array:
        """Flat array of the parameters, the same as `flatten`."""
        return self.flatten()

    def flatten(self) -> Array:
        """theta (P,): species, moment and radial coefficients, each in its own C order.

        Those of terms that vanish for parallel moments come last.
        """
        import jax.numpy as jnp

        leaves = [getattr(self, name) for name in _PARAMETERS]
        leaves += [] if self.noncollinear is None else self.noncollinear
        on_host = all(isinstance(leaf, np.ndarray) for leaf in leaves)
        xp = np if on_host else jnp
        species, moments, radial, *others = (xp.ravel(leaf) for leaf in leaves)
        if others:
            others[1] = self.free_noncollinear(others[1])
        return xp.concatenate([species, moments, self.free_radial(radial), *others])

    def unflatten(self, theta: Array) -> Potential:
        """The same potential with the parameters theta (P,).

        Raises:
            ValueError: if theta has another length.
        """
        if theta.shape != (self.n_parameters,):
            raise ValueError(
                f"theta has shape {tuple(theta.shape)}, "
                f"the potential has {self.n_parameters} parameters"
            )
        new, start = {}, 0
        for name, size in self.parameter_sizes.items():
            new[name] = theta[start : start + size]
            start += size
        if self._has_zeros:
            size = int(np.prod(np.shape(self.radial_coeffs)))
            new["radial_coeffs"] = spread(self._free, size, new["radial_coeffs"])
        shaped = {name: new[name].reshape(np.shape(getattr(self, name))) for name in _PARAMETERS}
        if self.noncollinear is None:
            return dataclasses.replace(self, **shaped)
        coeffs, shape = new["noncollinear"], np.shape(self.noncollinear.radial)
        radial = spread(self._free_noncollinear, int(np.prod(shape)), new["noncollinear_radial"])
        terms = NoncollinearTerms(
            coeffs.reshape(np.shape(self.noncollinear.coeffs)), radial.reshape(shape)
        )
        return dataclasses.replace(self, **shaped, noncollinear=terms)

    def with_noncollinear_terms(self, n: int, seed: int = 0) -> Potential:
        """A copy with terms that vanish for parallel moments, of n radial functions, or without.

        Its linear coefficients are zero, so that no energy changes until it is fitted; those of
        the functions are random.

        Args:
            n: 0 to 4 functions, of which 2 are a good choice.
            seed: of the random coefficients.

        Raises:
            ValueError: if n is out of its range, or moments of this potential cannot be vectors.
        """
        terms = new_terms(self, n, seed)
        return (
            self
            if terms is None and self.noncollinear is None
            else self.replace(noncollinear=terms)
        )

    def free_noncollinear(self, flat: Array) -> Array:
        """Of values (..., n) for the functions of ``noncollinear``, those that are parameters."""
        free = self._free_noncollinear
        return flat if len(free) == flat.shape[-1] else flat[..., free]

    @property
    def _free_noncollinear(self) -> np.ndarray:
        return free_radial(self.magnetic, np.shape(self.noncollinear.radial))

    def free_radial(self, flat: Array) -> Array:
        """Of values (..., n) for all of c in C order, those for the coefficients that are free."""
        return flat[..., self._free] if self._has_zeros else flat

    def masked(self, radial_coeffs: Array) -> Array:
        """Radial coefficients with zeros where this potential has no parameters."""
        return masked(self.parities, self.magnetic, radial_coeffs)

    @property
    def _has_zeros(self) -> bool:
        return bool(self.parities or self.non_magnetic)

    @property
    def _free(self) -> np.ndarray:
        return free_indices(self.parities, self.magnetic, np.shape(self.radial_coeffs))

    def replace(self, **changes: Any) -> Potential:
        """A copy with some fields changed."""
        if "symmetrised" in changes:
            changes["form"] = form_of(None, changes.pop("symmetrised"), self.form)
        return dataclasses.replace(self, **changes)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: the host's arrays; those of a device would lose digits."""
        leaves = {name: getattr(self, name) for name in _PARAMETERS + SETTINGS + _OPTIONAL}
        return vars(self) | jax.tree.map(
            lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, leaves
        )

    def astype(self, dtype: Any, contraction: Any = None) -> Potential:
        """A copy with all numbers as numpy arrays of ``dtype``, never those of this potential.

        With ``contraction``, e0 and xi have that type, and with them the contraction of the
        moments: float32 with a contraction in float64 loses few digits for little time.
        """
        copy = jax.tree.map(lambda leaf: np.array(leaf, dtype), self)
        copy = copy.replace(record=self.record)
        if contraction is None:
            return copy
        return copy.with_linear_of(self, lambda leaf: np.array(leaf, contraction))

    def with_linear_of(self, other: Potential, converted: Callable[[Array], Array]) -> Potential:
        """A copy with the linear coefficients e0, xi and others of one like it, converted."""
        changes = {name: converted(getattr(other, name)) for name in _PARAMETERS[:2]}
        if self.noncollinear is not None:
            coeffs = converted(other.noncollinear.coeffs)
            changes["noncollinear"] = self.noncollinear._replace(coeffs=coeffs)
        return self.replace(**changes)

    def with_common_interval(self) -> Potential:
        """The same function of the moments, written on one moment interval for all species.

        Programs that know only one interval can read the result. The change is exact: a
        polynomial of degree N_psi - 1 stays one under a linear change of its argument.
        """
        low, high = float(np.min(self.min_magmom)), float(np.max(self.max_magmom))
        return self.with_intervals(np.full(self.n_species, low), np.full(self.n_species, high))

    def with_intervals(self, min_magmom: np.ndarray, max_magmom: np.ndarray) -> Potential:
        """The same function of the moments, written on other intervals (S,) of them, mu_B.

        Raises:
            ValueError: if radial functions have a parity, and intervals are not symmetric.
        """
        if self.parities and not np.array_equal(np.negative(min_magmom), max_magmom):
            raise ValueError(
                "radial functions of one parity need intervals [-M, M] of the moments, got "
                f"{np.stack([min_magmom, max_magmom], 1).tolist()} mu_B"
            )
        old = zip(self.min_magmom, self.max_magmom, strict=True)
        new = zip(min_magmom, max_magmom, strict=True)
        change = np.stack(
            [
                chebyshev_rescaling(self.magnetic_size, before, after)
                for before, after in zip(old, new, strict=True)
            ]
        )
        radial = np.einsum("ijmzbg,ibp,jgq->ijmzpq", np.asarray(self.radial_coeffs), change, change)
        return self.replace(
            radial_coeffs=self.masked(radial),
            min_magmom=min_magmom,
            max_magmom=max_magmom,
        )


def traced(tree: Any) -> Any:
    """A pytree with JAX arrays in place of numpy's, for functions that may close over it.

    JAX remembers by identity what a numpy array became when it was traced as a constant: one that
    was traced in 32 bits is broken in 64 bits for ever. So it only ever gets copies.
    """
    import jax.numpy as jnp

    def own(leaf: Array) -> Array:
        return leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.array(leaf))

    return jax.tree.map(own, tree)


def _check_new(
    species: tuple[str, ...],
    radial_size: int,
    magnetic_size: int,
    min_dist: float,
    cutoff: float,
) -> None:
    if not species or len(set(species)) != len(species):
        raise ValueError(
            f"{named('species')} must be different chemical symbols, got "
            f"{' '.join(map(str, species)) or 'none'}"
        )
    if radial_size < 1 or magnetic_size < 1:
        raise ValueError(
            f"{named('radial_size')} and {named('magnetic_size')} must be at least 1, got "
            f"{radial_size} and {magnetic_size}"
        )
    if not 0.0 < min_dist < cutoff <= MAX_CUTOFF:
        raise ValueError(
            f"{named('min_dist')} ({min_dist:g} Angstrom) must be positive and below "
            f"{named('cutoff')} ({cutoff:g} Angstrom), and that at most {MAX_CUTOFF:g}"
        )
