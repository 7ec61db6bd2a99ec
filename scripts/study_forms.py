"""Which form of the energy fits best: symmetrised, bare halves, radial functions of one parity.

    python scripts/study_forms.py --data iron --levels 8 12 16 --sizes 3 -o forms.jsonl
    python scripts/study_forms.py --data superexchange --levels 8 12 -o forms.jsonl
    python scripts/study_forms.py --curve 12 --data iron -o curve.jsonl
    python scripts/study_forms.py --plot forms.png forms.jsonl

Errors are those of configurations that a fit has not seen, mean and standard deviation over folds;
seconds are CPU seconds of one fit, after the program is compiled. Sets:

- iron, crn: the labels that come with the package (ABINIT, constrained moments);
- superexchange: rock salt of magnetic and other atoms, an analytic energy in which two moments on
  either side of an atom without one are coupled by cos^2 of the angle there;
- heisenberg: disordered bcc, an analytic energy of pairs and of the size of the moments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from make_potential import RECIPES

import mmtp_jax as mmtp
from mmtp_jax.potential.parity import parity_tables

DATA = Path(mmtp.__file__).parent / "data"
KINDS = ("energy", "forces", "stress", "magnetic_forces")
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "magnetic_forces": "meV/mu_B"}
CUTOFF = 5.0


def patterns(level: int) -> dict[str, str]:
    """The patterns of a level by name; a letter whose function nothing uses becomes ``e``."""
    n = (level - 2) // 4 + 1
    named = {"e": "e" * n, "eo": ("eo" * n)[:n], "bee": "b" + "e" * (n - 1),
             "oee": "o" + "e" * (n - 1), "b": "b" * n}  # fmt: skip
    found: dict[str, str] = {}
    for name, pattern in named.items():
        for mu in reversed(range(n)):
            try:
                parity_tables(level, pattern)
            except ValueError:
                pattern = pattern[:mu] + "e" + pattern[mu + 1 :]
        try:
            parity_tables(level, pattern)
        except ValueError:
            continue
        if pattern not in found.values():
            found[name] = pattern
    return found


def new(data: Sequence[Atoms], level: int, size: int, form: str, pattern: str | None, seed: int):
    """An unfitted potential for a set."""
    species = tuple(dict.fromkeys(symbol for atoms in data for symbol in atoms.symbols))
    return mmtp.Potential.new(
        level=level, species=species, magnetic_size=size, cutoff=CUTOFF, form=form,
        pattern=pattern, seed=seed, non_magnetic=[s for s in species if s == "N"],
    )  # fmt: skip


# --- sets ----------------------------------------------------------------------------


def iron() -> list[Atoms]:
    """The labels that come with the package."""
    return [a for path in sorted(DATA.glob("fe_cdft*.extxyz")) for a in mmtp.read(path)]


def _labelled(atoms: Atoms, energy, cutoff: float) -> Atoms:
    """An analytic energy(vectors, i, j, moments, types) of neighbours and its derivatives."""
    from ase.neighborlist import neighbor_list

    i, j, shifts = neighbor_list("ijS", atoms, cutoff)
    # One shape for all: the pairs that are not there are far away.
    n = -len(i) % 1024
    i, j = np.pad(i, (0, n)), np.pad(j, (0, n))
    shifts = np.concatenate([shifts @ np.array(atoms.cell), np.full((n, 3), 100.0)])
    types = np.array([symbol != "O" for symbol in atoms.symbols], float)
    value, (virial, gradient, slope) = jax.device_get(
        _derivatives(energy, atoms.positions, atoms.get_initial_magnetic_moments(), i, j, shifts,
                     types)
    )  # fmt: skip
    stress = virial / atoms.get_volume()
    labelled = atoms.copy()
    labelled.calc = SinglePointCalculator(
        labelled, energy=float(value),  forces=-gradient,
        magmoms=atoms.get_initial_magnetic_moments(),
        stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
    )  # fmt: skip
    mmtp.set_magnetic_forces(labelled, -slope)
    return labelled


@partial(jax.jit, static_argnums=0)
def _derivatives(energy, positions, moments, i, j, shifts, types):
    def total(strain, positions, moments):
        deform = jnp.eye(3) + (strain + strain.T) / 2
        return energy((positions[j] - positions[i] + shifts) @ deform, i, j, moments, types)

    # The cell moves with the strain, positions alone do not.
    return jax.value_and_grad(total, (0, 1, 2))(jnp.zeros((3, 3)), positions, moments)


def _landau(moments, types):
    """Moments of about 2 mu_B on the magnetic atoms, none on the others."""
    return jnp.sum(types * 0.02 * (moments**2 - 4.0) ** 2 + (1 - types) * 2.0 * moments**2)


def _pairs(distance, i, j, moments, types, coupling: float):
    """Repulsion and attraction of all pairs, and an exchange of the magnetic ones, by distance."""
    smooth = jnp.where(distance < CUTOFF, (1 - distance / CUTOFF) ** 2, 0.0)
    core = 40.0 * jnp.exp(-2.2 * distance) - 1.2 * jnp.exp(-1.1 * distance)
    exchange = coupling * jnp.cos(2.0 * distance) * moments[i] * moments[j] * types[i] * types[j]
    return jnp.sum(smooth * (core + exchange)) / 2


def _heisenberg(vectors, i, j, moments, types):
    distance = jnp.linalg.norm(vectors, axis=1)
    return _pairs(distance, i, j, moments, types, 0.1) + _landau(moments, types)


def _superexchange(vectors, i, j, moments, types):
    """With 0.15 eV (sum_j w_ij m_j u_ij)^2 at each atom without a moment: cos(angle) m_j m_k."""
    distance = jnp.linalg.norm(vectors, axis=1)
    near = jnp.where(distance < 3.0, (1 - distance / 3.0) ** 2, 0.0)
    weight = near * moments[j] * types[j] * (1 - types[i])
    unit = vectors / distance[:, None]
    tensor = weight[:, None, None] * unit[:, :, None] * unit[:, None, :]
    of_atom = jax.ops.segment_sum(tensor, i, len(types))
    through = 0.6 * jnp.sum(of_atom**2)
    return _pairs(distance, i, j, moments, types, 0.0) + _landau(moments, types) + through


def heisenberg(
    n: int = 120, seed: int = 0, cells: Sequence[Sequence[int]] = ((1, 1, 2),)
) -> list[Atoms]:
    """Strained, rattled bcc with moments of any sign, in supercells that take turns."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        atoms = bulk("Fe", "bcc", a=2.87 * rng.uniform(0.96, 1.05), cubic=True)
        atoms *= tuple(rng.permutation(cells[k % len(cells)]))
        found.append(_distorted(atoms, rng))
    return [_labelled(atoms, _heisenberg, CUTOFF) for atoms in found]


