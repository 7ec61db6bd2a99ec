"""Commands with several potentials: all with each of them, then mean and spread over them.

A command says what it does with one `Member`. With several it is done for each, with numbers in
the names of files (``fe.0.json``), and what was found goes together in the files of the names that
were asked for. A member that fails, or whose results do not count, is left out of them, which is
said; the exit status is 1 then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import NO_ACTIVE_SET
from mmtp_jax.cli.spreads import COUNTS, NO_FIT, Table, in_words, joined, joined_table

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
    """As its JSON file has it, behind the potential and the data."""
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
    potentials = [console.load_fitted(path, section.species) for path in paths]
    if len(potentials) > 1 and section.committee == "mean":
        name = f"mean of {' '.join(paths)}"
        return [Member(name, mmtp.mean_potential(potentials, paths))]
    if len(potentials) > 1:
        committee_of(potentials, paths)
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
    ended = _each(members, lambda k, member: one(member, of_each[k]) or 0)
    if ended.status == console.INTERRUPTED:
        return ended.status
    ended.leave_out([of.content for of in of_each])
    counted = ended.counted(members, f"{files.prefix}.json")
    if counted is None:
        return ended.status
    kept = [of_each[k] for k in counted]
    content = joined([of.content for of in kept])
    print(in_words(content, len(kept)))
    files.json({**ended.head(settings.potential), **content})
    for name in tables:
        table = joined_table([of.tables[name] for of in kept], kept[0].curves[name])
        if table is None:
            console.warn(
                f"{files.path_of(name)} is not written: the rows of the members differ; theirs "
                f"are in {kept[0].path_of(name)} and so on"
            )
        else:
            files.table(name, *table)
    paths = (f"{of.prefix}.pdf" for of in (files, *kept))
    figure = _figure([members[k] for k in counted], [of.drawn for of in kept], *paths)
    if figure is not None:
        files.figure(figure)
    print(f"wrote {', '.join(files.written)}")
    return ended.status


def run_simulation(
    settings: Any, check: Callable[[Any], None], one: Callable[[Any, Member], Found]
) -> int:
    """Run a simulation with each potential, and give mean and spread where there are several.

    Args:
        settings: with the sections ``input`` and ``output``.
        check: refuses files that settings name and that cannot be written.
        one: runs with the settings of one member, whose names of outputs have its number, writes
            its files but for JSON, and returns what it found.
    """
    _refuse_active_set(settings)
    check(settings)
    members = members_of(settings.input)
    if len(members) == 1:
        return _written(settings, members[0], one(settings, members[0])).status
    of_each, found = [_numbered(settings, k) for k in range(len(members))], [Found()] * len(members)
    for of in of_each:
        check(of)

    def run(k: int, member: Member) -> int:
        found[k] = _written(of_each[k], member, one(of_each[k], member))
        return found[k].status

    ended = _each(members, run)
    if ended.status == console.INTERRUPTED:
        return ended.status
    ended.leave_out([of.content for of in found])
    output = settings.output
    counted = ended.counted(members, *(getattr(output, n, None) for n in ("json", "output")))
    if counted is None:
        return ended.status
    kept = [found[k] for k in counted]
    content = joined([of.content for of in kept])
    print(in_words(content, len(kept)))
    if getattr(output, "json", None) is not None:
        head = ended.head(settings.input.potential)
        console.write_json(output.json, {**head, **_data(settings), **content})
        print(f"wrote {output.json}")
    tables = [of.table for of in kept if of.table is not None]
    if len(tables) == len(kept) and output.output is not None:
        table = joined_table(tables)
        if table is not None:
            from mmtp_jax.cli.property_output import write_csv

            write_csv(output.output, *table)
            print(f"wrote {output.output}")
    if getattr(output, "plot", None) is not None:
        from mmtp_jax.plot.style import save_figure

        plots = (output.plot, *(of_each[k].output.plot for k in counted))
        figure = _figure([members[k] for k in counted], [of.figure for of in kept], *plots)
        if figure is not None:
            save_figure(output.plot, figure)
            print(f"wrote {output.plot}")
    return ended.status


def _written(settings: Any, member: Member, found: Found) -> Found:
    """What was found, after its JSON file is written where one is asked for."""
    path = getattr(settings.output, "json", None)
    if path is not None and found.content:
        head = {"potential": member.name, **_data(settings)}
        console.write_json(path, {**head, **found.content})
        print(f"wrote {path}")
    return found


def _data(settings: Any) -> dict[str, Any]:
    return {"data": list(settings.input.start)}


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


@dataclass
class _Ended:
    """How the members of a committee ended."""

    status: int = 0
    """The largest exit status, or that of an interruption."""
    left_out: dict[int, str] = field(default_factory=dict)
    """Places of members that do not count, and why."""

    def leave_out(self, contents: Sequence[dict[str, Any]]) -> None:
        """Also those whose content as a whole does not count."""
        for k, content in enumerate(contents):
            why = content["message"] if content.get(COUNTS) is False else content.get(NO_FIT)
            if why:
                self.left_out[k] = why
                self.status = max(self.status, 1)

    def head(self, paths: Sequence[str]) -> dict[str, Any]:
        """Of JSON files: which potentials count, and why others do not."""
        return {
            "potentials": [path for k, path in enumerate(paths) if k not in self.left_out],
            "left_out": {paths[k]: why for k, why in self.left_out.items()},
        }

    def counted(self, members: Sequence[Member], *outputs: str | None) -> list[int] | None:
        """Places of the members that count; None, which is said, where fewer than two do."""
        for k, why in sorted(self.left_out.items()):
            console.warn(f"{members[k].name} is left out of mean and deviation: {why}")
        counted = [k for k in range(len(members)) if k not in self.left_out]
        if len(counted) > 1:
            return counted
        written = [path for path in outputs if path is not None]
        console.warn(
            f"there is no mean of {len(counted)} of {len(members)} potentials"
            + (f"; {' and '.join(written)} not written" if written else "")
        )
        return None


def _each(members: Sequence[Member], run: Callable[[int, Member], int]) -> _Ended:
    """Run all members; an interruption ends that at once.

    Raises:
        ValueError: if all of them fail.
    """
    ended, errors = _Ended(), []
    for k, member in enumerate(members):
        print(f"member {k + 1} of {len(members)}: {member.name}", flush=True)
        try:
            status = run(k, member)
        except ValueError as error:
            console.warn(f"{member.name}: {error}")
            ended.left_out[k], status = str(error), 1
            errors.append(error)
        ended.status = max(ended.status, status)
        if status == console.INTERRUPTED:
            break
        print()
    if len(errors) == len(members):
        raise ValueError(f"{members[0].name}: {errors[0]}") from errors[0]
    return ended


def _figure(
    members: Sequence[Member], figures: Sequence[Figure | None], name: str, *names: str
) -> Figure | None:
    """One figure of all, or None, which is told.

    Args:
        members: those that have something to show.
        figures: of the members.
        name: of the file.
        names: of those of the members.
    """
    from mmtp_jax.plot.committee import committee

    shown = [figure for figure in figures if figure is not None]
    try:
        if len(shown) < len(figures):
            raise ValueError("not all members have a figure")
        return committee(shown, [member.name for member in members])
    except ValueError as error:
        console.warn(f"{name} is not written: {error}; those of the members are {' '.join(names)}")
        return None
