"""First calls: wall and CPU time of every command in a process of its own, on one core.

    python scripts/bench_first_calls.py
    python scripts/bench_first_calls.py --only relax phonons hessian --level 10

Each is run without the cache of compiled programs, with an empty one, and again. The potential is
fitted here to the shipped data; the cells are small, so that compilation is
what is measured. Where the core is shared with other programs only the CPU time means something.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import mmtp_jax as mmtp

MMTP = [sys.executable, "-m", "mmtp_jax"]
PYTHON = """\
import jax
import mmtp_jax as mmtp
mmtp.compilation_cache()
pot = mmtp.load("pot.mtp")
atoms = mmtp.read("two.extxyz")[0]
mmtp_energy = lambda x: mmtp.energy(pot, mmtp.move(graph, positions=x)[0]).sum()
with mmtp.double_precision():
    graph = mmtp.graph(pot, atoms)
    {}
"""
IN_PYTHON = {
    "energy": "mmtp.energy(pot, graph).block_until_ready()",
    "gradient": "jax.jit(jax.grad(mmtp_energy))(graph.positions).block_until_ready()",
    "mmtp.relax": "mmtp.relax(pot, atoms)",
    "hessian": "jax.jit(jax.hessian(mmtp_energy))(graph.positions).block_until_ready()",
}
OF_THE_COMMAND = {
    "fit": "few.extxyz --potential pot.mtp --max-iterations 5 -o fitted.mtp",
    "evaluate": "pot.mtp two.extxyz",
    "grade": "pot.mtp few.extxyz two.extxyz -o graded.extxyz",
    "select": "pot.mtp two.extxyz few.extxyz -o selected.extxyz",
    "equilibrate": "pot.mtp two.extxyz -o equilibrated.extxyz",
    "relax": "pot.mtp two.extxyz -o relaxed.extxyz",
    "md": "pot.mtp two.extxyz --steps 10 --temperature 300 -o run.extxyz",
    "montecarlo": "pot.mtp two.extxyz --temperatures 600 900 --sweeps 20 -o order.csv",
    "sample": "pot.mtp sixteen.extxyz -n 4",
    "elastic": "pot.mtp two.extxyz -o elastic",
    "eos": "pot.mtp two.extxyz -o eos",
    "phonons": "pot.mtp two.extxyz --supercell 2 -o phonons",
    "qha": "pot.mtp two.extxyz --supercell 2 -o qha",
}


def prepare(folder: Path, level: int) -> None:
    """The potential and the cells."""
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    few = [atoms for atoms in atoms_list if len(atoms) == 2][:8]
    mmtp.write(folder / "few.extxyz", few)
    mmtp.write(folder / "two.extxyz", few[:1])
    mmtp.write(folder / "sixteen.extxyz", [few[0] * (2, 2, 2)])
    mmtp.write(folder / "all.extxyz", atoms_list)
    form = f"--level {level} --species Fe --cutoff 4.5 --max-iterations 300 -o pot.mtp"
    subprocess.run([*MMTP, "fit", "all.extxyz", *form.split()], cwd=folder, check=True, stdout=-3)


def measured(command: list[str], folder: Path, cache: str) -> str:
    """Wall and CPU seconds of a process, and its exit status if that is not 0."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"MMTP_COMPILATION_CACHE": cache}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode not in (0, 1):
        print(done.stderr[-500:], file=sys.stderr)
    note = f" (status {done.returncode})" if done.returncode else ""
    return f"{wall:.1f} / {cpu:.1f}{note}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*OF_THE_COMMAND, *IN_PYTHON]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--level", type=int, default=8)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, args.level)
        print("| wall / CPU, s | without | empty cache | again |\n|---|---|---|---|", flush=True)
        for name in args.only:
            if name in IN_PYTHON:
                command = [sys.executable, "-c", PYTHON.format(IN_PYTHON[name])]
            else:
                command = [*MMTP, name, *OF_THE_COMMAND[name].split()]
            cache = str(folder / "cache" / name)
            row = [measured(command, folder, where) for where in ("off", cache, cache)]
            title = name if name in IN_PYTHON else f"`mmtp {name}`"
            print(f"| {title} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
