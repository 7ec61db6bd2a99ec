"""Kernels, memory traffic and XLA's own estimate of the time, read from an optimised GPU program.

Loops count as often as their trip count says, once where it is only known at run time; of a
conditional the branch with most kernels counts. Slices and gathers count by what they take.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from math import prod

_BITS = {"pred": 8, "bf16": 16}
_NO_KERNEL = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "partition-id", "replica-id", "copy-done", "async-done",
}  # fmt: skip
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
_COST = re.compile(r'"exec_time_us":([\d.e+-]+)')


@dataclass
class _Instruction:
    name: str
    shape: str
    op: str
    operands: list[str]
    attributes: str
    is_root: bool

    def called(self, key: str) -> str:
        return re.search(key + r"=%?([\w.\-]+)", self.attributes)[1]


@dataclass
class Cost:
    """What one call of a program does."""

    kernels: float = 0.0
    read: float = 0.0
    """Bytes."""
    written: float = 0.0
    """Bytes."""
    estimate_us: float = 0.0
    """XLA's cost model."""
    kinds: Counter = field(default_factory=Counter)
    """Kernels by kind: loop, input (reductions), gemm, or the name of an operation."""
    open_loops: int = 0
    """Loops without a known trip count."""
    custom_calls: set[str] = field(default_factory=set)

    def add(self, other: Cost, times: float = 1.0) -> None:
        """Another one, several times."""
        for name in ("kernels", "read", "written", "estimate_us"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for kind, n in other.kinds.items():
            self.kinds[kind] += times * n
        self.open_loops += other.open_loops
        self.custom_calls |= other.custom_calls


def cost_of(text: str) -> Cost:
    """The cost of an optimised program in XLA's text form."""
    computations, entry = _parsed(text)
    return _walked(computations, entry)


def cost_of_step(text: str) -> tuple[Cost, float]:
    """The cost of one turn of the outermost loop of unknown length, and the kernels around it."""
    computations, entry = _parsed(text)
    whole = _walked(computations, entry)
    turns = []
    for one in computations[entry].values():
        if one.op == "while" and "known_trip_count" not in one.attributes:
            turns.append(Cost())
            for key in ("body", "condition"):
                turns[-1].add(_walked(computations, one.called(key)))
    step = max(turns, key=lambda cost: cost.kernels)
    return step, whole.kernels - step.kernels


def _parsed(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    computations, entry, current = {}, "", None
    for line in text.splitlines():
        line = re.sub(r"/\*.*?\*/", "", line)
        head = re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$", line)
        if head:
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
            continue
        found = re.match(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$", line)
        if found is None or current is None:
            continue
        rest = found[3]
        end = _closing(rest, 0) + 1 if rest[0] == "(" else rest.index(" ")
        tail = rest[end:].strip()
        opening = tail.index("(")
        closing = _closing(tail, opening)
        inside = tail[opening + 1 : closing]
        current[found[2]] = _Instruction(
            name=found[2],
            shape=rest[:end],
            op=tail[:opening],
            operands=re.findall(r"%([\w.\-]+)", inside) or [inside],
            attributes=tail[closing + 1 :],
            is_root=bool(found[1]),
        )
    return computations, entry


def _closing(text: str, start: int) -> int:
    depth = 0
    for k in range(start, len(text)):
        depth += (text[k] in "({[") - (text[k] in ")}]")
        if depth == 0:
            return k
    return len(text) - 1


def _size(shape: str) -> int:
    return sum(
        _BITS.get(kind, int(re.sub(r"\D", "", kind) or 8)) // 8
        * prod(int(d) for d in dims.split(",") if d)
        for kind, dims in _ARRAY.findall(shape)
    )  # fmt: skip


def _walked(computations: dict, name: str) -> Cost:
    total = Cost()
    here = computations[name]
    for one in here.values():
        if one.op in _NO_KERNEL:
            continue
        if one.op == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', one.attributes)
            times = int(trips[1]) if trips else 1
            for key in ("body", "condition"):
                total.add(_walked(computations, one.called(key)), times)
            total.open_loops += trips is None
        elif one.op == "conditional":
            names = re.search(r"branch_computations=\{([^}]*)\}", one.attributes)
            branches = (
                re.findall(r"%([\w.\-]+)", names[1])
                if names
                else [one.called("true_computation"), one.called("false_computation")]
            )
            costs = [_walked(computations, branch) for branch in branches]
            total.add(max(costs, key=lambda cost: cost.kernels))
        elif one.op in ("call", "async-start"):
            key = "to_apply" if "to_apply=" in one.attributes else "calls"
            total.add(_walked(computations, one.called(key)))
        else:
            total.add(_kernel(computations, here, one))
    return total


def _kernel(computations: dict, here: dict, one: _Instruction) -> Cost:
    cost, time = Cost(kernels=1.0), _COST.search(one.attributes)
    cost.estimate_us = float(time[1]) if time else 0.0
    kind, sizes = one.op, [_size(here[o].shape) if o in here else 0 for o in one.operands]
    cost.read, cost.written = float(sum(sizes)), float(_size(one.shape))
    if one.op == "fusion":
        inside = computations[one.called("calls")]
        parameters = {int(p.operands[0]): p for p in inside.values() if p.op == "parameter"}
        demanded = _demanded(inside)
        cost.read = sum(
            demanded[parameters[k].name] if k in parameters else size
            for k, size in enumerate(sizes)
        )
        kind = re.search(r"kind=k(\w+)", one.attributes)[1].lower()
        kind = "gemm" if "gemm" in one.attributes or kind == "custom" else kind
        root = next(x for x in inside.values() if x.is_root)
        if any(x.op == "scatter" for x in inside.values()):
            kind = "scatter"
        if root.op == "dynamic-update-slice":
            cost.written = float(_size(inside[root.operands[1]].shape))
    elif one.op in ("slice", "dynamic-slice", "gather"):
        cost.read = cost.written
    elif one.op == "custom-call":
        cost.custom_calls.add(re.search(r'custom_call_target="([^"]*)"', one.attributes)[1])
    cost.kinds[kind] += 1
    return cost


def _demanded(inside: dict) -> dict[str, float]:
    """Bytes that a fused kernel takes of each of its values.

    A slice or gather takes as much as it gives, again for each of them, and so it is where its
    operand is put together in the same kernel; other uses take what is asked of them, once.
    """
    once, again = Counter(), Counter()
    for one in reversed(inside.values()):
        size = _size(one.shape)
        wanted = float(size) if one.is_root else once[one.name] + again[one.name]
        if one.op == "tuple" or not size:
            wanted = float(size)
        share = wanted / size if size else 1.0
        whole = sum(_size(inside[o].shape) for o in one.operands if o in inside)
        for k, name in enumerate(one.operands):
            if name not in inside:
                continue
            own = _size(inside[name].shape)
            if one.op in ("slice", "dynamic-slice", "gather") and k == 0:
                again[name] += wanted
            elif one.op == "dynamic-update-slice" and k == 0:
                continue
            elif one.op in ("broadcast", "pad"):
                once[name] = max(once[name], min(own, wanted))
            elif one.op == "concatenate":
                once[name] = max(once[name], wanted * own / whole)
            else:
                once[name] = max(once[name], own * share)
    return {name: once[name] + again[name] for name in inside}
