"""Labellers from TOML files: which code, and a table with its settings.

    code = "abinit"

    [abinit]
    ecut_Ha = 15
    datasets = {Fe = "Fe.xml"}

The table has the name of the code, and its keys are the fields of the labeller's dataclass.

Such a file can run any program, by design: it says which executable computes and what starts it.
Use only files whose contents you know, as with a script.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from mmtp_jax.io.documents import read_toml
from mmtp_jax.io.fields import checked_fields, shown
from mmtp_jax.oracles.oracle import Oracle

CODES = {
    "abinit": ("mmtp_jax.oracles.abinit.oracle", "AbinitOracle"),
    "potential": ("mmtp_jax.oracles.teacher", "PotentialOracle"),
    "vasp": ("mmtp_jax.oracles.vasp", "VaspOracle"),
}
"""Module and class of the labeller of each code."""
CODE_KEY = "code"


def class_of(code: str) -> type:
    """The class of the labeller of a code; its fields are the keys of the settings."""
    module, name = CODES[code]
    return getattr(import_module(module), name)


def read_oracle(path: str | os.PathLike) -> Oracle:
    """The labeller that a TOML file describes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not TOML, an unknown code or key, or a value that cannot be; the
            message names the file and the key.

    Example:
        >>> oracle = read_oracle("abinit.toml")
    """
    return oracle_of(read_toml(path), os.fspath(path))


def oracle_of(content: Mapping[str, Any], source: str = "oracle") -> Oracle:
    """The labeller that the content of such a file describes.

    Args:
        content: the key ``code`` and a table of settings.
        source: what messages call it.

    Raises:
        ValueError: as `read_oracle`.
    """
    code = content.get(CODE_KEY)
    if not isinstance(code, str) or code not in CODES:
        found = f"got {shown(code)}" if CODE_KEY in content else "and it is missing"
        raise ValueError(
            f"{source}: the key '{CODE_KEY}' must be one of {', '.join(CODES)}, {found}"
        )
    for key in content:
        if key not in (CODE_KEY, code):
            raise ValueError(
                f"{source}: unknown key '{shown(key, str)}'; the settings are in the section "
                f"[{code}]"
            )
    oracle_class = class_of(code)
    table = content.get(code, {})
    if not isinstance(table, Mapping):
        raise ValueError(
            f"{source}: '{code}' must be a section: a line [{code}], and below it its settings, "
            f"{', '.join(field.name for field in fields(oracle_class))}"
        )
    values = checked_fields(table, oracle_class, f"{source}: {code}")
    try:
        return oracle_class(**values)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{source}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
