"""The potentials that come with the package, from the data that come with it.

    python scripts/make_potential.py fe              # writes Fe.mtp and Fe.active.npz
    python scripts/make_potential.py crn             # likewise fe-al and fe-pd
    python scripts/make_potential.py fe --folds      # prints the table of errors of the card

Each takes some minutes on one core. Settings and seeds are below. Last digits vary from machine to
machine, and with them where a fit ends: a potential that is made again is another one of the same
errors, so its card and `tests/io/shipped.json`, which is written too, change with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.active.beside import path_beside
from mmtp_jax.active.options import NEIGHBORHOOD
from mmtp_jax.cli.commands.quickstart import shipped_iron
from mmtp_jax.io.convert import structures_for
from mmtp_jax.io.shipped import FOLDER
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import lengths

N_FOLDS = 5
DATA = Path(mmtp.__file__).parent / "data"
PINNED = Path(__file__).parents[1] / "tests" / "io" / "shipped.json"


@dataclass(frozen=True)
class Recipe:
    """How a potential is made."""

    name: str
    data: Callable[[], list[Atoms]]
    form: dict[str, Any]
    """Arguments of `Potential.new`."""
    fit: dict[str, Any]
    """Arguments of `mmtp.fit`."""
    use: str
    """One line."""

    @property
    def start(self) -> mmtp.Potential:
        """The unfitted potential."""
        return mmtp.Potential.new(**self.form)


def collinear_iron() -> list[Atoms]:
    """The collinear labels of iron that are for fits."""
    return [*shipped_iron(), *labels(".", "fe_cdft_learned", "fe_cdft_mixed", "fe_cdft_long")]


def canted_iron() -> list[Atoms]:
    """Those of canted moments."""
    return labels("canted", "fe")


def labels(folder: str, *names: str) -> list[Atoms]:
    """Those of some files of a folder."""
    return [atoms for name in names for atoms in mmtp.read(DATA / folder / f"{name}.extxyz")]


RECIPES = {
    "fe": Recipe(
        name="Fe",
        data=lambda: [*collinear_iron(), *canted_iron()],
        form={
            "level": 12,
            "pattern": "eee",
            "species": ("Fe",),
            "cutoff": 5.0,
            "magnetic_size": 3,
            "seed": 3,
        },
        # Spinors are another making, but near a line of moments their energies are only 3 meV/atom
        # below those of numbers: a constant of their own would take up what the form lacks, some
        # ten times as much.
        fit={"max_iterations": 2000, "making": "ignore"},
        use="ferromagnetic bcc iron, to try the program with",
    ),
    "crn": Recipe(
        name="CrN",
        # Of this and the following the other lists are for tests.
        data=lambda: labels("crn", "start", "ideal", "lengths", "along", "learned"),
        form={
            "level": 12,
            "pattern": "eee",
            "species": ("Cr", "N"),
            "non_magnetic": ("N",),
            "cutoff": 5.0,
            "magnetic_size": 3,
            "seed": 0,
        },
        # More steps make unseen configurations worse: see the card.
        fit={"max_iterations": 300, "weights": mmtp.Weights(stress=0.01)},
        use="rock-salt CrN: ferromagnetic, antiferromagnetic and paramagnetic",
    ),
    "fe-al": Recipe(
        name="Fe-Al",
        # Labels of iron are of the same making.
        data=lambda: [*labels("fe_al", "start", "ideal"), *shipped_iron()],
        # N_psi and seed by the crystals that moments are equilibrated in: see the card.
        form={
            "level": 8,
            "species": ("Fe", "Al"),
            "cutoff": 5.0,
            "magnetic_size": 3,
            "seed": 4,
        },
        fit={"max_iterations": 300},
        use="ferromagnetic bcc Fe-Al of 0 to 50 % Al, to try alloys with",
    ),
    "fe-pd": Recipe(
        name="Fe-Pd",
        data=lambda: labels("fe_pd", "start", "ideal", "along"),
        form={
            "level": 8,
            "species": ("Fe", "Pd"),
            "cutoff": 5.0,
            "magnetic_size": 3,
            "seed": 5,
        },
        fit={"max_iterations": 300},
        use="ferromagnetic fcc Fe-Pd of 0 to 50 % Pd, to try alloys with",
    ),
}


def held_out(recipe: Recipe, data: list[Atoms]) -> dict[str, Any]:
    """Errors of configurations that were not fitted to, mean and deviation over folds."""
    found = mmtp.cross_validate(recipe.start, data, N_FOLDS, **recipe.fit).errors["validation"]
    rmse = {k.kind: f"{k.rmse.text(1)} {k.unit}" for k in found.kinds}
    return {"folds": N_FOLDS, "rmse": rmse, "largest": {
        k.kind: f"{max(k.largest.values):.4g} {k.unit}" for k in found.kinds
    }}  # fmt: skip


def range_of(potential: mmtp.Potential, data: list[Atoms]) -> dict[str, Any]:
    """What the data reach: least and largest."""
    structures = structures_for(potential, data, vectors=True)
    tables = [neighbour_table(s, float(potential.cutoff)) for s in structures]
    volumes = [s.volume / len(s) for s in structures]
    moments = {
        symbol: max(lengths(s.magmoms[s.types == k]).max(initial=0.0) for s in structures)
        for k, symbol in enumerate(potential.species)
    }
    return {
        "shortest distance, Angstrom": round(min(t.lengths.min() for t in tables), 4),
        "largest moment, mu_B": {symbol: round(float(m), 4) for symbol, m in moments.items()},
        "volume, Angstrom^3/atom": [round(min(volumes), 3), round(max(volumes), 3)],
        "atoms in a cell": [min(map(len, data)), max(map(len, data))],
    }


def table(found: dict[str, Any]) -> str:
    """The errors as they stand in a card."""
    lines = [
        f"| error, {found['folds']} folds | RMSE, mean +- deviation | largest |",
        "|---|---|---|",
    ]
    lines += [
        f"| {kind.replace('_', ' ')} | {rmse} | {found['largest'][kind]} |"
        for kind, rmse in found["rmse"].items()
    ]
    return "\n".join(lines)


def pinned(potential: mmtp.Potential, data: list[Atoms]) -> list[dict[str, Any]]:
    """What the potential gives of the first cell of each size, collinear and canted.

    Tests compare with it.
    """
    kinds = [(atoms.get_initial_magnetic_moments().ndim, len(atoms)) for atoms in data]
    first = [kinds.index(kind) for kind in sorted(set(kinds))]
    found = mmtp.evaluate(potential, [data[k] for k in first])
    return [
        {
            "configuration": k, "energy": of.energy, "forces": of.forces.tolist(),
            "magnetic_forces": of.magnetic_forces.tolist(), "stress": of.stress.tolist(),
        }
        for k, of in zip(first, found, strict=True)
    ]  # fmt: skip


def main() -> None:
    """Make one, or print its errors."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--folds", action="store_true", help="print the table of the card only")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, help="folder to write to")
    args = parser.parse_args()
    mmtp.compilation_cache()

    recipe = RECIPES[args.recipe]
    data = recipe.data()
    errors = held_out(recipe, data)
    print(table(errors), flush=True)
    if args.folds:
        return
    fit = mmtp.fit(recipe.start, data, **recipe.fit)
    print(fit)
    found = fit.potential
    record = {**found.record, "held_out": errors, "range": range_of(found, data)}
    potential = found.replace(tag=recipe.use, record=record)
    active = mmtp.ActiveSet.from_configurations(potential, data, mode=NEIGHBORHOOD)
    path = args.output / f"{recipe.name}.mtp"
    mmtp.save(path, potential)
    active.save(path_beside(path))
    print(f"wrote {path} and {path_beside(path)}, {active}")
    if args.output == FOLDER:
        known = json.loads(PINNED.read_text()) if PINNED.exists() else {}
        known[recipe.name] = pinned(mmtp.load(path), data)
        PINNED.write_text(json.dumps(known) + "\n")
        print(f"wrote {PINNED}")


if __name__ == "__main__":
    main()
