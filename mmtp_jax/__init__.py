"""Magnetic moment tensor potentials in JAX.

>>> import mmtp_jax as mmtp
>>> atoms_list = mmtp.read("train.cfg", species=("Fe", "Al"))
>>> pot = mmtp.Potential.new(level=12, species=("Fe", "Al"))
>>> fit = mmtp.fit(pot, atoms_list, validation=0.1)
>>> mmtp.save("pot.mtp", fit.potential)

Public names are imported when they are first used, so that ``mmtp --help`` needs no JAX; they are
listed in ``__init__.pyi``. Classes of results are in `mmtp_jax.results`.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from mmtp_jax.warn import warn

__version__ = "0.1.0"

_HOMES = {
    alias.name: line.module
    for line in ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
    if isinstance(line, ast.ImportFrom)
    for alias in line.names
}

_FORMER = {
    "paramagnetic_elastic_constants": "elastic_constants with states=n",
    "paramagnetic_phonons": "phonons with states=n",
}
"""Functions of `mmtp_jax.former`, and what took their place."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = _HOMES[name]
        value = _module(name) if home == __name__ else getattr(import_module(home), name)
        globals()[name] = value
        return value
    if name in _FORMER:
        room, new = _module("former"), _FORMER[name]
    elif name[:1].isupper() and hasattr(_module("results"), name):
        room, new = _module("results"), f"results.{name}"
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn(
        f"mmtp.{name} is now mmtp.{new}; the old name goes with the next release",
        DeprecationWarning,
    )
    return getattr(room, name)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
