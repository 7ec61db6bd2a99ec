"""Executors from TOML files: where labelling jobs and the fits of a series run.

    [executor]
    kind = "parsl"
    place = "slurm"
    workers = 8
    cores = 32

Any `concurrent.futures.Executor` will do for `mmtp_jax.label_all`, `mmtp_jax.fit_ensemble` and
their relatives; these are the ones that a file can ask for. Such a file can run any program, by
design (``setup``, ``options``): use only files that you trust, as with a script.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmtp_jax import interruption
from mmtp_jax.io.documents import read_toml
from mmtp_jax.io.fields import checked_fields

PLACES = {
    "local": ("here",),
    "executorlib": ("here", "allocation"),
    "parsl": ("here", "slurm"),
}
"""Kinds of executors, and where each can run tasks."""

SECTION = "executor"


@dataclass(frozen=True)
class ExecutorSettings:
    """What kind of executor, and what each of its tasks gets."""

    kind: str = "local"
    """``"local"`` (processes of the standard library), ``"executorlib"`` or ``"parsl"``."""
    place: str = "here"
    """``"here"``: this machine. ``"allocation"``: job steps of the SLURM job that this program runs
    in (executorlib). ``"slurm"``: SLURM jobs that are submitted as needed (parsl)."""
    workers: int = 1
    """Tasks at once; with ``"slurm"`` those on one node."""
    cores: int = 1
    """Of a task, in a SLURM job or a step of one."""
    gpus: int = 0
    """Of a task."""
    folder: str = "executor"
    """Files of parsl: logs, scripts of submitted jobs."""
    jobs: int = 1
    """SLURM jobs at once, of ``nodes`` each."""
    nodes: int = 1
    partition: str | None = None
    account: str | None = None
    time: str = "01:00:00"
    """Limit of a SLURM job."""
    options: tuple[str, ...] = ()
    """Of srun (``"allocation"``), or lines of the script, ``"#SBATCH ..."`` (``"slurm"``)."""
    setup: str = ""
    """Shell commands before the workers of parsl start, e.g. of an environment."""

    def __post_init__(self) -> None:
        if self.kind not in PLACES:
            raise ValueError(f"kind must be one of {', '.join(PLACES)}, got {self.kind!r}")
        if self.place not in PLACES[self.kind]:
            raise ValueError(
                f"place must be one of {', '.join(PLACES[self.kind])} for the kind "
                f"{self.kind!r}, got {self.place!r}"
            )
        for name in ("workers", "cores", "jobs", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.gpus < 0:
            raise ValueError(f"gpus must be at least 0, got {self.gpus}")
        if self.gpus and self.place == "here" and self.kind != "parsl":
            raise ValueError(
                f"the kind {self.kind!r} does not share the GPUs of this machine out; use the kind "
                "'parsl', or the place 'allocation'"
            )


def read_executor(path: str | os.PathLike) -> ExecutorSettings:
    """The section ``[executor]`` of a TOML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for anything that cannot be; the message names the file and the key.
    """
    content = read_toml(path)
    table = content.pop(SECTION, None)
    if not isinstance(table, Mapping) or content:
        raise ValueError(f"{path}: the settings of an executor are one section, [{SECTION}]")
    where = f"{path}: {SECTION}"
    values = checked_fields(table, ExecutorSettings, where)
    try:
        return ExecutorSettings(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def make_executor(settings: ExecutorSettings) -> Executor:
    """The executor, to be used in a ``with`` block.

    Raises:
        ValueError: if its package is not installed.

    Example:
        >>> with make_executor(read_executor("executor.toml")) as executor:
        ...     ensemble = mmtp.fit_ensemble(potential, atoms_list, n=5, executor=executor)
    """
    if settings.kind == "local":
        # Processes that were forked from one with JAX in it would hang.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(settings.workers, context, initializer=_start_worker)
    if find_spec(settings.kind) is None:
        raise ValueError(f"the package {settings.kind} is not installed; pip install mmtp_jax[hpc]")
    return _executorlib(settings) if settings.kind == "executorlib" else _parsl(settings)


@contextmanager
def opened_executor(path: str | os.PathLike | None) -> Iterator[Executor | None]:
    """A block with the executor of a file; None without one."""
    if path is None:
        yield None
        return
    settings = read_executor(path)
    executor = make_executor(settings)
    try:
        yield executor
    finally:
        if interruption.was_asked():
            _abandon(executor, settings.kind)
        else:
            executor.shutdown()


def _start_worker() -> None:
    """In a process of the local kind: Ctrl-C in a terminal is for the program that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.end_with_parent()


