"""Numbers of programs that XLA has optimised for a GPU, worked out on the CPU.

The optimised program, after fusion and layouts, is taken apart again: each kernel becomes a call,
marks of the GPU's compiler are dropped, and XLA runs it on the CPU on real numbers. So the way of
GPUs and all that the compiler makes of it are checked, down to the kernels, but not their code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src.lib import xla_client

from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.precision import require_precision, with_floats
from mmtp_jax.structures import batch
from mmtp_jax.structures.structure import Structure

CUTOFF = 4.2
N_STRUCTURES = 3


def structure(seed: int) -> Structure:
    """A disordered cell of 16 atoms of bcc iron with labels by chance."""
    rng = np.random.default_rng(seed)
    corner = np.stack(np.meshgrid(*[range(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = np.concatenate([corner, corner + 0.5]) * 2.87
    n, strain = len(places), rng.normal(0, 0.02, (3, 3))
    return Structure(
        np.eye(3) * 5.74, np.ones(3, bool), places + rng.normal(0, 0.05, (n, 3)),
        np.zeros(n, np.int32), rng.choice([-1.0, 1.0], n) * rng.uniform(1.5, 2.5, n),
        energy=-8.0 * n, forces=rng.normal(0, 1, (n, 3)), stress=strain + strain.T,
        magnetic_forces=rng.normal(0, 0.2, n),
    )  # fmt: skip


def real_arguments(case: str, potential: Any, dtype: str) -> tuple:
    """What a program is called with, like `gpu_estimate.program`, but with numbers."""
    rng, (edges, _) = np.random.default_rng(1), require_precision(dtype)
    potential = potential.replace(
        cutoff=CUTOFF,
        radial_coeffs=potential.masked(rng.normal(size=potential.radial_coeffs.shape)),
        moment_coeffs=rng.normal(size=potential.tables.n_scalars),
    ).astype(*require_precision(dtype))
    structures = [structure(k) for k in range(N_STRUCTURES)]
    adds_by_gathering, batch.adds_by_gathering = batch.adds_by_gathering, lambda: True
    try:
        (packed,) = batch.make_batches(structures, CUTOFF)
        targets = make_targets(structures, [packed], Weights())
    finally:
        batch.adds_by_gathering = adds_by_gathering
    if case == "gradient":
        theta = np.asarray(potential.flatten()).astype(edges)
        return theta, potential, with_floats(targets, edges)
    return potential, with_floats(packed.graph, edges)


def deviation(function: Callable, arguments: tuple, compile_for_gpu: Callable) -> float:
    """The largest deviation from the program of the CPU, over the largest number of each array."""
    wanted = jax.tree.leaves(jax.device_get(jax.jit(function)(*arguments)))
    made = compile_for_gpu(function, arguments)
    options = xla_client._xla.HloPrintOptions()
    options.print_large_constants, options.print_metadata = True, False
    (module,) = made.runtime_executable().hlo_modules()
    found = run_on_cpu(module.to_string(options), jax.tree.leaves(arguments))
    worst = 0.0
    for a, b in zip(found, wanted, strict=True):
        b = np.asarray(b, float)
        scale = np.abs(b).max(initial=1e-300)
        worst = max(worst, float(np.abs(np.reshape(a, b.shape) - b).max(initial=0.0) / scale))
    return worst


def run_on_cpu(text: str, arguments: list) -> list[np.ndarray]:
    """The results of an optimised program."""
    xla = xla_client._xla
    module = xla.hlo_module_from_text(_for_cpu(text))
    program = xla_client.XlaComputation(module.as_serialized_hlo_module_proto())
    device = jax.devices("cpu")[0]
    made = device.client.compile_and_load(
        xla.mlir.xla_computation_to_mlir_module(program),
        xla_client.DeviceList((device,)),
        xla_client.CompileOptions(),
    )
    found = made.execute_sharded([jax.device_put(np.asarray(a), device) for a in arguments])
    return [np.asarray(a[0]) for a in found.disassemble_into_single_device_arrays()]


_DROPPED = ("frontend_attributes", "sharding", "backend_config", "control-predecessors")
_FUSION = re.compile(
    r" fusion\((.*?)\), kind=k\w+, (?:output_to_operand_aliasing=\{.*?\}, )?calls="
)
_ARRAY = r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)[^}]*\})?"
_BITCAST = re.compile(rf"^(\s+(?:ROOT )?)(%?[\w.\-]+) = {_ARRAY} ([\w\-]+)\((.*)$")


def _for_cpu(text: str) -> str:
    lines = [re.sub(r"/\*.*?\*/", "", line) for line in text.splitlines()]
    lines = [_FUSION.sub(r" call(\1), to_apply=", _unmarked(line)) for line in lines]
    lines = _without_layouts(lines)
    return "\n".join([re.match(r"HloModule [\w.\-]+", lines[0])[0], *lines[1:]])


def _unmarked(line: str) -> str:
    for key in _DROPPED:
        while f", {key}=" in line:
            start = line.index(f", {key}=")
            depth, quoted, k = 0, False, start + len(key) + 3
            while True:
                quoted ^= line[k] == '"' and line[k - 1] != "\\"
                depth += 0 if quoted else (line[k] == "{") - (line[k] == "}")
                if line[k] == "}" and depth == 0 and not quoted:
                    break
                k += 1
            line = line[:start] + line[k + 1 :]
    return line


def _without_layouts(lines: list[str]) -> list[str]:
    """Bitcasts, whose meaning depends on layouts, as transposes and reshapes; no layouts."""
    out: list[str] = []
    known: dict[str, tuple[list[int], list[int]]] = {}
    for line in lines:
        if re.match(r"^(ENTRY )?%?[\w.\-]+ \(", line):
            known = {}
        found = _BITCAST.match(line)
        if found:
            lead, name, kind, dims, layout, op, rest = found.groups()
            shape = [int(d) for d in dims.split(",") if d]
            order = (
                [int(d) for d in layout.split(",") if d] if layout else [*range(len(shape))][::-1]
            )
            known[name] = shape, order
            if op == "bitcast":
                source = rest.split(")")[0].split(" ")[-1]
                before, after = known[source][1][::-1], order[::-1]
                flat, stored = ([of[k] for k in by] for of, by in
                                ((known[source][0], before), (shape, after)))  # fmt: skip
                back = [after.index(k) for k in range(len(shape))]
                out += [
                    f"  {name}.a = {kind}[{_list(flat)}] transpose({source}), "
                    f"dimensions={{{_list(before)}}}",
                    f"  {name}.b = {kind}[{_list(stored)}] reshape({name}.a)",
                ]
                line = (
                    f"{lead}{name} = {kind}[{_list(shape)}] transpose({name}.b), "
                    f"dimensions={{{_list(back)}}}"
                )
        out.append(re.sub(r"([a-z]\w*\[[\d,]*\])\{[\d,]+[^}]*\}", r"\1", line))
    return out


def _list(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))
