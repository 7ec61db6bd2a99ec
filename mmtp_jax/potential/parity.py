"""Radial functions of one parity under reversal of all moments, and potentials made of them.

On an interval [-M, M] the magnetic Chebyshev polynomial of order k has the parity of k. A radial
function whose coefficients c^(beta,gamma) vanish unless beta + gamma has the parity pi_mu has that
parity itself; so have all moments M_{mu,nu}, and a contraction has the sum of the parities of its
factors. With even contractions alone E(M) = E(-M) holds term by term, in one evaluation: the form
of the bare energy, which every program reads.

Parities are text of one letter for each radial function, ``e`` (even) or ``o`` (odd). A pattern
has one letter for each mu of a level, and may also have ``b``: both, two functions with the level
2 + 4 mu + nu of that mu.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.language import named
from mmtp_jax.potential.free import masked
from mmtp_jax.potential.moments import MomentTables, check_level, tables_of
from mmtp_jax.potential.multigraphs import even_contractions

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential

LETTERS = {"e": (False,), "o": (True,), "b": (False, True)}
"""Whether the radial functions that a letter of a pattern stands for are odd."""


@cache
def parity_tables(level: int, pattern: str | None = None) -> tuple[MomentTables, str]:
    """Tables of the even contractions up to a level, and the parities of their radial functions.

    Args:
        level: even, at least 2.
        pattern: one letter for each mu; `default_pattern` if not given.

    Raises:
        ValueError: if the pattern has another length or letters, no even function, or one that no
            even contraction up to this level uses.
    """
    check_level(level)
    n_mu = (level - 2) // 4 + 1
    chosen = default_pattern(level) if pattern is None else pattern
    _check_pattern(chosen, level, n_mu)
    functions = [(mu, odd) for mu, letter in enumerate(chosen) for odd in LETTERS[letter]]
    found = even_contractions(level, functions)
    used = {k for tensor in found for k in tensor.mus}
    missing = sorted({functions[k][0] for k in range(len(functions)) if k not in used})
    if missing:
        mu = missing[0]
        first = 4 + 4 * mu + 4 * min(m for m, odd in functions if odd)
        raise ValueError(
            f"{named('pattern')} {chosen}: no even contraction up to level {level} has the odd "
            f"function of mu = {mu}, which takes part from level {first}; give the letter e for it"
        )
    return tables_of(found, level), "".join("eo"[odd] for _, odd in functions)


def default_pattern(level: int) -> str:
    """The pattern of a new potential of this level: e o e o ..., as far as there are odd ones.

    An odd function of mu takes part in pairs with that of mu = 1, from level 8 + 4 mu.
    """
    n_mu = (level - 2) // 4 + 1
    return "".join("o" if mu % 2 and level >= 8 + 4 * mu else "e" for mu in range(n_mu))


def _check_pattern(pattern: str, level: int, n_mu: int) -> None:
    wrong = sorted(set(pattern) - set(LETTERS))
    if wrong and len(pattern) == n_mu:
        raise ValueError(
            f"{named('pattern')} {pattern} has {', '.join(wrong)}; its letters are e (even), "
            "o (odd) and b (both)"
        )
    if len(pattern) != n_mu:
        raise ValueError(
            f"{named('pattern')} {pattern} needs {n_mu} letter{'' if n_mu == 1 else 's'} at level "
            f"{level}, one for each mu: e (even), o (odd) or b (both)"
        )
    if not set(pattern) & {"e", "b"}:
        raise ValueError(
            f"{named('pattern')} {pattern} has no even function; give e or b for one of them"
        )


# --- tables -------------------------------------------------------------------------


def parities_of(potential: Potential, expected: str = "") -> str:
    """The parities of the radial functions if they make the bare energy even, else ''.

    The zeros of c say what each function is, and the products what each basis function is.

    Args:
        potential: one with the bare energy.
        expected: parities that are tried first; they decide where all of a function is zero.
    """
    if not np.array_equal(potential.min_magmom, np.negative(potential.max_magmom)):
        return ""
    letters = _letters(_halves(potential), expected)
    if "b" in letters:
        return ""
    lanes = _lanes(potential.tables, letters)
    return "" if any(lanes[k][1] for k in potential.tables.scalars.tolist()) else letters


def _halves(potential: Potential) -> dict[str, np.ndarray]:
    """The even and the odd part of c."""
    c = np.asarray(potential.radial_coeffs)
    return {letter: masked(letter * c.shape[2], (), c) for letter in "eo"}


def _letters(halves: dict[str, np.ndarray], expected: str = "") -> str:
    """What each radial function is: e, o or b; where all of it is zero as expected, or e."""
    even, odd = (halves[letter].any(axis=(0, 1, 3, 4, 5)) for letter in "eo")
    if len(expected) != len(even):
        expected = "e" * len(even)
    return "".join(
        "b" if e and o else "e" if e else "o" if o else wanted
        for e, o, wanted in zip(even, odd, expected, strict=True)
    )


def _lanes(tables: MomentTables, parities: str) -> list[tuple[bool, bool]]:
    """Whether each moment has an even and an odd part."""
    lanes = [(False, False)] * tables.n_moments
    for k, mu in enumerate(tables.basic[:, 0].tolist()):
        lanes[k] = (parities[mu] in "eb", parities[mu] in "ob")
    for a, b, _, target in tables.products.tolist():
        (a_even, a_odd), (b_even, b_odd), (even, odd) = lanes[a], lanes[b], lanes[target]
        lanes[target] = (
            even or (a_even and b_even) or (a_odd and b_odd),
            odd or (a_even and b_odd) or (a_odd and b_even),
        )
    return lanes


def as_parity(potential: Potential) -> Potential:
    """The same energy as a symmetrised potential's, in the form of one parity.

    Each radial function becomes its even and its odd half, each moment an even and an odd part,
    each product of moments the (at most four) products of these that the even part of a basis
    function needs. The linear coefficients stay.

    Raises:
        ValueError: if the potential is bare and not even.
    """
    if potential.form == "parity":
        return potential
    if not potential.even:
        raise ValueError(
            "the bare energy of this potential is not even under reversal of all moments; a "
            "potential of one parity cannot equal it"
        )
    most = np.maximum(np.abs(potential.min_magmom), np.abs(potential.max_magmom))
    potential = potential.with_intervals(-most, most)
    halves = _halves(potential)
    tables, functions, scalars = split_tables(potential.tables, _letters(halves))
    kept = [(mu, "eo"[odd]) for mu, odd, _ in functions]
    return dataclasses.replace(
        potential,
        radial_coeffs=np.stack([halves[letter][:, :, mu] for mu, letter in kept], axis=2),
        moment_coeffs=np.asarray(potential.moment_coeffs)[scalars],
        tables=tables,
        form="parity",
        parities="".join(letter for _, letter in kept),
    )


Function = tuple[int, int, int]
"""mu, whether it is odd, and which component of an odd one."""


def split_tables(
    tables: MomentTables, parities: str, dimension: int = 1
) -> tuple[MomentTables, list[Function], list[int]]:
    """Tables of the even parts of the scalars, their radial functions, and which scalars.

    Even parts are scalars. Odd ones have as many components as the moments of atoms: the product
    of two is the sum over these, that of an even and an odd part has those of the odd one.

    Args:
        tables: of moments whose radial functions may have both parts.
        parities: ``e``, ``o`` or ``b`` for each radial function.
        dimension: 1 for collinear moments, 3 for vectors.
    """
    lanes = _lanes(tables, parities)
    rows = []
    for a, b, factor, target in tables.products.tolist():
        # Of a square, the product of the even and the odd part is there twice.
        pairs = [(0, 0, 1), (1, 1, 1), (0, 1, 1 + (a == b))] + [(1, 0, 1)] * (a != b)
        for odd_a, odd_b, times in pairs:
            if lanes[a][odd_a] and lanes[b][odd_b]:
                for p in range(dimension if odd_a or odd_b else 1):
                    part = (target, 0, 0) if odd_a == odd_b else (target, 1, p)
                    pair = (a, odd_a, p * odd_a), (b, odd_b, p * odd_b)
                    rows.append((*pair, factor * times, part))
    scalars = [k for k, moment in enumerate(tables.scalars.tolist()) if lanes[moment][0]]
    wanted = {(int(tables.scalars[k]), 0, 0) for k in scalars}
    for a, b, _, target in reversed(rows):
        if target in wanted:
            wanted |= {a, b}
    rows = [row for row in rows if row[3] in wanted]

    basic = tables.basic.tolist()
    functions = sorted({(basic[k][0], odd, p) for k, odd, p in wanted if k < tables.n_basic})
    places, components = {}, []
    for number, (mu, odd, p) in enumerate(functions):
        for k, (of, *exponents) in enumerate(basic):
            if of == mu:
                places[k, odd, p] = len(components)
                components.append((number, *exponents))
    for *_, target in rows:
        places.setdefault(target, len(places))
    products = [(places[a], places[b], factor, places[target]) for a, b, factor, target in rows]
    new = MomentTables(
        basic=np.array(components),
        products=np.array(products, int).reshape(-1, 4),
        scalars=np.array([places[int(tables.scalars[k]), 0, 0] for k in scalars]),
    )
    return new, functions, scalars
