"""Stand-in for the VASP executables, run as ``python stand_in.py PARAMETERS.json``.

It reads INCAR, POSCAR, KPOINTS and POTCAR like VASP and writes OUTCAR, OSZICAR, WAVECAR and CHGCAR
in VASP's format. The smoothed moment u of each atom has the energy stiffness/2 (u - rest)^2 (and
no more than ``largest``), M_int = slope(lambda) u + intercept, and the moment of OUTCAR is
M_int - bias. Canted moments do the same with vectors: rest is along MAGMOM, turned by ``turn``
about z, and intercept and bias are along u. Only the standard library is used, so that it starts
quickly.
"""

import json
import math
import os
import sys
import time
from pathlib import Path


def read_incar():
    text = Path("INCAR").read_text().replace("\\\n", " ")
    tags = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {tag.strip(): value.split() for tag, value in tags.items()}


def read_poscar():
    lines = Path("POSCAR").read_text().splitlines()
    scale = float(lines[1])
    cell = [[scale * float(v) for v in line.split()] for line in lines[2:5]]
    symbols = lines[5].split()
    counts = [int(v) for v in lines[6].split()]
    assert lines[7].strip().lower().startswith("d"), "the stand-in reads direct coordinates"
    rows = [[float(v) for v in line.split()[:3]] for line in lines[8 : 8 + sum(counts)]]
    positions = [[sum(r[i] * cell[i][k] for i in range(3)) for k in range(3)] for r in rows]
    return cell, symbols, counts, positions


def response(wanted, weight, rest, par):
    """The smoothed moment where energy and penalty are smallest."""
    u = (par["stiffness"] * rest + 2 * weight * wanted) / (par["stiffness"] + 2 * weight)
    return math.copysign(min(abs(u), par["largest"]), u)


def main():
    par = json.loads(Path(sys.argv[1]).read_text())
    tags = read_incar()
    cell, symbols, counts, positions = read_poscar()
    n = sum(counts)
    kinds = [s for s, count in zip(symbols, counts, strict=True) for _ in range(count)]
    titles = [line for line in Path("POTCAR").read_text().splitlines() if "TITEL" in line]
    assert len(titles) == len(symbols), "POTCAR does not fit POSCAR"
    assert Path("KPOINTS").read_text().splitlines()[2] == "Gamma"
    constrained = "I_CONSTRAINED_M" in tags
    if constrained:
        assert tags["LNONCOLLINEAR"] == [".TRUE."]
    weight = float(tags["LAMBDA"][0]) if constrained else 0.0
    name = Path.cwd().name
    with open(par["log"], "a") as log:
        log.write(f"{Path.cwd().parent.name} {name}\n")
    if tags["ISTART"] == ["1"]:
        assert Path("WAVECAR").exists(), "there is no WAVECAR to start from"
        assert Path("CHGCAR").read_text().split()[0] == "density"
    if name in par["hang"]:
        Path(par["log"] + ".pid").write_text(str(os.getpid()))
        time.sleep(300)
    crashes = Path(par["log"] + ".crashes")
    crashed = crashes.read_text().split() if crashes.exists() else []
    crash = name in par["crash"] and crashed.count(name) < par["crash_times"]
    if crash:
        crashes.write_text(" ".join([*crashed, name]))

    rest = [par["rest"][s] for s in kinds]
    magmom = [float(v) for v in tags["MAGMOM"]]
    starts = [magmom[3 * k : 3 * k + 3] for k in range(n)]
    canted = len(magmom) == 3 * n and sum(any(v[i] for v in starts) for i in range(3)) > 1
    axis = 0
    if canted:
        assert tags["LNONCOLLINEAR"] == [".TRUE."]
        assert "ISPIN" not in tags
        rest = [scaled(r, unit(turned(v, par["turn"]))) for r, v in zip(rest, starts, strict=True)]
        u, field = rest, [[0.0] * 3] * n
        if constrained:
            wanted = [[float(v) for v in tags["M_CONSTR"][3 * k : 3 * k + 3]] for k in range(n)]
            part = 2 * weight / (par["stiffness"] + 2 * weight)
            u = [
                [(1 - part) * a + part * b for a, b in zip(r, w, strict=True)]
                for r, w in zip(rest, wanted, strict=True)
            ]
            field = [
                [weight * (a - b) for a, b in zip(x, w, strict=True)]
                for x, w in zip(u, wanted, strict=True)
            ]
    elif constrained:
        assert len(magmom) == 3 * n
        assert "ISPIN" not in tags
        vectors = [[float(v) for v in tags["M_CONSTR"][3 * k : 3 * k + 3]] for k in range(n)]
        axis = max(range(3), key=lambda i: sum(abs(v[i]) for v in vectors))
        wanted = [v[axis] for v in vectors]
        # What MAGMOM starts, the constraint does not flip.
        rest = [math.copysign(r, magmom[3 * k + axis] or 1) for k, r in enumerate(rest)]
        free = [w == 0.0 for w in wanted]
        u = [
            r if f else response(w, weight, r, par)
            for w, r, f in zip(wanted, rest, free, strict=True)
        ]
        field = [0.0 if f else weight * (a - w) for a, w, f in zip(u, wanted, free, strict=True)]
    else:
        assert len(magmom) == n
        u = [math.copysign(r, magmom[k] or 1) for k, r in enumerate(rest)]
        field = [0.0] * n
    slope = par["slope"] + par["slope_by_lambda"] * weight
    bias = [par["bias"][s] for s in kinds]
    tilt = par["tilt"] if constrained else 0.0
    if canted:
        total = [scaled(slope * length(a) + par["intercept"], unit(a)) for a in u]
        moments = [scaled(length(t) - b, unit(t)) for t, b in zip(total, bias, strict=True)]
    else:
        total = [slope * a + par["intercept"] for a in u]
        moments = [t - b for t, b in zip(total, bias, strict=True)]
        # Vectors from here on.
        total, moments, u, rest = (
            [vector(a, axis, t) for a in values]
            for values, t in ((total, tilt), (moments, tilt), (u, tilt), (rest, tilt))
        )
        field = [vector(f, axis) for f in field]
    energy = -8.0 * n + 0.5 * par["stiffness"] * sum(
        (a - b) ** 2 for x, r in zip(u, rest, strict=True) for a, b in zip(x, r, strict=True)
    )
    penalty = sum(c * c for f in field for c in f) / weight if constrained else 0.0
    steps = int(tags["NELM"][0]) if name in par["unconverged"] else 14

    write_oszicar(u, total, field, weight, penalty, energy, steps, constrained)
    incomplete = crash and "end"
    write_outcar(
        par, tags, cell, symbols, counts, positions, moments, axis, energy + penalty, steps,
        constrained, incomplete,
    )  # fmt: skip
    if crash:
        print(" LAPACK: Routine ZPOTRF failed!        2           1")
        os._exit(1)
    Path("WAVECAR").write_text("waves\n")
    Path("CHGCAR").write_text("density\n")


