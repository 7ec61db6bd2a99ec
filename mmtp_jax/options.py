"""Options declared once: frozen dataclasses from which everything that takes options is made.

A field made by `option` says its help, default, choices, bounds and older names. From it come the
checks and the documentation of the class (`options`), and in `mmtp_jax.cli.settings` the options of
a command, the keys of its TOML file, and the template. Imports nothing heavy: the command line does
so before it knows what it is asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mmtp_jax.io.fields import shown
from mmtp_jax.warn import warn

T = TypeVar("T")

MOST_ITEMS = 10_000
"""Numbers in a list of a settings file or on a command line."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The interval of a number, or of each one in a list."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    even: bool = False

    def check(self, value: Any, where: str) -> None:
        """Refuse a number, or a list or array with one, that is not inside; let others through.

        Raises:
            ValueError: in words; ``where`` says of what.
        """
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, (tuple, list)):
            for item in value:
                self.check(item, where)
        elif isinstance(value, (int, float)) and not self._has(value):
            raise ValueError(f"{where} must be {self}, got {shown(value, '{:.12g}'.format)}")

    def _has(self, value: float) -> bool:
        return (
            abs(value) < float("inf")
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
            and not (self.even and value % 2)
        )

    def __str__(self) -> str:
        """What a number must be."""
        words = ["even"] if self.even else []
        if self.above == 0.0 and self.most is None and self.below is None:
            words.append("positive")
        else:
            of = (("at least", self.least), ("above", self.above), ("at most", self.most),
                  ("below", self.below))  # fmt: skip
            words += [f"{name} {bound:g}" for name, bound in of if bound is not None]
        return " and ".join(words)


LEVEL = Bounds(least=2, most=32, even=True)
"""Of a potential; beyond it even the tables take hours."""
MAX_CUTOFF = 20.0
"""The largest R_cut in Angstrom, where an atom of a metal has three thousand neighbours."""
CUTOFF = Bounds(above=0.0, most=MAX_CUTOFF)
POSITIVE = Bounds(above=0.0)
NOT_NEGATIVE = Bounds(least=0.0)
COUNT = Bounds(least=1)
STEPS = Bounds(least=1, most=10**9)
TIMESTEP_FS = Bounds(above=0.0, most=1000.0)
TEMPERATURE_K = Bounds(least=0.0, most=1e6)
PRESSURE_GPA = Bounds(least=-1e5, most=1e5)
MULTIPLES = Bounds(least=1, most=100)
"""Of a cell along its vectors."""
SEED = Bounds(least=0, most=2**62)
ANY_SEED = Bounds(least=-(2**62), most=2**62)
"""Where no numpy generator is made of it."""


def option(
    help: str,
    default: Any = None,
    *,
    choices: tuple[str, ...] | None = None,
    bounds: Bounds | None = None,
    aliases: tuple[str, ...] = (),
    old: tuple[str, ...] = (),
    old_values: Mapping[str, str] = {},
    example: Any = None,
    flag: str | None = None,
    off: str | None = None,
    off_help: str | None = None,
    short: str | None = None,
    metavar: str | None = None,
    words: Mapping[str, str] = {},
    old_flags: Mapping[str, str] = {},
    required: bool = False,
    needed: bool = False,
    positional: str = "",
    each: bool = False,
    alone: str | None = None,
) -> Any:
    """A field of a class of options.

    Args:
        help: one sentence.
        default: None where it is not set.
        choices: allowed words.
        bounds: of a number, or of each in a list.
        aliases: other names that are taken without a word.
        old: names of earlier versions, which are taken with a warning.
        old_values: words of earlier versions, and what they are now.
        example: value that a template shows where the default is None.
        flag: option on the command line, by default the name without its unit.
        off: option that turns off what ``flag`` turns on, by default ``--no-...``.
        off_help: what it does, where that is the option worth showing.
        short: one-letter option.
        metavar: what ``--help`` calls the value.
        words: options without a value that stand for one, e.g. ``{"--swap": "swap"}``.
        old_flags: options of earlier versions, and what they are now.
        required: the template shows the key without a comment sign.
        needed: the command does not run without it.
        positional: an argument rather than an option, and what it is called where it is missing.
        each: of several items, each has the option before it; otherwise one option is before all.
        alone: the item where the option has none after it.
    """
    metadata = {name: value for name, value in locals().items() if name != "default"}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def dtype() -> Any:
    """A field: of what is evaluated; float64 of numpy, which is not imported before it is used."""
    return option("Of the evaluation: float64, float32 or 'mixed'.", _float64)


