"""What our format adds to a ``.mtp`` file: JSON in ``potential_tag``, which other programs skip."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

import numpy as np
from ase.data import atomic_numbers

from mmtp_jax.io.mtp_text import MtpText
from mmtp_jax.language import reason
from mmtp_jax.potential.forms import MOST_FUNCTIONS
from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.noncollinear_coefficients import NoncollinearTerms, n_terms
from mmtp_jax.potential.potential import Confinement, Potential

_TAG_KEY = "mmtp_jax"
_TAG_VERSION = 1
_TAG_TYPES: dict[str, tuple[type, ...]] = {
    _TAG_KEY: (int,), "species": (list,), "symmetrised": (bool,), "parities": (str,),
    "non_magnetic": (list,),
    "level": (int, type(None)), "tables": (str,), "tag": (str,), "record": (dict,),
    "confinement": (dict,), "noncollinear": (dict,),
}  # fmt: skip


def read_tag(mtp: MtpText) -> tuple[str, dict[str, Any]]:
    """The user's text, and what our format adds (empty in files of other programs)."""
    text = mtp.top.get("potential_tag", "")
    # Damaged, it must not pass for the text of a user: species and symmetrisation stand in it.
    if f'"{_TAG_KEY}":' not in text and '"symmetrised":' not in text:
        return text, {}

    def fail(reason: str) -> NoReturn:
        mtp.fail_at(
            "top", "potential_tag",
            f"holds what this program wrote there, but {reason}; restore or empty it",
        )  # fmt: skip

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            fail("with a name twice")
        return dict(pairs)

    try:
        ours = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        fail(f"broken JSON ({error})")
    except (RecursionError, ValueError) as error:
        if mtp.path in str(error):
            raise
        fail("JSON that is nested too deep, or a number that is too long")
    version = ours.get(_TAG_KEY) if isinstance(ours, dict) else None
    if type(version) is int and version > _TAG_VERSION:
        mtp.fail_at(
            "top", "potential_tag",
            f"is of version {version}, this program reads version {_TAG_VERSION}; use a newer one",
        )  # fmt: skip
    if version != _TAG_VERSION:
        fail(f"without a version {_TAG_KEY}")
    for name, value in ours.items():
        if name not in _TAG_TYPES:
            fail(f"with an unknown name {name[:60]!r}")
        if type(value) not in _TAG_TYPES[name]:
            fail(f"{name} is of another kind than it has to be")
    if "confinement" in ours:
        try:
            ours["confinement"] = _confinement(ours["confinement"], len(ours.get("species", ())))
        except ValueError as error:
            fail(f"confinement {error}")
    if "noncollinear" in ours:
        try:
            ours["noncollinear"] = _terms(ours["noncollinear"], mtp)
        except ValueError as error:
            fail(f"noncollinear {error}")
    if not all(symbol in atomic_numbers for symbol in map(str, ours.get("species", ()))):
        fail("species are not chemical symbols")
    still = ours.get("non_magnetic")
    if still is not None and not set(map(str, still)) < set(map(str, ours.get("species", ()))):
        fail("non_magnetic are not some of its species")
    return ours.get("tag", ""), ours


def _confinement(content: dict[str, Any], n_species: int) -> Confinement:
    if set(content) != set(Confinement._fields):
        raise ValueError(f"has not the entries {', '.join(Confinement._fields)}")
    found = Confinement(**_arrays(content))
    square = (n_species, n_species)
    for name, values in found._asdict().items():
        if values.shape != ((n_species,) if name == "stiffness" else square):
            raise ValueError(f"{name} has not one number for each species or pair of them")
        lowest = np.nextafter(0.0, 1.0) if name == "decay" else 0.0
        if not np.all((values >= lowest) & (values < np.inf)):
            raise ValueError(f"{name} has a number that is out of its range")
    return found


def _terms(content: dict[str, Any], mtp: MtpText) -> NoncollinearTerms:
    if set(content) != set(NoncollinearTerms._fields):
        raise ValueError(f"has not the entries {', '.join(NoncollinearTerms._fields)}")
    found = NoncollinearTerms(**_arrays(content))
    n_species, size = mtp.integer("top", "species_count"), mtp.integer("radial", "size")
    shape = found.radial.shape
    if len(shape) != 5 or (*shape[:2], shape[4]) != (n_species, n_species, size):
        raise ValueError("radial has not the numbers of species and of radial functions")
    if not 1 <= shape[3] <= MOST_FUNCTIONS or found.coeffs.shape != (shape[2], n_terms(shape[3])):
        raise ValueError("coeffs and radial have not the same number of functions")
    if not all(np.all(np.isfinite(values)) for values in found):
        raise ValueError("has a number that is not finite")
    return found


def _arrays(content: dict[str, Any]) -> dict[str, np.ndarray]:
    found = {}
    for name, values in content.items():
        try:
            found[name] = np.array(values, float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} cannot be read as numbers ({reason(error)})") from error
    return found


def _lists(of: str, values: Any) -> dict[str, Any]:
    arrays = {name: np.asarray(value, float) for name, value in values._asdict().items()}
    if not all(np.all(np.isfinite(array)) for array in arrays.values()):
        raise ValueError(f"{of} of the potential has a value that is not finite; not written")
    return {name: array.tolist() for name, array in arrays.items()}


def tag_text(potential: Potential) -> str:
    content = {
        _TAG_KEY: _TAG_VERSION,
        "species": list(potential.species),
        "symmetrised": potential.form == "symmetrised",
        "level": potential.level,
        "tables": fingerprint(potential.tables),
        "tag": potential.tag,
    }
    if potential.parities:
        content["parities"] = potential.parities
    if potential.non_magnetic:
        content["non_magnetic"] = list(potential.non_magnetic)
    if potential.confinement is not None:
        content["confinement"] = _lists("confinement", potential.confinement)
    if potential.noncollinear is not None:
        content["noncollinear"] = _lists("noncollinear", potential.noncollinear)
    if potential.record is not None:
        content["record"] = potential.record
    # motep splits lines at every '=', so the sign is written as JSON may spell it.
    return json.dumps(content, separators=(",", ":")).replace("=", "\\u003d")


def fingerprint(tables: MomentTables) -> str:
    arrays = (tables.basic, tables.products, tables.scalars)
    text = "|".join(",".join(map(str, np.ravel(array).tolist())) for array in arrays)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
