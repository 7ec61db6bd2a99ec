"""The forms of the energy, by name. Imports nothing heavy: the command line knows them, too."""

from __future__ import annotations

import warnings

FORMS = ("parity", "symmetrised", "bare")
"""How the energy depends on the moments, see `mmtp_jax.Potential`."""

DEFAULT_FORM = "parity"
"""Of new potentials."""

MOST_FUNCTIONS = 4
"""Of terms that vanish for parallel moments, which grow with the fourth power of it: 5, 29, 102
and 269."""


def form_of(form: str | None, symmetrised: bool | None, default: str) -> str:
    """One of `FORMS`, from its name or from its older name, which is warned of.

    Raises:
        ValueError: if there is no such form, or the two differ.
    """
    if symmetrised is not None:
        old = "symmetrised" if symmetrised else "bare"
        warnings.warn(
            f"symmetrised={symmetrised} is now called form={old!r}; the old name goes with the "
            "next release",
            DeprecationWarning,
            stacklevel=3,
        )
        if form not in (None, old):
            raise ValueError(f"form={form!r} and symmetrised={symmetrised} differ")
        form = old
    form = default if form is None else form
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    return form
