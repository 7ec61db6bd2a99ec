"""Settings that ``mmtp phonons`` and ``mmtp qha`` share."""

from __future__ import annotations

from typing import Any

from mmtp_jax.cli.console import check_species
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import Crystal
from mmtp_jax.language import listed
from mmtp_jax.options import MOST_ITEMS, POSITIVE, TEMPERATURE_K, like, option, options
from mmtp_jax.properties.options import PhononOptions, States

MOST_MESH = 1000
"""Points along a direction, or Angstrom."""


@options
class PhononSettings(States, Crystal):
    """Potential, crystal, and magnetic states."""

    supercell: tuple[int, ...] | None = like(PhononOptions, "supercell")
    moments: str = like(PhononOptions, "moments")
    temperatures_K: tuple[float, float, float] = option(
        "From, to and step, K.", (0.0, 1000.0, 10.0), metavar="LOW HIGH STEP",
        aliases=("temperatures", "temperature", "temperature_K"), bounds=TEMPERATURE_K,
    )  # fmt: skip
    mesh: tuple[float, ...] = option(
        "Of q: a length in Angstrom, or three integers.", (60.0,), bounds=POSITIVE
    )
    born: tuple[str, ...] | None = like(PhononOptions, "born")
    dielectric: float | None = like(PhononOptions, "dielectric", bounds=POSITIVE)
    nac_method: str = like(PhononOptions, "nac_method")
    relax: bool = option(
        "The crystal is relaxed first.", True, off_help="Only equilibrate the moments first."
    )


def check(settings: PhononSettings, given: Values) -> None:
    """Refuse what is no mesh, grid of temperatures, supercell or charge, or a single state.

    Raises:
        ValueError: in words.
    """
    mesh_of(settings.mesh)
    charges_of(settings.born)
    low, high, step = settings.temperatures_K
    if not (low < high and 0.0 < step <= high - low <= MOST_ITEMS * step):
        found = list(settings.temperatures_K)
        raise ValueError(f"--temperatures takes LOW HIGH STEP in K, got {found}")
    if settings.supercell is not None and len(settings.supercell) not in (1, 3, 9):
        n = len(settings.supercell)
        raise ValueError(f"--supercell takes one, three or nine integers, got {n}")
    if settings.states == 1:
        raise ValueError("--states must be at least 2, got 1")


def mesh_of(words: Any) -> Any:
    """A length, or three integers.

    Raises:
        ValueError: if it is neither.
    """
    if len(words) == 1 and 0 < words[0] <= MOST_MESH:
        return float(words[0])
    if len(words) == 3 and all(word == int(word) and 0 < word <= MOST_MESH for word in words):
        return [int(word) for word in words]
    raise ValueError(f"--mesh takes one positive length or three integers, got {listed(words)}")


def temperatures_of(words: tuple[float, float, float]) -> Any:
    """An even grid."""
    import numpy as np

    low, high, step = words
    return np.arange(low, high + 0.5 * step, step)


def supercell_of(words: tuple[int, ...] | None) -> Any:
    """What `mmtp_jax.phonons` takes."""
    return words[0] if words is not None and len(words) == 1 else words


def polar_of(settings: PhononSettings) -> dict[str, Any]:
    """What `mmtp_jax.phonons` takes for polar crystals."""
    return {
        "born": charges_of(settings.born),
        "dielectric": settings.dielectric,
        "nac_method": settings.nac_method,
    }


def charges_of(words: tuple[str, ...] | None) -> dict[str, float] | None:
    """Charges by species from words like ``Cr=4.4``."""
    if words is None:
        return None
    found = {}
    for word in words:
        symbol, _, value = word.partition("=")
        try:
            found[symbol] = float(value)
        except ValueError:
            raise ValueError(f"--born takes SYMBOL=CHARGE, e.g. Cr=4.4, got {word!r}") from None
    check_species(list(found))
    return found