def fortran(value, digits, width):
    """A number as Fortran's E format has it: 0.12345E-02."""
    mantissa, exponent = f"{abs(value):.{digits - 1}E}".split("E")
    power = int(exponent) + 1 if value else 0
    text = f"{'-' if value < 0 else ''}0.{mantissa.replace('.', '')}E{power:+03d}"
    # Where the width is short, the zero goes first.
    return text.replace("0.", ".", 1).rjust(width) if len(text) > width else text.rjust(width)


def length(v):
    return math.sqrt(sum(x * x for x in v))


def unit(v):
    return [x / length(v) for x in v] if any(v) else [1.0, 0.0, 0.0]


def scaled(factor, v):
    return [factor * x for x in v]


def turned(v, angle):
    c, s = math.cos(angle), math.sin(angle)
    return [c * v[0] - s * v[1], s * v[0] + c * v[1], v[2]]


def vector(value, axis, tilt=0.0):
    found = [0.0, 0.0, 0.0]
    found[axis] = value
    found[(axis + 1) % 3] = tilt
    return found


def write_oszicar(u, total, field, weight, penalty, energy, steps, constrained):
    out = ["       N       E                     dE             d eps       ncg     rms"]
    for step in range(1, steps + 1):
        if constrained:
            # Moments on their way: only the last block is the answer.
            part = 1.0 - 0.5**step if step < steps else 1.0
            double = sum(
                2 * a * b for f, x in zip(field, u, strict=True) for a, b in zip(f, x, strict=True)
            )
            out += [
                "",
                f" E_p = {fortran(penalty * (2 - part), 5, 12)}  lambda = {fortran(weight, 3, 10)}",
                f"<lVp>= {fortran(double, 5, 12)}",
                f" DBL = {fortran(penalty - double, 5, 12)}",
                " ion        MW_int                 M_int",
            ]
            for k, (a, t) in enumerate(zip(u, total, strict=True)):
                left = "".join(f"{part * v:7.3f}" for v in a)
                right = "".join(f"{part * v:7.3f}" for v in t)
                out.append(f"{k + 1:3d}{left}  {right}")
        out.append(
            f"DAV: {step:3d}    {fortran(energy + penalty, 12, 19)}   -0.10000E-05   -0.10000E-06"
            " 89336   0.375E-02"
        )
    total_moment = "".join(f"{sum(column):11.4f}" for column in zip(*total, strict=True))
    out.append(
        f"   1 F= {fortran(energy + penalty, 8, 14)} E0= {fortran(energy + penalty, 8, 14)}"
        f"  d E =0.000000E+00  mag={total_moment}"
    )
    if constrained:
        out += [
            "",
            f" E_p = {fortran(penalty, 5, 12)}  lambda = {fortran(weight, 3, 10)}",
            " ion             lambda*MW_perp",
        ]
        for k, f in enumerate(field):
            out.append(f"{k + 1:3d}" + "".join(f"  {fortran(v, 5, 12)}" for v in f))
    Path("OSZICAR").write_text("\n".join(out) + "\n")


