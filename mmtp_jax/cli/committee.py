"""Commands with several potentials: all with each of them, then mean and spread over them.

A command says what it does with one `Member`. With several it is done for each, with numbers in
the names of files (``fe.0.json``), and what was found goes together in the files of the names that
were asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import NO_ACTIVE_SET
from mmtp_jax.cli.spreads import Table, in_words, joined, joined_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmtp_jax.potential.potential import Potential


@dataclass(frozen=True)
class Member:
    """One of the potentials of a command, or their mean."""

    name: str
    """Its file, or files."""
    potential: Potential


@dataclass(frozen=True)
class Found:
    """What a simulation found with one potential."""

    status: int = 0
    content: dict[str, Any] = field(default_factory=dict)
    """As its JSON file has it."""
    table: Table | None = None
    """As its CSV file has it."""
    figure: Figure | None = None


def members_of(section: Any) -> list[Member]:
    """The potentials of a section of settings, or their mean where that is asked for.

    Args:
        section: with ``potential``, ``committee`` and ``species``.

    Raises:
        ValueError: if a committee has members of different species, or no mean.
    """
    import mmtp_jax as mmtp
    from mmtp_jax.potential.committee import committee_of

    paths = section.potential
    potentials = [mmtp.load(path, species=section.species) for path in paths]
    if len(potentials) > 1:
        committee_of(potentials, paths)
        if section.committee == "mean":
            name = f"mean of {' '.join(paths)}"
            return [Member(name, mmtp.mean_potential(potentials, paths))]
    return [Member(path, potential) for path, potential in zip(paths, potentials, strict=True)]


def run_property(
    settings: Any,
    tables: Sequence[str],
    inputs: Sequence[str],
    one: Callable[[Member, PropertyFiles], int | None],
) -> int:
    """Calculate a property with each potential, and its mean and spread where there are several.

    Args:
        settings: with a ``potential``, ``committee``, ``species`` and ``output``.
        tables: names of the tables, see `PropertyFiles`.
        inputs: files that must not be written over.
        one: calculates with one member, writes its files, and returns the exit status.
    """
    files = PropertyFiles(settings.output, tables, inputs)
    members = members_of(settings)
    if len(members) == 1:
        return one(members[0], files) or 0
    of_each = [PropertyFiles(files.numbered(k), tables, inputs) for k in range(len(members))]
    status = _each(members, lambda k, member: one(member, of_each[k]) or 0)
    if status == console.INTERRUPTED:
        return status
    content = joined([of.content for of in of_each])
    print(in_words(content, len(members)))
    files.json({"potentials": list(settings.potential), **content})
    for name in tables:
        table = joined_table([of.tables[name] for of in of_each])
        if table is None:
            console.warn(
                f"{files.path_of(name)} is not written: the rows of the members differ; theirs "
                f"are in {of_each[0].path_of(name)} and so on"
            )
        else:
            files.table(name, *table)
    figure = _figure(files.prefix, [of.drawn for of in of_each])
    if figure is not None:
        files.figure(figure)
    print(f"wrote {', '.join(files.written)}")
    return status


def run_simulation(
    settings: Any, check: Callable[[Any], None], one: Callable[[Any, Member], Found]
) -> int:
    """Run a simulation with each potential, and give mean and spread where there are several.

    Args:
        settings: with the sections ``input`` and ``output``.
        check: refuses files that settings name and that cannot be written.
        one: runs with the settings of one member, whose names of outputs have its number, writes
            its files, and returns what it found.
    """
    _refuse_active_set(settings)
    check(settings)
    members = members_of(settings.input)
    if len(members) == 1:
        return one(settings, members[0]).status
    of_each, found = [_numbered(settings, k) for k in range(len(members))], []
    for of in of_each:
        check(of)

    def run(k: int, member: Member) -> int:
        found.append(one(of_each[k], member))
        return found[-1].status

    status = _each(members, run)
    if status == console.INTERRUPTED:
        return status
    content, output = joined([of.content for of in found]), settings.output
    print(in_words(content, len(members)))
    if getattr(output, "json", None) is not None:
        import mmtp_jax as mmtp

        head = {"mmtp_jax": mmtp.__version__, "potentials": list(settings.input.potential)}
        console.write_json(output.json, {**content, **head})
        print(f"wrote {output.json}")
    tables = [of.table for of in found if of.table is not None]
    if len(tables) == len(found) and output.output is not None:
        table = joined_table(tables)
        if table is not None:
            from mmtp_jax.cli.property_output import write_csv

            write_csv(output.output, *table)
            print(f"wrote {output.output}")
    if getattr(output, "plot", None) is not None:
        from mmtp_jax.plot.style import save_figure

        figure = _figure(output.plot, [of.figure for of in found])
        if figure is not None:
            save_figure(output.plot, figure)
            print(f"wrote {output.plot}")
    return status


def _numbered(settings: Any, k: int) -> Any:
    """The settings with the number of a member in the names of all outputs."""
    from mmtp_jax.fitting.series import numbered

    output = settings.output
    names = {
        of.name: str(numbered(getattr(output, of.name), k))
        for of in dataclasses.fields(output)
        if of.metadata["metavar"] == "FILE" and getattr(output, of.name) is not None
    }
    return dataclasses.replace(settings, output=dataclasses.replace(output, **names))


def _refuse_active_set(settings: Any) -> None:
    preselection, n = getattr(settings, "preselection", None), len(settings.input.potential)
    given = getattr(preselection, "active_set", None)
    if n > 1 and given not in (None, NO_ACTIVE_SET):
        raise ValueError(
            f"--active-set belongs to one potential, got {n}; give one potential, or no active set"
        )


def _each(members: Sequence[Member], run: Callable[[int, Member], int]) -> int:
    """Run all members; the largest exit status, that of an interruption at once."""
    status = 0
    for k, member in enumerate(members):
        print(f"member {k + 1} of {len(members)}: {member.name}", flush=True)
        try:
            status = max(status, run(k, member))
        except ValueError as error:
            raise ValueError(f"{member.name}: {error}") from error
        if status == console.INTERRUPTED:
            break
        print()
    return status


def _figure(name: str, figures: Sequence[Figure | None]) -> Figure | None:
    """One figure of all, or None, which is told."""
    from mmtp_jax.plot.committee import committee

    shown = [figure for figure in figures if figure is not None]
    try:
        if len(shown) < len(figures):
            raise ValueError("not all members have one")
        return committee(shown)
    except ValueError as error:
        console.warn(f"there is no common figure {name}: {error}; see those of the members")
        return None