def _float64() -> type:
    import numpy as np

    return np.float64


def like(of: type, name: str, **changes: Any) -> Any:
    """A field like that of another class, but for ``changes``: the default, or what it says."""
    field = of.__dataclass_fields__[name]
    told = {"default": default_of(field), **field.metadata, **changes}
    return option(told.pop("help"), told.pop("default"), **told)


def default_of(field: dataclasses.Field) -> Any:
    """The default of a field."""
    return (
        field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    )


@typing.dataclass_transform(frozen_default=True, field_specifiers=(option, dataclasses.field))
def options(cls: type[T]) -> type[T]:
    """A frozen dataclass of `option` fields, checked when it is made, with their documentation.

    Older names of fields are taken as arguments, and can be read as attributes.

    Raises:
        ValueError: when it is made, for a word that is no choice, or a number out of its bounds.
    """
    cls._own_check = cls.__dict__.get("__post_init__")
    cls.__post_init__ = check
    made = dataclasses.dataclass(frozen=True)(cls)
    fields = [f for f in dataclasses.fields(made) if "help" in f.metadata]
    for field in fields:
        for old in field.metadata["old"]:
            setattr(made, old, _older(old, field.name))
    made.__init__ = _taking_older(made.__init__, made)
    if cls.__module__.startswith("mmtp_jax.cli."):
        # Nobody reads these, and each start of a command would pay for them.
        return made
    rows = [f"{f.name}: {_described(f)}" for f in fields]
    wrapped = [textwrap.fill(r, 96, initial_indent="    ", subsequent_indent=" " * 8) for r in rows]
    made.__doc__ = "\n".join([(cls.__doc__ or "").rstrip(), "", "Options:", *wrapped])
    return made


