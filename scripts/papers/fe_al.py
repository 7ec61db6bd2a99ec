"""Fe-Al: the tables and figures of Kotykhov 2024, from this program's own DFT labels.

    python scripts/papers/fe_al.py -o fe_al_paper --refit       # every table and figure
    python scripts/papers/fe_al.py -o fe_al_paper --labels mine --refit --level 12
    python scripts/papers/fe_al.py -o fe_al_paper --from-scratch     # label first, for days
    python scripts/papers/fe_al.py -o fe_al_paper --only ensembles table2 table3 table4
    python scripts/papers/fe_al.py --list                       # the commands of each figure

Each stage is a few commands of `mmtp`, printed before they run; what a stage has finished is not
done again, unless its commands, or files that it reads, are others. `ensembles` fits what `table2`,
`table3`, `table4` and `fig7` read; it and `folds`, `fig2` and the learning curves take most of the
time, and go on after an interruption where they were. The labels are those of
`scripts/make_fe_al_data.py`: the lists `start` and `ideal` are fitted, with the labels of iron that
ship, `test` and `equilibrium` never. Numbers of the paper stand beside ours in the tables, each
with two standard deviations over the potentials of an ensemble.

Our potentials differ from the paper's by their form, which has one parity for each radial function
and so about half the parameters at the same level and N_psi (`--magnetic-size`), and by their
level: for as few labels it is lower (the paper's is 12).
"""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

from common import Paper, Stage, curve_stage, errors_stage, main, parts
from fe_al_crystals import (
    AT_300_K,
    BEST,
    EQUILIBRIUM,
    ORDERED,
    crystals_table,
    expansion,
    kind_of,
    starts,
    supercell,
)
from fe_al_tables import (
    PAPER_ERRORS,
    WEIGHTS,
    all_ensembles,
    ensemble,
    errors_of_fits,
    labels_saved,
    moments_table,
)

import mmtp_jax as mmtp
from mmtp_jax.cli.commands.quickstart import DATA as IRON_LABELS

DATA = Path(mmtp.__file__).parent / "data" / "fe_al"
IRON = [DATA.parent / name for name in IRON_LABELS]
"""Labels of iron, which are of the same making."""
TRAINING = [DATA / f"{name}.extxyz" for name in ("start", "ideal")] + IRON
TEST = DATA / "test.extxyz"
FORM = "--level {level} --species Fe Al --cutoff 5.0 --max-iterations {iterations}"
SHIPPED = "--magnetic-size 3 --seed 4"
"""Of the potential by itself."""


def crystals(folder: Path) -> None:
    """The cells that commands start from: of our DFT, at the volumes that are lowest in energy."""
    cells = starts(mmtp.read(folder / EQUILIBRIUM))
    mmtp.write(folder / ORDERED, cells)
    for atoms in cells:
        if kind_of(atoms) in AT_300_K:
            mmtp.write(folder / f"fig7_{kind_of(atoms)}.extxyz", [supercell(atoms)])


