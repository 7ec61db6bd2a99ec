"""Potentials in the ``.mtp`` text format that MLIP-3, spin-MLIP and motep share.

Read are both dialects of the magnetic basis (Burov 2026 gives the functional form):

- grouped: ``magnetic_basis_type = BChebyshev`` with ``min_val``, ``max_val``, ``basis_size``
  (motep's newer writer: ``min``, ``max``, ``size``) after the radial basis;
- flat: ``min_mag``, ``max_mag``, ``mag_basis_size`` under the radial basis.

Radial coefficients come in blocks ``zi-zj``; the order of the blocks counts, not the labels. Each
row is one mu, ordered zeta, beta (central atom), gamma (neighbour), gamma fastest. A ``scaling``
of the radial basis multiplies the one of the potential. The contraction tables of a file are
authoritative. A potential without magnetic basis is read as one of ``magnetic_size`` 1.

What the format has no place for is carried as JSON in ``potential_tag``, which other programs
skip: species, those that are non-magnetic, form, level, terms that vanish for parallel moments
(`Potential.noncollinear`), how it was fitted (`Potential.record`), and the text that the user put
there (`Potential.tag`). Any other content of ``potential_tag`` is that text.

A file that is cut, or in which a key, a block or a name is there twice, is refused, and so is one
that asks for more than potentials have: see the limits
here and in `mmtp_jax.io.mtp_tables`.

Two things that other programs do not know, and how to bring a potential to them:

- They evaluate the bare energy E(M). A symmetrised potential, [E(M) + E(-M)] / 2, reads well
  there and gives other numbers. One of the form ``parity`` gives the same ones. A file without our
  tag is of that form if the zeros of its coefficients and its tables make it even; a program that
  fits it further fills the zeros. So are the coefficients of non-magnetic species zeros that others
  read as such; without our tag they are no declaration.
- Moment intervals that differ between species are written as arrays, ``max_val = {3.0, 0.3}``.
  Other programs refuse them; `Potential.with_common_interval` gives the same function on one
  interval.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.mtp_tables import read_tables
from mmtp_jax.io.mtp_tag import read_tag, tag_text
from mmtp_jax.io.mtp_text import MtpText, read_mtp_text
from mmtp_jax.io.shipped import file_to_read
from mmtp_jax.language import argument
from mmtp_jax.options import MAX_CUTOFF
from mmtp_jax.potential.forms import form_of
from mmtp_jax.potential.parity import parities_of
from mmtp_jax.potential.potential import Potential
from mmtp_jax.warn import warn

MAX_MAGMOM = 100.0
"""Ends of the interval of the moments, mu_B."""
_UNMAGNETIC_INTERVAL = (-1.0, 1.0)
"""Written into potentials without magnetic basis, where nothing depends on it."""


def load(
    path: str | os.PathLike,
    species: Sequence[str] | str | None = None,
    form: str | None = None,
    symmetrised: bool | None = None,
) -> Potential:
    """Read a potential; numbers are float64 and exactly those of the file.

    Args:
        path: the ``.mtp`` file, or the name of a potential that comes with the program
            (`mmtp_jax.io.shipped`); a file of that name is read in its place, which is said.
        species: chemical symbols of the types 0, 1, ...; may be left out where the file names
            them, as files of `save` do.
        form: ``"symmetrised"`` or ``"bare"`` for the energy [E(M) + E(-M)] / 2 or E(M), whatever
            the file says. By default what it says; where it says nothing, the energy E(M) that
            MLIP-3 and motep evaluate, of the form ``"parity"`` where that is even.
        symmetrised: older name of the form.

    Raises:
        FileNotFoundError: if there is no such file, or potential of that name.
        ValueError: if the file is broken or cut, of another version or basis type, an untrained
            template, beyond the limits of this file, or does not fit ``species`` or ``form``. The
            message names file, line and key.

    Warns:
        LostSymmetryWarning: if the file was written as even, or with non-magnetic species, and
            another program has changed coefficients that are zero in it.

    Example:
        >>> potential = load("pot.mtp", species=("Fe", "Al"))
        >>> iron = load("Fe")
    """
    mtp = read_mtp_text(file_to_read(path))
    _check_trained(mtp)
    _check_types(mtp)
    tag, ours = read_tag(mtp)
    n_species = mtp.integer("top", "species_count")
    if not 0 < n_species <= len(atomic_numbers):
        mtp.fail_at("top", "species_count", f"is {n_species}, it has to be the number of elements")
    symbols = _species(mtp, n_species, species, ours.get("species"))
    tables = read_tables(mtp, ours)
    n_radial = mtp.integer("top", "radial_funcs_count")
    if n_radial != tables.n_radial:
        mtp.fail_at(
            "top", "radial_funcs_count",
            f"is {n_radial}, but alpha_index_basic uses {tables.n_radial} radial functions",
        )  # fmt: skip
    scaling = mtp.real("top", "scaling") if "scaling" in mtp.top else 1.0
    if "scaling" in mtp.radial:
        scaling *= mtp.real("radial", "scaling")
    min_dist, cutoff = mtp.real("radial", "min"), mtp.real("radial", "max")
    if not 0.0 <= min_dist < cutoff:
        mtp.fail_at("radial", "min", f"{min_dist:g} is not below max_dist {cutoff:g}, or negative")
    if cutoff > MAX_CUTOFF:
        mtp.fail_at("radial", "max", f"{cutoff:g} is a cutoff of more than {MAX_CUTOFF:g} Angstrom")
    magnetic_size, low, high = _magnetic_basis(mtp, n_species)
    potential = Potential(
        species_coeffs=mtp.reals("top", "species_coeffs", n_species, braces=True),
        moment_coeffs=mtp.reals("top", "moment_coeffs", tables.n_scalars, braces=True),
        radial_coeffs=_radial_coeffs(mtp, n_species, n_radial, magnetic_size),
        scaling=np.float64(scaling),
        min_dist=np.float64(min_dist),
        cutoff=np.float64(cutoff),
        min_magmom=low,
        max_magmom=high,
        species=symbols,
        tables=tables,
        form="symmetrised" if ours.get("symmetrised", False) else "bare",
        tag=tag,
        record=ours.get("record"),
        confinement=ours.get("confinement"),
        noncollinear=ours.get("noncollinear"),
    )
    potential = _with_non_magnetic(mtp, potential, tuple(ours.get("non_magnetic", ())))
    if form is None and symmetrised is None:
        return _without_lost_terms(_with_parities(mtp, potential, ours))
    form = form_of(form, symmetrised, "bare")
    if form == "parity":
        found = _with_parities(mtp, potential, ours)
        if found.form != "parity":
            mtp.fail("does not have the form parity; mmtp convert --form parity can make it so")
        return found
    return _without_lost_terms(potential.replace(form=form))


def save(path: str | os.PathLike, potential: Potential, dialect: str = "grouped") -> None:
    """Write a potential so that `load` gives it back to the last bit.

    Args:
        path: the ``.mtp`` file, which appears whole or not at all.
        potential: the potential. Other programs evaluate its bare energy, whatever
            ``potential.form`` says, and refuse moment intervals that differ between
            species (see `Potential.with_common_interval`).
        dialect: ``"grouped"``, which MLIP-3 and motep read, or ``"flat"``, an older one.

    Raises:
        TypeError: if ``potential`` is something else.
        ValueError: if the dialect is unknown, or a number of the potential is not finite.
    """
    if not isinstance(potential, Potential):
        raise TypeError(
            f"save(path, potential) needs a Potential second, got a {type(potential).__name__}"
        )
    if dialect not in ("grouped", "flat"):
        raise ValueError(f"dialect must be 'grouped' or 'flat', got {dialect!r}")
    text = "".join(f"{line}\n" for line in _lines(potential, dialect))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# Reading


class LostSymmetryWarning(UserWarning):
    """A potential that was even under reversal of all moments, or had non-magnetic species, has
    lost the zeros that made it so."""


def _with_parities(mtp: MtpText, potential: Potential, ours: dict[str, Any]) -> Potential:
    """The form ``parity``, where the bare energy of a file is even by its zeros."""
    if potential.form != "bare":
        return potential
    expected = ours.get("parities", "")
    if potential.magnetic_size == 1 and not expected:
        return potential
    symmetric = np.array_equal(potential.min_magmom, np.negative(potential.max_magmom))
    if expected and not symmetric:
        mtp.fail_at(
            "top", "potential_tag",
            "says that radial functions have one parity, which needs intervals from -M to M of the "
            "moments; restore min_val and max_val, or empty the tag",
        )  # fmt: skip
    parities = parities_of(potential, expected)
    if expected and parities not in ("", expected):
        mtp.fail_at(
            "top", "potential_tag",
            f"says that the radial functions are {expected[:40]}, and their zeros that they are "
            f"{parities} (e even, o odd); restore or empty it",
        )  # fmt: skip
    if parities:
        return potential.replace(form="parity", parities=parities)
    if expected:
        warn(
            f"{mtp.path}: was written as a potential whose energy is even under reversal of all "
            "moments, but coefficients that keep it so are not zero any more, as after a fit with "
            "another program; it is read as a bare potential. Restore the zeros, or fit again with "
            "the form 'parity'",
            LostSymmetryWarning,
        )
    return potential


def _without_lost_terms(potential: Potential) -> Potential:
    """The bare energy has no canted moments, and no terms of them."""
    return potential if potential.even else potential.replace(noncollinear=None)


def _with_non_magnetic(mtp: MtpText, potential: Potential, named: tuple[str, ...]) -> Potential:
    """The potential with species that have no moments, as far as its zeros are still those."""
    declared = potential.replace(non_magnetic=named)
    c = potential.radial_coeffs
    if not named or np.array_equal(declared.masked(c), c):
        return declared
    warn(
        f"{mtp.path}: was written as a potential with non-magnetic {', '.join(named)}, but "
        "coefficients of moments of these species are not zero any more, as after a fit with "
        "another program; it is read as one in which they have moments",
        LostSymmetryWarning,
    )
    return potential


def _check_trained(mtp: MtpText) -> None:
    missing = [key for key in ("species_coeffs", "moment_coeffs") if key not in mtp.top]
    if not mtp.radial_rows:
        missing.insert(0, "radial_coeffs")
    if missing:
        mtp.fail(
            f"{', '.join(missing)} missing: this is an untrained template (or cut); a new "
            "potential is made by Potential.new, or by mmtp fit"
        )


def _check_types(mtp: MtpText) -> None:
    radial = mtp.raw("radial", "type")
    if radial != "RBChebyshev":
        mtp.fail_at("radial", "type", f"{radial!r} is not supported, only 'RBChebyshev' is")
    magnetic = mtp.magnetic.get("type", "BChebyshev")
    if magnetic != "BChebyshev":
        mtp.fail_at("magnetic", "type", f"{magnetic!r} is not supported, only 'BChebyshev' is")
    if "scaling" in mtp.magnetic and mtp.real("magnetic", "scaling") != 1.0:
        mtp.fail_at("magnetic", "scaling", "is not 1; multiply it into the coefficients")


def _species(
    mtp: MtpText,
    n_species: int,
    given: Sequence[str] | str | None,
    named: Sequence[str] | None,
) -> tuple[str, ...]:
    if given is None and named is None:
        mtp.fail(
            f"names no species for its {n_species} type(s); say which they are, "
            f"e.g. {argument('species', ('Fe', 'Al'))}"
        )
    symbols = named if given is None else (given,) if isinstance(given, str) else given
    symbols = tuple(symbols)
    if len(symbols) != n_species:
        mtp.fail(
            f"has {n_species} species (species_count), but the species {_in_words(symbols)} were "
            "given"
        )
    if len(set(symbols)) < n_species:
        mtp.fail(f"species {_in_words(symbols)} has a symbol twice")
    if named is not None and symbols != tuple(named):
        mtp.fail(
            f"is a potential for {_in_words(named)}, in this order, but the species "
            f"{_in_words(symbols)} were given"
        )
    return symbols


def _in_words(symbols: Sequence[Any]) -> str:
    return " ".join(map(str, symbols))


def _magnetic_basis(mtp: MtpText, n_species: int) -> tuple[int, np.ndarray, np.ndarray]:
    if not mtp.magnetic:
        low, high = (np.full(n_species, end) for end in _UNMAGNETIC_INTERVAL)
        return 1, low, high
    ends = []
    for key in ("min", "max"):
        one_for_all = "{" not in mtp.raw("magnetic", key)
        values = mtp.reals("magnetic", key, 1 if one_for_all else n_species)
        ends.append(np.broadcast_to(values, n_species).copy())
    if not np.all(ends[0] < ends[1]):
        mtp.fail_at(
            "magnetic", "min", f"{ends[0].tolist()} is not below max_val {ends[1].tolist()}"
        )
    if np.max(np.abs(ends)) > MAX_MAGMOM:
        mtp.fail_at("magnetic", "max", f"or min_val is beyond {MAX_MAGMOM:g} mu_B")
    size = mtp.integer("magnetic", "size")
    if size < 1:
        mtp.fail_at("magnetic", "size", "is 0")
    return size, ends[0], ends[1]


def _radial_coeffs(mtp: MtpText, n_species: int, n_radial: int, magnetic_size: int) -> np.ndarray:
    size = mtp.integer("radial", "size")
    if size < 1:
        mtp.fail_at("radial", "size", "is 0")
    _check_labels(mtp, n_species)
    if len(mtp.radial_rows) != n_species**2 * n_radial:
        mtp.fail(
            f"radial_coeffs has {len(mtp.radial_rows)} rows, {n_species**2} blocks of "
            f"radial_funcs_count {n_radial} need {n_species**2 * n_radial}"
        )
    width = size * magnetic_size**2
    rows = [
        mtp.parse_reals(row, width, f"row {k} of radial_coeffs", line)
        for k, (line, row) in enumerate(mtp.radial_rows, 1)
    ]
    shape = (n_species, n_species, n_radial, size, magnetic_size, magnetic_size)
    return np.reshape(rows, shape)


def _check_labels(mtp: MtpText, n_species: int) -> None:
    """Whether the blocks are those of all pairs, in order, whatever the species are called."""
    labels = mtp.labels
    if len(labels) != n_species**2:
        mtp.fail(
            f"radial_coeffs has {len(labels)} blocks zi-zj, {n_species} species need {n_species**2}"
        )
    names = [second for _, second in labels[:n_species]]
    if len(set(names)) < n_species or labels != [(a, b) for a in names for b in names]:
        found = ", ".join("-".join(label) for label in labels[:9])
        mtp.fail(
            f"radial_coeffs has the blocks {found}; it needs each pair once, central species "
            "first and in the same order"
        )


# Writing


def _lines(potential: Potential, dialect: str) -> Iterable[str]:
    tables, n_species = potential.tables, potential.n_species
    low = _real_or_array(potential, "min_magmom")
    high = _real_or_array(potential, "max_magmom")
    yield "MTP"
    yield "version = 1.1.0"
    # MLIP-3 reads one word here: nothing, or two words, would shift what it reads next.
    yield "potential_name = MTP1m"
    yield f"scaling = {_real(potential, 'scaling')}"
    yield f"species_count = {n_species}"
    yield f"potential_tag = {tag_text(potential)}"
    yield "radial_basis_type = RBChebyshev"
    if dialect == "flat":
        yield f"\tmin_mag = {low}"
        yield f"\tmax_mag = {high}"
        yield f"\tmag_basis_size = {potential.magnetic_size}"
    yield f"\tmin_dist = {_real(potential, 'min_dist')}"
    yield f"\tmax_dist = {_real(potential, 'cutoff')}"
    yield f"\tradial_basis_size = {potential.radial_size}"
    if dialect == "grouped":
        yield "magnetic_basis_type = BChebyshev"
        yield f"\tmin_val = {low}"
        yield f"\tmax_val = {high}"
        yield f"\tbasis_size = {potential.magnetic_size}"
    yield f"\tradial_funcs_count = {tables.n_radial}"
    yield "\tradial_coeffs"
    blocks = _finite(potential, "radial_coeffs")
    for i in range(n_species):
        for j in range(n_species):
            yield f"\t\t{i}-{j}"
            for row in blocks[i, j].reshape(tables.n_radial, -1):
                yield f"\t\t\t{_array(row)}"
    yield f"alpha_moments_count = {tables.n_moments}"
    yield f"alpha_index_basic_count = {len(tables.basic)}"
    yield f"alpha_index_basic = {_array(tables.basic)}"
    yield f"alpha_index_times_count = {len(tables.products)}"
    yield f"alpha_index_times = {_array(tables.products)}"
    yield f"alpha_scalar_moments = {len(tables.scalars)}"
    yield f"alpha_moment_mapping = {_array(tables.scalars)}"
    yield f"species_coeffs = {_array(_finite(potential, 'species_coeffs'))}"
    yield f"moment_coeffs = {_array(_finite(potential, 'moment_coeffs'))}"


def _finite(potential: Potential, name: str) -> np.ndarray:
    values = np.asarray(getattr(potential, name), np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} of the potential has a value that is not finite; not written")
    return values


def _real(potential: Potential, name: str) -> str:
    return repr(float(_finite(potential, name)))


def _real_or_array(potential: Potential, name: str) -> str:
    values = _finite(potential, name)
    return _array(values) if np.any(values != values[0]) else repr(float(values[0]))


def _array(values: np.ndarray) -> str:
    # repr of a Python float is the shortest text that reads back as the same bits.
    return str(np.asarray(values).tolist()).replace("[", "{").replace("]", "}")
