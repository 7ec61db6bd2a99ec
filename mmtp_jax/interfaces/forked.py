"""Calculators in a process that was forked after JAX had started: a fresh process calculates.

JAX would hang in the fork. Pools of ``multiprocessing`` fork by default on Linux, and ASE's users
put calculators into them; so a calculator asks one helper for each fork, over its pipes. Spawned
processes need none and are faster.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

from ase import Atoms

from mmtp_jax.warn import warn

_helpers: list[subprocess.Popen] = []
"""Of this fork; ends when its input does."""

if hasattr(os, "register_at_fork"):
    # The helper of a parent answers the parent.
    os.register_at_fork(after_in_child=_helpers.clear)


class ForkWarning(UserWarning):
    """Another process calculates for one in which JAX would hang."""


def calculate_elsewhere(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    """The attributes of the calculator after it has calculated in the helper.

    Raises:
        Exception: what the calculation raised.
        RuntimeError: if the helper has ended.
    """
    if not _helpers:
        warn(
            "this process was forked after JAX had started, and JAX would hang in it: another one "
            'calculates; start processes with the method "spawn" to do without it',
            ForkWarning,
        )
        command = [sys.executable, "-c", "from mmtp_jax.interfaces.forked import serve; serve()"]
        pipe = subprocess.PIPE
        _helpers.append(subprocess.Popen(command, stdin=pipe, stdout=pipe))
    (helper,) = _helpers
    try:
        pickle.dump((calculator, atoms), helper.stdin)
        helper.stdin.flush()
        answer = pickle.load(helper.stdout)
    except (EOFError, BrokenPipeError) as error:
        raise RuntimeError("the process that calculates for this fork has ended") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve() -> None:
    """Calculate what comes in, until nothing comes any more."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    # What libraries print must not get between the answers.
    sys.stdout = sys.stderr
    while True:
        try:
            calculator, atoms = pickle.load(asked)
            calculator.calculate(atoms)
            answer: Any = vars(calculator)
        except EOFError:
            return
        except Exception as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()
