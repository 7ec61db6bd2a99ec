"""The contraction tables of a ``.mtp`` file, and how much a file may ask for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmtp_jax.io.mtp_tag import fingerprint
from mmtp_jax.io.mtp_text import MtpText
from mmtp_jax.potential.moments import MomentTables

MAX_EXPONENT = 30
"""Highest rank of a moment; levels up to 28 use 12."""
MAX_DEPTH = 16
"""Products that read each other one after the other; those of levels use 3."""
_MAX_UNUSED = 10
"""Moments that the tables may number, for each that they use."""


def read_tables(mtp: MtpText, ours: dict[str, Any]) -> MomentTables:
    basic = mtp.integers("alpha_index_basic", mtp.integer("top", "alpha_index_basic_count"), 4)
    products = mtp.integers("alpha_index_times", mtp.integer("top", "alpha_index_times_count"), 4)
    scalars = mtp.integers("alpha_moment_mapping", mtp.integer("top", "alpha_scalar_moments"))
    _check_sizes(mtp, basic, products, scalars)
    try:
        tables = MomentTables(basic=basic, products=products, scalars=scalars, level=None)
    except ValueError as error:
        raise ValueError(
            f"{mtp.path}: the tables alpha_index_basic (basic), alpha_index_times (products) and "
            f"alpha_moment_mapping (scalars) are inconsistent: {error}"
        ) from error
    if _depth(products, tables.n_moments) > MAX_DEPTH:
        mtp.fail_at(
            "top", "alpha_index_times",
            f"has more than {MAX_DEPTH} products that read each other one after the other",
        )  # fmt: skip
    # Only tables that are still those of the saved potential have its level. Generating the
    # tables of a level to compare would take seconds for high ones.
    if ours.get("tables") == fingerprint(tables):
        tables = dataclasses.replace(tables, level=ours.get("level"))
    return tables


def _check_sizes(
    mtp: MtpText, basic: np.ndarray, products: np.ndarray, scalars: np.ndarray
) -> None:
    """Whether the tables ask for no more than their own length lets expect."""
    n_moments = mtp.integer("top", "alpha_moments_count")
    if n_moments > _MAX_UNUSED * (len(basic) + len(products)):
        mtp.fail_at(
            "top", "alpha_moments_count",
            f"is {n_moments}, far more than the {len(basic)} moments of alpha_index_basic and the "
            f"{len(products)} products of alpha_index_times make",
        )  # fmt: skip
    exponent = int(basic[:, 1:].max(initial=0))
    if exponent > MAX_EXPONENT or basic[:, 1:].sum(axis=1).max(initial=0) > MAX_EXPONENT:
        mtp.fail_at(
            "top", "alpha_index_basic",
            f"has a moment of a rank above {MAX_EXPONENT} (an exponent is {exponent})",
        )  # fmt: skip
    if np.any(products[:, 2] == 0):
        row = int(np.argmax(products[:, 2] == 0)) + 1
        mtp.fail_at("top", "alpha_index_times", f"has a multiplier 0 in row {row}")
    for key, indices in (("alpha_index_times", products[:, [0, 1, 3]]),
                         ("alpha_moment_mapping", scalars)):  # fmt: skip
        if indices.max(initial=0) >= n_moments:
            mtp.fail_at(
                "top", key,
                f"has moment {indices.max()}, but alpha_moments_count is {n_moments}",
            )  # fmt: skip
    if n_moments < len(basic):
        mtp.fail_at(
            "top", "alpha_moments_count",
            f"is {n_moments}, but alpha_index_basic has {len(basic)} moments",
        )  # fmt: skip


def _depth(products: np.ndarray, n_moments: int) -> int:
    """The longest chain of products that read each other."""
    depth = [0] * n_moments
    for a, b, _, target in products.tolist():
        depth[target] = max(depth[target], depth[a] + 1, depth[b] + 1)
    return max(depth)
