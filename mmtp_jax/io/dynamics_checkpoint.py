"""The state of a run of dynamics on disk: arrays in ``.npz`` without pickle, and a JSON header.

A resumed run takes the same steps, bit for bit on the same machine, as one that went on.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.simulation.dynamics.evaluation import Evaluated
from mmtp_jax.simulation.dynamics.integrate import State
from mmtp_jax.simulation.dynamics.observer import Saved
from mmtp_jax.simulation.dynamics.thermostats import Chain
from mmtp_jax.simulation.moments.lbfgs import Memory
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.system import System

FORMAT = "mmtp_jax dynamics 2"


def save_dynamics(
    path: str | Path, saved: Saved, belongs_to: str, files: Mapping[str, int]
) -> None:
    """Write a checkpoint, replacing an older one at once.

    Args:
        path: the file.
        saved: what the run goes on from.
        belongs_to: fingerprint of the potential and of the settings.
        files: sizes in bytes of the files that the run adds to.
    """
    header = {
        "format": FORMAT,
        "fingerprint": belongs_to,
        "step": int(saved.state.step),
        "files": dict(files),
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=text, **_named(saved))


def load_dynamics(path: str | Path, belongs_to: str) -> tuple[Saved, dict[str, int]]:
    """What the run goes on from, and the sizes that its files had.

    Raises:
        ValueError: if the file is no checkpoint of dynamics, or belongs to another run.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes().decode())
            arrays = {name: file[name] for name in file.files if name != "header"}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint of dynamics ({error}); start afresh"
        ) from error
    names = list(_named(_SKELETON))
    known = header.get("format") == FORMAT and sorted(names) == sorted(arrays)
    if not known or header.get("fingerprint") != belongs_to:
        raise ValueError(
            f"{path} belongs to another run (other start, potential, settings or program version);"
            " give the same input as before, or start afresh"
        )
    leaves = [arrays[name] for name in names]
    return jax.tree.unflatten(jax.tree.structure(_SKELETON), leaves), dict(header["files"])


def _named(saved: Saved) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(saved)[0]
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def _filled(kind: type, **given: Any) -> Any:
    return kind(**{name: given.get(name, 0) for name in kind._fields})


_SKELETON = _filled(
    Saved,
    state=_filled(
        State,
        system=_filled(System),
        known=_filled(Evaluated, memory=_filled(Memory)),
        chain=_filled(Chain),
        spins=_filled(Counts),
    ),
)
