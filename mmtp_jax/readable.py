"""Results that can be looked at: one line for the prompt, all that they say in a notebook."""

from __future__ import annotations

import html
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_LONGEST = 400
_FEW = 6
"""Numbers of an array, or items of a list, that are shown."""


def readable(cls: type[T]) -> type[T]:
    """Decorator of a dataclass: ``repr`` is one line without arrays, notebooks show ``str``.

    A class may have a ``_one_line`` of its own; one without ``__str__`` has that line for it.
    """
    cls.__repr__ = getattr(cls, "_one_line", one_line)  # type: ignore[method-assign]
    cls._repr_html_ = _as_html  # type: ignore[attr-defined]
    return cls


def one_line(value: Any) -> str:
    """The fields of a dataclass on one line: numbers and words, and of arrays the shapes."""
    parts = [f"{f.name}={_shown(getattr(value, f.name))}" for f in fields(value) if f.repr]
    text = f"{type(value).__name__}({', '.join(parts)})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...)"


def _as_html(value: Any) -> str:
    return f"<pre>{html.escape(str(value))}</pre>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, (int, str, bytes)):
        return repr(value)
    # Also arrays of JAX that have no values yet.
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<array {'x'.join(map(str, value.shape))}>" if value.shape else f"<{value.dtype}>"
    if is_dataclass(value):
        return f"{type(value).__name__}(...)"
    if isinstance(value, dict):
        return (
            f"<{len(value)} by name>" if len(value) > _FEW else f"{{{', '.join(map(str, value))}}}"
        )
    if isinstance(value, (list, tuple)):
        if len(value) > _FEW:
            return f"<{len(value)} items>"
        return f"({', '.join(map(_shown, value))})"
    return f"{type(value).__name__}(...)"
