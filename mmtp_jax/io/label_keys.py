"""Names that the user gives to labels in files: ``magmoms=spins``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LABELS = (
    "energy", "forces", "stress", "virial", "magmoms", "initial_magmoms", "magnetic_forces",
    "transverse_magnetic_forces",
)  # fmt: skip
"""What can be mapped; magnetic forces also as those of which only the part across each moment is
known."""

NOT_READ = "none"
"""Name of a label that is not to be read at all."""

Keys = Mapping[str, str] | Iterable[str]


def checked_keys(keys: Keys | None) -> dict[str, str]:
    """The names of labels in files, from a mapping or from words such as ``magmoms=spins``.

    Raises:
        ValueError: if a word is no such mapping, or a label is unknown or has two names.
    """
    if isinstance(keys, Mapping):
        pairs = [(str(label), str(name)) for label, name in keys.items()]
    else:
        words = [keys] if isinstance(keys, str) else list(keys or ())
        pairs = [tuple(part.strip() for part in word.partition("=")[::2]) for word in words]
    found: dict[str, str] = {}
    for label, name in pairs:
        if label not in LABELS or not name:
            raise ValueError(
                f"'{label}{'=' * bool(name)}{name}' maps no label; give LABEL=NAME, e.g. "
                f"magmoms=spins, with a label of {', '.join(LABELS)} and its name in the files, "
                f"or {NOT_READ}"
            )
        if found.setdefault(label, name) != name:
            raise ValueError(f"the label {label} has two names, {found[label]!r} and {name!r}")
    return found