def write_outcar(
    par, tags, cell, symbols, counts, positions, moments, axis, energy, steps, constrained,
    incomplete,
):  # fmt: skip
    out = [" vasp.6.4.2 20Jul23 (build Jan 01 2024 00:00:00) complex", ""]
    out += [f" POTCAR:    PAW_PBE {s} 06Sep2000" for s in (*symbols, *symbols)]
    out += [
        f"   NELM   = {tags['NELM'][0]:>6};   NELMIN=  4; NELMDL= -5     # of ELM steps ",
        f"   ISPIN  =      {1 if constrained else 2}    spin polarized calculation?",
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   "
        "number of bands    NBANDS=     16",
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(positions):6d}",
        "   total plane-waves  NPLWV =  13824",
        "   IBRION =      1    ionic relax: 0-MD 1-quasi-New 2-CG",
        "   ions per type =            " + "".join(f"{c:4d}" for c in counts),
        " k-points in reciprocal lattice and weights: Gamma-centred mesh",
        "   0.00000000  0.00000000  0.00000000      1.000",
        "",
    ]
    for step in range(1, steps + 1):
        out.append(f"{'-' * 39} Iteration      1({step:4d})  {'-' * 39}")
    if incomplete:
        Path("OUTCAR").write_text("\n".join(out) + "\n")
        return
    converged = "aborting loop because EDIFF is reached"
    if steps >= int(tags["NELM"][0]) and par["vasp"] != 5:
        converged = "aborting loop EDIFF was not reached (unconverged)"
    out += ["", f"{'-' * 24} {converged} {'-' * 40}", ""]
    table = []
    columns = {
        f"magnetization ({letter})": [m[k] for m in moments]
        for k, letter in enumerate("xyz" if tags["LNONCOLLINEAR"] == [".TRUE."] else "x")
    }
    charges = {"total charge     ": [10.0 + k for k in range(len(moments))]}
    for name, values in (charges | columns).items():
        head = [
            "",
            "",
            f" {name}",
            " ",
            "# of ion       s       p       d       tot",
        ]
        table += [*head, "-" * 42]
        for i, value in enumerate(values):
            table.append(f"{i + 1:5d}      {0.01:6.3f}  {-0.02:6.3f}  {value:6.3f}  {value:6.3f}")
        table.append("-" * 42)
        table += [
            f"tot        {0.0:6.3f}  {0.0:6.3f}  {sum(values):6.3f}  {sum(values):6.3f}",
            "",
            " ",
        ]
    out += table
    stress = [par["stress_kb"] * v for v in (1, 2, 3, 4, 5, 6)]
    out += ["  in kB " + "".join(f"{v:12.5f}" for v in stress), ""]
    out += ["      direct lattice vectors                 reciprocal lattice vectors"]
    out += ["   " + "".join(f"{v:13.9f}" for v in row) + "     0.0  0.0  0.0" for row in cell]
    out += ["", " POSITION" + " " * 39 + "TOTAL-FORCE (eV/Angst)", " " + "-" * 83]
    for k, r in enumerate(positions):
        # A force that says which atom it belongs to.
        force = [sum(r) / 10 + moments[k][axis], -r[0], 0.1 * r[1]]
        out.append("".join(f"{v:13.5f}" for v in r) + "    " + "".join(f"{v:14.6f}" for v in force))
    out += [" " + "-" * 83, "", "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)"]
    out += ["  " + "-" * 51, f"  free  energy   TOTEN  = {energy:18.8f} eV", ""]
    out += [
        f"  energy  without entropy={energy + 0.02:18.8f}  energy(sigma->0) ={energy + 0.01:18.8f}"
    ]
    out += [*table, "", " General timing and accounting informations for this job:", ""]
    out += ["                  Total CPU time used (sec):      441.703"]
    Path("OUTCAR").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