def _abandon(executor: Executor, kind: str) -> None:
    """Nobody waits for tasks that run: their processes end."""
    if kind == "parsl":
        # It ends its own, and cannot cancel.
        executor.shutdown(wait=False)
        return
    executor.shutdown(wait=False, cancel_futures=True)
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    for process in multiprocessing.active_children():
        process.terminate()


def _executorlib(settings: ExecutorSettings) -> Executor:
    executorlib = import_module("executorlib")
    # Workers that stay, so that programs are compiled once in each.
    shared: dict[str, Any] = {"max_workers": settings.workers, "block_allocation": True}
    if settings.place == "here":
        return executorlib.SingleNodeExecutor(**shared, hostname_localhost=True)
    resources = {
        "threads_per_core": settings.cores,
        "gpus_per_core": settings.gpus,
        "exclusive": True,
        "slurm_cmd_args": list(settings.options),
    }
    return executorlib.SlurmJobExecutor(**shared, resource_dict=resources)


def _parsl(settings: ExecutorSettings) -> Executor:
    parsl = import_module("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import LocalProvider, SlurmProvider

    folder = Path(settings.folder).absolute()
    # parsl starts its programs by name; they are beside this Python, which need not be on the path.
    programs = Path(sys.executable).parent
    setup = f'export PATH={shlex.quote(str(programs))}:"$PATH"\n{settings.setup}'
    blocks = {"init_blocks": 1, "min_blocks": 1, "worker_init": setup}
    n_gpus = settings.gpus * settings.workers
    if settings.place == "here":
        provider = LocalProvider(max_blocks=1, **blocks)
        address = {"address": "127.0.0.1"}
    else:
        address = {}
        provider = SlurmProvider(
            partition=settings.partition,
            account=settings.account,
            nodes_per_block=settings.nodes,
            cores_per_node=settings.cores * settings.workers,
            gpus_per_node=n_gpus or None,
            max_blocks=settings.jobs,
            walltime=settings.time,
            scheduler_options="\n".join(settings.options),
            exclusive=False,
            launcher=SrunLauncher(),
            **blocks,
        )
    workers = HighThroughputExecutor(
        label="mmtp",
        provider=provider,
        max_workers_per_node=settings.workers,
        cores_per_worker=settings.cores if settings.place == "slurm" else 1e-3,
        available_accelerators=_accelerators(settings),
        worker_logdir_root=str(folder),
        interchange_launch_cmd=[sys.executable, str(programs / "interchange.py")],
        **address,
    )
    config = parsl.config.Config(
        executors=[workers],
        run_dir=str(folder),
        initialize_logging=False,
        # Shrinks and grows between min_blocks and max_blocks with the number of tasks.
        strategy="htex_auto_scale",
    )
    return ParslPoolExecutor(config)


def _accelerators(settings: ExecutorSettings) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each worker."""
    if not settings.gpus:
        return []
    numbers = range(settings.gpus * settings.workers)
    return [",".join(map(str, numbers[k : k + settings.gpus])) for k in numbers[:: settings.gpus]]


TEMPLATE = """\
# Settings of an executor: where 'mmtp label' and the fits of ensembles and folds run, with the
# option '--executor FILE', and the jobs of 'mmtp learn', with 'executor' in its section [oracle].
# A line '#key = value' shows the default, or an example where nothing is set by default.
# The file can run any program ('setup', 'options'): use only files that you trust.

[executor]
# local: processes of this machine; executorlib; parsl (pip install mmtp_jax[hpc]).
kind = "local"

# here: this machine; allocation: steps of the SLURM job that mmtp runs in (executorlib); slurm:
# jobs that are submitted as needed (parsl).
#place = "here"

# Tasks at once; with place = "slurm" those on one node.
workers = 4

# Cores and GPUs of a task, in a SLURM job or a step of one; parsl shares out the GPUs of this
# machine too.
#cores = 1
#gpus = 0

# SLURM jobs at once, and nodes of each (parsl).
#jobs = 1
#nodes = 1
#partition = "gpu"
#account = "project"
#time = "01:00:00"

# Options of srun (executorlib), or lines of the script (parsl).
#options = ["#SBATCH --constraint=a100"]

# Shell commands before the workers of parsl start.
#setup = "source venv/bin/activate"

# Files of parsl.
#folder = "executor"
"""