def stages(args: Namespace, n: int) -> dict[str, Stage]:
    """All of them, of the command line and the number of labels that are fitted."""
    if args.members < 2:
        raise SystemExit("--members must be two or more: one potential has no deviation")
    best, members, test = ensemble(BEST, "with"), args.members, shlex.quote(str(args.test))
    training = shlex.join(map(str, args.training))
    form = FORM.format(**vars(args)) + " --seed 0"
    fits = {
        name: f"fit {training} {form} --magnetic-size {size} "
        f"--magnetic-forces-weight {WEIGHTS[kind]} --no-active-set"
        for size, kind, name in all_ensembles()
    }
    potentials = {name: " ".join(f"{name}.{k}.mtp" for k in range(members)) for name in fits}
    of_curve = {
        kind: f"{form} --magnetic-size {BEST} --magnetic-forces-weight {weight} --no-active-set"
        for kind, weight in WEIGHTS.items()
    }
    return {
        "table1": errors_stage(args.test, PAPER_ERRORS),
        "ensembles": Stage(
            f"ensembles of {members} potentials, with and without magnetic forces",
            tuple(
                f"{fit} --ensemble {members} --validation {test} --checkpoint {name}.npz "
                f"-o {name}.mtp --report {name}.json"
                for name, fit in fits.items()
            ),
        ),
        "folds": Stage(
            "five folds of each",
            tuple(
                f"{fit} --folds 5 --checkpoint folds_{name}.npz --report folds_{name}.json"
                for name, fit in fits.items()
            ),
        ),
        "table2": Stage(
            "errors of ensembles and folds (Table 2 and Fig. 3)",
            (),
            errors_of_fits,
            reads=tuple(f"{of}{name}.json" for name in fits for of in ("", "folds_")),
        ),
        "fig2": Stage(
            "errors of held-out labels against the weight of magnetic forces",
            (
                f"fit {training} {form} --magnetic-size 2 --scan magnetic-forces "
                "--checkpoint fig2.npz --scan-csv fig2.csv --plot fig2.png --report fig2.json",
            ),
        ),
        "table3": Stage(
            "moments after equilibration, and its reliability (Table 3 and Fig. 4)",
            tuple(
                f"equilibrate {of} {training} {test} {EQUILIBRIUM} --json moments_{name}.json"
                for name, of in potentials.items()
            ),
            partial(moments_table, members=members),
        ),
        "table4": Stage(
            "crystals against composition, and the reliability of their relaxation "
            "(Table 4, Figs. 5 and 6)",
            tuple(
                f"relax {of} {ORDERED} --json {how}_{name}.json {options}"
                for name, of in potentials.items()
                for how, options in (
                    ("full", "--cell full"),
                    ("ideal", "--cell volume --fixed-positions"),
                )
            ),
            partial(crystals_table, members=members),
            reads=(EQUILIBRIUM,),
            accepts=1,
        ),
        **{
            f"fig7_{kind}": Stage(
                f"dynamics of {kind} at 300 K",
                (
                    f"md {potentials[best]} fig7_{kind}.extxyz --ensemble npt --temperature 300 "
                    f"--timestep 2 --barostat-time 300 --steps {args.steps} "
                    f"--json fig7_{kind}.json",
                ),
                accepts=1,
            )
            for kind in AT_300_K
        },
        "fig7": Stage(
            "lattice parameters and moments at 300 K, and those at rest of table4",
            (),
            partial(expansion, members=members),
            reads=(
                EQUILIBRIUM,
                *(
                    f"{stem}.{k}.json"
                    for stem in (f"ideal_{best}", *(f"fig7_{kind}" for kind in AT_300_K))
                    for k in range(members)
                ),
            ),
        ),
        **{
            f"curve_{kind}": curve_stage(n, fit, args.test, PAPER_ERRORS, f"curve_{kind}")
            for kind, fit in of_curve.items()
        },
        "curve": Stage(
            "labels that magnetic forces save",
            (),
            partial(labels_saved, n=n),
            reads=tuple(f"curve_{kind}_{part}.json" for kind in WEIGHTS for part in parts(n)),
        ),
    }


PAPER = Paper(
    name="fe_al",
    title=__doc__.splitlines()[0],
    potential="Fe-Al",
    fit=f"{FORM} {SHIPPED}",
    training=TRAINING,
    test=TEST,
    others=[DATA / EQUILIBRIUM],
    maker="scripts/make_fe_al_data.py",
    datasets=False,
    numbers={
        "members": (5, "potentials of an ensemble"),
        "level": (8, "of all potentials that are fitted"),
        "iterations": (300, "of a fit, at most"),
        "steps": (1000, "of 2 fs, of the dynamics"),
    },
    crystals=crystals,
    stages=stages,
)


if __name__ == "__main__":
    sys.exit(main(PAPER))