def by_name(cls: type[T]) -> type[T]:
    """Decorator of options whose order means nothing, as where there are several bases."""
    init = cls.__init__

    @functools.wraps(init)
    def inner(self: Any, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(f"{cls.__name__} takes options by their names only, got {args[0]!r}")
        init(self, **kwargs)

    cls.__init__ = inner
    return cls


def check(self: Any) -> None:
    """Refuse options that are no choice, out of their bounds, or refused by a ``__post_init__``.

    Raises:
        ValueError: it names the field.
    """
    for field in dataclasses.fields(self):
        data, value = field.metadata, getattr(self, field.name)
        if value is None or not data:
            continue
        if data["choices"] and value not in data["choices"]:
            raise ValueError(
                f"{field.name} must be one of {', '.join(data['choices'])}, got {value!r}"
            )
        if data["bounds"] is not None:
            data["bounds"].check(value, field.name)
    for cls in reversed(type(self).__mro__):
        if own := cls.__dict__.get("_own_check"):
            own(self)


def made(of: type[T], given: Mapping[str, Any], function: str) -> T:
    """Options from the keyword arguments of a function.

    Raises:
        TypeError: for an unknown one; it says what may have been meant.
    """
    known = {f.name for f in dataclasses.fields(of) if f.init}
    for name in given:
        if name not in known and name not in other_names(of):
            raise TypeError(f"{function}() got an unknown option {name!r}; {hint_at(name, known)}")
    return of(**given)


def takes(
    *classes: type, without: tuple[str, ...] = (), defaults: Mapping[str, Any] = {}
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorator: the signature of a function names the fields of options behind its ``**options``.

    For those who look at it, editors and ``help``; what is given is checked by `made` as before.

    Args:
        *classes: of options.
        without: fields that the function sets itself.
        defaults: that are others here.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = {p.name for p in parameters} | set(without)
        for cls in classes:
            for field in dataclasses.fields(cls):
                if field.init and field.name not in named:
                    named.add(field.name)
                    parameters.append(
                        inspect.Parameter(
                            field.name, inspect.Parameter.KEYWORD_ONLY, annotation=field.type,
                            default=defaults.get(field.name, default_of(field)),
                        )
                    )  # fmt: skip
        function.__signature__ = own.replace(parameters=parameters)
        return function

    return decorate


def given_to(of: type, settings: Any) -> dict[str, Any]:
    """Those fields of a section that are fields of ``of``, too."""
    return {f.name: getattr(settings, f.name) for f in dataclasses.fields(of)
            if hasattr(settings, f.name)}  # fmt: skip


def other_names(of: type) -> dict[str, tuple[str, bool]]:
    """Name now of each alias and each older name, and whether that is one to warn of."""
    return {
        name: (field.name, kind == "old")
        for field in dataclasses.fields(of)
        for kind in ("aliases", "old")
        for name in field.metadata.get(kind, ())
    }


def hint_at(word: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown word, or all that are known."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another one."""
    close = difflib.get_close_matches(word[:100], sorted(known), 1, cutoff=0.5)
    return close[0] if close else None


def renamed(**names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorator: keyword arguments of earlier versions, and what they are called now."""
    return lambda function: _taking(function, {old: (new, True) for old, new in names.items()})


def also(**names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorator: keyword arguments that files and options have other names for, and these."""
    return lambda function: _taking(function, {of: (name, False) for of, name in names.items()})


def _taking(function: Callable[..., T], names: dict[str, tuple[str, bool]]) -> Callable[..., T]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> T:
        return function(*args, **_translated(kwargs, names))

    return inner


def _translated(given: dict[str, Any], names: dict[str, tuple[str, bool]]) -> dict[str, Any]:
    for old in [name for name in given if name in names]:
        new, tell = names[old]
        if tell:
            warn_old(old, new)
        if new in given:
            raise TypeError(f"{old} and {new} are two names of one option; give {new} alone")
        given[new] = given.pop(old)
    return given


def warn_old(old: str, new: str) -> None:
    """Say that something has another name now."""
    warn(f"{old} is now called {new}; the old name goes with the next release", DeprecationWarning)


def _older(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_old(old, new)
        return getattr(self, new)

    return property(read, doc=f"Older name of ``{new}``.")


def _taking_older(init: Callable[..., None], of: type) -> Callable[..., None]:
    others = other_names(of)
    values = {f.name: f.metadata["old_values"] for f in dataclasses.fields(of)
              if f.metadata.get("old_values")}  # fmt: skip
    known = {f.name for f in dataclasses.fields(of) if f.init}

    @functools.wraps(init)
    def inner(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs = _translated(kwargs, others)
        for name, by_old in values.items():
            if (value := kwargs.get(name)) in by_old:
                warn_old(f"{name}={value!r}", f"{name}={by_old[value]!r}")
                kwargs[name] = by_old[value]
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{of.__name__} has no option {name!r}; {hint_at(name, known)}")
        init(self, *args, **kwargs)

    return inner


def _described(field: dataclasses.Field) -> str:
    data = field.metadata
    choices = f" One of {', '.join(data['choices'])}." if data["choices"] else ""
    bounds = f" {str(data['bounds']).capitalize()}." if data["bounds"] is not None else ""
    factory = getattr(field.default_factory, "__name__", "").lstrip("_")
    default = f"{factory}()" if factory else repr(field.default)
    return f"{data['help']}{choices}{bounds} (default {default})"
