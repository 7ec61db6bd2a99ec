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
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmtp_jax import interruption
from mmtp_jax.io.documents import read_toml
from mmtp_jax.io.fields import checked_fields
from mmtp_jax.options import COUNT, Bounds, made, option, options, takes, warn_old

PLACES = {
    "local": ("here",),
    "executorlib": ("here", "allocation"),
    "parsl": ("here", "slurm"),
}
"""Kinds of executors, and where each can run tasks."""

SECTION = "executor"


@options
class ExecutorSettings:
    """What kind of executor, and what each of its tasks gets."""

    kind: str = option(
        "local: processes of this machine; executorlib; parsl (pip install executorlib or parsl).",
        "local", choices=tuple(PLACES), required=True,
    )  # fmt: skip
    place: str = option(
        "here: this machine; allocation: steps of the SLURM job that mmtp runs in (executorlib); "
        "slurm: jobs that are submitted as needed (parsl).",
        "here",
    )  # fmt: skip
    workers: int = option(
        "Tasks at once; with slurm those on one node.", 1, bounds=COUNT, required=True
    )
    cores: int = option("Of a task, in a SLURM job or a step of one.", 1, bounds=COUNT)
    gpus: int = option(
        "Of a task; parsl shares out those of this machine too.", 0, bounds=Bounds(least=0)
    )
    folder: str = option("Files of parsl: logs, scripts of submitted jobs.", "executor")
    jobs: int = option("SLURM jobs at once (parsl).", 1, bounds=COUNT)
    nodes: int = option("Of each of them.", 1, bounds=COUNT)
    partition: str | None = option("Of SLURM.", example="gpu")
    account: str | None = option("Of SLURM.", example="project")
    time: str = option("Limit of a SLURM job.", "01:00:00")
    options: tuple[str, ...] = option(
        "Of srun (executorlib), or lines of the script (parsl).",
        (), example=("#SBATCH --constraint=a100",),
    )  # fmt: skip
    setup: str = option(
        "Shell commands before the workers of parsl start, e.g. source venv/bin/activate.", ""
    )

    def __post_init__(self) -> None:
        if self.place not in PLACES[self.kind]:
            raise ValueError(
                f"place must be one of {', '.join(PLACES[self.kind])} for the kind "
                f"{self.kind!r}, got {self.place!r}"
            )
        if self.gpus and self.place == "here" and self.kind != "parsl":
            raise ValueError(
                f"the kind {self.kind!r} does not share the GPUs of this machine out; use the kind "
                "'parsl', or the place 'allocation'"
            )


def settings_of(path: str | os.PathLike) -> ExecutorSettings:
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


@takes(ExecutorSettings)
def executor(of: str | os.PathLike | ExecutorSettings | None = None, **options: Any) -> Executor:
    """An executor of a TOML file, of settings, or of ``options``, for a ``with`` block.

    Args:
        of: file with a section ``[executor]``, or an `ExecutorSettings`.
        **options: fields of `ExecutorSettings`; where ``of`` is given too, they win.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for settings that cannot be, or if the package is not installed.

    Example:
        >>> with mmtp.executor("executor.toml") as executor:
        ...     ensemble = mmtp.fit_ensemble(potential, atoms_list, n=5, executor=executor)
        >>> with mmtp.executor(kind="parsl", place="slurm", workers=8) as executor:
        ...     jobs = mmtp.label_all(oracle, atoms_list, "jobs", executor)
    """
    if isinstance(of, (str, os.PathLike)):
        of = settings_of(of)
    given = {} if of is None else vars(of)
    settings = made(ExecutorSettings, {**given, **options}, "executor")
    if settings.kind == "local":
        # Processes that were forked from one with JAX in it would hang.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(settings.workers, context, initializer=_start_worker)
    if find_spec(settings.kind) is None:
        kind = settings.kind
        raise ValueError(f"the package {kind} is not installed; pip install {kind}")
    return _executorlib(settings) if settings.kind == "executorlib" else _parsl(settings)


def read_executor(path: str | os.PathLike) -> ExecutorSettings:
    """Older name: `executor` takes the file itself."""
    warn_old("read_executor(path)", "executor(path)")
    return settings_of(path)


def make_executor(settings: ExecutorSettings) -> Executor:
    """Older name of `executor`."""
    warn_old("make_executor", "executor")
    return executor(settings)


@contextmanager
def opened_executor(path: str | os.PathLike | None) -> Iterator[Executor | None]:
    """A block with the executor of a file; None without one."""
    if path is None:
        yield None
        return
    settings = settings_of(path)
    opened = executor(settings)
    try:
        yield opened
    finally:
        if interruption.was_asked():
            _abandon(opened, settings.kind)
        else:
            opened.shutdown()


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
