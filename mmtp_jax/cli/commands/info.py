"""``mmtp info``: what a file holds, and how it was made."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import add_options, given_by
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import LabelReading
from mmtp_jax.io.shipped import file_to_read

_EPILOG = """\
examples:
  mmtp info pot.mtp                   # form, intervals, and the data and settings of its fit
  mmtp info train.extxyz              # labels, and how they were made
  mmtp info active.npz --json

Of a potential that this program has fitted: number and digest of the data, how their labels were
made, settings and errors of the fit, and the version of the program.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "info",
        help="what a file holds, and how it was made",
        description="Describe a potential, an active set, a checkpoint or configurations.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="potential, .npz or configurations")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser, LabelReading)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if console.is_potential(args.file):
        text, content = _potential(args)
    elif _is_archive(Path(args.file)):
        text, content = _store(Path(args.file))
    else:
        if not Path(args.file).exists():
            file_to_read(args.file)
        text, content = _configurations(args)
    print(json.dumps(content, indent=2) if args.json else text)


def _potential(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    import mmtp_jax as mmtp
    from mmtp_jax.cli.fit_output import potential_content
    from mmtp_jax.fitting.record import parameter_digest

    potential = mmtp.load(
        args.file, species=console.check_species(given_by(args, LabelReading).species)
    )
    content = {"file": args.file, "kind": "potential", **potential_content(potential)}
    lines = ["potential:", console.describe(potential)]
    if potential.tag:
        lines.append(f"  tag: {potential.tag}")
        content["tag"] = potential.tag
    record = potential.record
    if record is None:
        lines.append("how it was fitted is not recorded")
    else:
        changed = record.get("parameters") != parameter_digest(potential)
        content |= {"record": record, "changed_after_fit": changed}
        if changed:
            lines.append(
                "its coefficients are not those of the fit: they were changed, or written on "
                "other intervals"
            )
        lines += ["fitted:", *_lines(record)]
    return "\n".join(lines), content


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return path.suffix == ".npz" or file.read(4) == b"PK\3\4"


def _store(path: Path) -> tuple[str, dict[str, Any]]:
    from mmtp_jax.io.store import read_store

    header, arrays = read_store(
        path, "not a readable file of this program", "make it again", needs_header=False,
        infinite=_Everything(),
    )  # fmt: skip
    shapes = {name: f"{a.dtype} {'x'.join(map(str, a.shape)) or '1'}" for name, a in arrays.items()}
    kind = str(header.pop("format", "arrays"))
    content = {"file": str(path), "kind": kind, "header": header, "arrays": shapes}
    return "\n".join([f"{kind}:", *_lines(header), "arrays:", *_lines(shapes)]), content


class _Everything:
    """A container of all names: to look at a file is no use of its numbers."""

    def __contains__(self, name: object) -> bool:
        return True


def _configurations(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from mmtp_jax.fitting.record import data_digest
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.io.labels import count_labels, other_columns
    from mmtp_jax.structures.making import makings_of

    reading = given_by(args, LabelReading)
    atoms_list = console.read_data(args.file, console.check_species(reading.species), reading)
    species = tuple(sorted({symbol for atoms in atoms_list for symbol in atoms.symbols}))
    structures = to_structures(atoms_list, species, vectors=True)
    counts, makings = count_labels(structures, atoms_list), makings_of(structures, species)
    found = [*makings.differences, *makings.mesh_differences]
    digest = data_digest(structures, species)
    vectors, others = sum(structure.vectors for structure in structures), other_columns(atoms_list)
    content = {
        "file": args.file, "kind": "configurations", "species": list(species),
        "configurations": counts.n_configurations, "atoms": counts.n_atoms, "sha256": digest,
        "labels": counts.configurations, "vectors": vectors, "others": others,
        "making": [
            {"of": name, "configurations": int((makings.of == k).sum()), "text": text}
            for k, (name, text) in enumerate(zip(makings.names, makings.texts, strict=True))
        ],
        "kmesh": makings.meshes, "differences": found,
    }  # fmt: skip
    lines = [f"configurations of {' '.join(species)}, digest {digest}:", str(counts)]
    if vectors:
        canted = sum(structure.canted for structure in structures)
        lines.append(f"moments are vectors in {vectors}, canted in {canted}")
    if others:
        names = ", ".join(f"{name} ({count})" for name, count in others.items())
        lines.append(f"columns that are not read: {names}")
    lines.append(str(makings) or "how the labels were made is not recorded")
    lines += [f"different making: {what}" for what in found]
    return "\n".join(lines), content


def _lines(content: Any, indent: int = 2) -> list[str]:
    """Nested content as indented lines; what is empty is left out."""
    pad, lines = " " * indent, []
    for name, value in content.items():
        if value in (None, [], {}, ""):
            continue
        title = str(name).replace("_", " ")
        if isinstance(value, dict):
            if all(not isinstance(v, (dict, list)) for v in value.values()):
                each = ", ".join(f"{k} {_word(v)}" for k, v in value.items() if v is not None)
                lines.append(f"{pad}{title}: {each}")
            else:
                lines += [f"{pad}{title}:", *_lines(value, indent + 2)]
        elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
            lines.append(f"{pad}{title}:")
            for one in value:
                words = one.items() if isinstance(one, dict) else [("", one)]
                each = ", ".join(f"{k} {_word(v)}".strip() for k, v in words if v not in (None, ""))
                lines.append(f"{pad}  {each}")
        else:
            lines.append(f"{pad}{title}: {_word(value)}")
    return lines


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(_word, value)) if isinstance(value, list) else str(value)