def superexchange(n: int = 120, seed: int = 0) -> list[Atoms]:
    """Strained, rattled rock salt with moments of any sign on one of the two sublattices."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("NiO", "rocksalt", a=4.2 * rng.uniform(0.97, 1.04), cubic=True)
        found.append(_distorted(atoms, rng))
    return [_labelled(atoms, _superexchange, CUTOFF) for atoms in found]


def _distorted(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    strain = np.eye(3) + rng.normal(0, 0.015, (3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (strain + strain.T) / 2, scale_atoms=True)
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    size = np.where(atoms.symbols == "O", rng.normal(0, 0.05, len(atoms)),
                    rng.uniform(1.4, 2.5, len(atoms)))  # fmt: skip
    atoms.set_initial_magnetic_moments(size * rng.choice([-1.0, 1.0], len(atoms)))
    return atoms


SETS = {
    "iron": iron,
    "crn": RECIPES["crn"].data,
    "heisenberg": heisenberg,
    "superexchange": superexchange,
}


# --- fits ----------------------------------------------------------------------------


def compare(data, name, levels, sizes, n_folds, steps, tell) -> None:
    """Cross-validated errors of every form, level and number of magnetic functions."""
    for level in levels:
        for size in sizes:
            forms = {"symmetrised": None, **patterns(level)}
            for label, pattern in forms.items():
                form = "symmetrised" if pattern is None else "parity"
                start = new(data, level, size, form, pattern, 0)
                row = {"set": name, "level": level, "N_psi": size, "form": label}
                tell(row | {"pattern": pattern} | cross_validated(start, data, n_folds, steps))


def cross_validated(start: mmtp.Potential, data: Sequence[Atoms], n_folds: int, steps: int) -> dict:
    """Errors of configurations not seen, seconds and steps of one fit."""
    times = [time.process_time()]

    def fitted(task, progress) -> None:
        if not hasattr(progress, "iteration"):
            times.append(time.process_time())

    folds = mmtp.cross_validate(start, data, n_folds, max_iterations=steps, callback=fitted)
    # The first fit compiles.
    seconds = np.diff(times)[1:] if len(times) > 2 else np.diff(times)
    errors = folds.errors["validation"]
    return {
        "parameters": start.n_parameters,
        "contractions": start.tables.n_scalars,
        "loss": float(np.mean([fit.loss for fit in folds.fits])),
        "steps": float(np.mean([fit.n_iterations for fit in folds.fits])),
        "seconds": float(np.mean(seconds)),
        "errors": {k: errors[k].rmse.as_dict() for k in KINDS if k in errors},
        "units": {k: errors[k].unit for k in KINDS if k in errors},
    }


def curve(data, name, level, size, n_folds, steps, tell) -> None:
    """Errors on one fifth of a set against the number of configurations that are fitted."""
    order = np.random.default_rng(1).permutation(len(data))
    test = [data[k] for k in order[: len(data) // 5]]
    rest = [data[k] for k in order[len(data) // 5 :]]
    counts = [n for n in (25, 50, 100, 200, 400) if n < len(rest)] + [len(rest)]
    for n in counts:
        for label, pattern in {"symmetrised": None, **patterns(level)}.items():
            form = "symmetrised" if pattern is None else "parity"
            found = []
            for seed in range(n_folds):
                some = np.random.default_rng(seed).permutation(len(rest))[:n]
                start = new(data, level, size, form, pattern, seed)
                chosen = [rest[k] for k in some]
                fit = mmtp.fit(start, chosen, validation=test, max_iterations=steps)
                found.append(fit.report.validation)
            errors = {
                k: {"mean": float(np.mean(v)), "sigma": float(np.std(v, ddof=min(1, len(v) - 1)))}
                for k in KINDS
                if (v := [e[k].rmse for e in found if k in e])
            }
            tell({"set": name, "level": level, "N_psi": size, "form": label, "n": n,
                  "errors": errors})  # fmt: skip


# --- output --------------------------------------------------------------------------


def table(rows: Sequence[dict]) -> str:
    """Markdown, one line for each fit."""
    head = (
        "| set | level | N_psi | form | P | B | energy | forces | stress | magnetic | steps | s |"
    )
    lines = [head, "|" + " --- |" * 12]
    for row in rows:
        cells = [
            "" if k not in row["errors"] else f"{row['errors'][k]['mean']:.2f} "
            f"({row['errors'][k]['sigma'] or 0:.2f})" for k in KINDS
        ]  # fmt: skip
        lines.append(
            f"| {row['set']} | {row['level']} | {row['N_psi']} | {row['form']} | "
            f"{row['parameters']} | {row['contractions']} | {' | '.join(cells)} | "
            f"{row['steps']:.0f} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def plot(path: str, rows: Sequence[dict]) -> None:
    """Errors against the time of a fit, or against the number of configurations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    names = list(dict.fromkeys(row["set"] for row in rows))
    kinds = ("energy", "forces", "magnetic_forces")
    figure, axes = plt.subplots(
        len(names), len(kinds), figsize=(4 * len(kinds), 3.2 * len(names)), squeeze=False
    )
    forms = list(dict.fromkeys(row["form"] for row in rows))
    for line, name in zip(axes, names, strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            for k, form in enumerate(forms):
                own = [r for r in rows if (r["set"], r["form"], r["N_psi"]) == (name, form, 3)]
                if not own:
                    continue
                across = "n" if "n" in own[0] else "seconds"
                own.sort(key=lambda r: r[across])
                mean, sigma = (
                    np.array([r["errors"][kind][of] or 0 for r in own]) for of in ("mean", "sigma")
                )
                x = [r[across] for r in own]
                axis.plot(x, mean, "o-", color=f"C{k}", label=form, ms=4)
                axis.fill_between(x, mean - sigma, mean + sigma, color=f"C{k}", alpha=0.12, lw=0)
            axis.set(xscale="log", yscale="log", title=f"{name}: {kind.replace('_', ' ')}")
            axis.set_ylabel(f"RMSE of unseen configurations ({UNITS[kind]})", fontsize=8)
            axis.set_xlabel("configurations" if across == "n" else "CPU seconds of a fit")
            for side in (axis.xaxis, axis.yaxis):
                side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                side.set_major_formatter("{x:g}")
                side.set_minor_formatter(NullFormatter())
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="results to show as a table")
    parser.add_argument("--data", nargs="+", default=["iron"], choices=sorted(SETS))
    parser.add_argument("--levels", nargs="+", type=int, default=[8, 12])
    parser.add_argument("--sizes", nargs="+", type=int, default=[3])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--curve", type=int, metavar="LEVEL")
    parser.add_argument("--plot", metavar="PNG")
    parser.add_argument("-o", "--output", metavar="JSONL")
    options = parser.parse_args()
    if options.files:
        rows = [
            json.loads(line) for f in options.files for line in Path(f).read_text().splitlines()
        ]
        if options.plot:
            plot(options.plot, rows)
        print(table([row for row in rows if "seconds" in row]))
        return

    def tell(row: dict) -> None:
        print(json.dumps(row), flush=True)
        if options.output:
            with Path(options.output).open("a") as file:
                file.write(json.dumps(row) + "\n")

    jax.config.update("jax_enable_x64", True)
    for name in options.data:
        data = SETS[name]()
        if options.curve:
            curve(data, name, options.curve, options.sizes[0], options.folds, options.steps, tell)
        else:
            compare(data, name, options.levels, options.sizes, options.folds, options.steps, tell)


if __name__ == "__main__":
    sys.exit(main())
