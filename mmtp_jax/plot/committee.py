"""Figures of a committee: those of its members as one, with bands of two standard deviations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from mmtp_jax.curves import on_one_grid
from mmtp_jax.plot.style import COLOURS, EACH, SMALL_WORDS

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SHADE = {"alpha": 0.25, "linewidth": 0}


def committee(figures: Sequence[Figure], names: Sequence[str] = ()) -> Figure:
    """The first figure with means over all: bands around curves, and bars at points and bars.

    Bands and bars are two standard deviations over the members, which a line below says. Standard
    errors that a figure of one member has are left out. Numbers in words become ``mean ± two
    sigma``, and words without a common form nothing.

    Args:
        figures: two or more of one kind, with the same panels, curves and points; they are changed.

    Raises:
        ValueError: if figures differ in what they show.
    """
    if len({len(figure.axes) for figure in figures}) > 1:
        raise ValueError("the members have different curves or panels")
    first, n = figures[0], len(figures)
    own = [line for axes in first.axes for line in axes.lines if line.get_gid() == EACH]
    for panels in zip(*(figure.axes for figure in figures), strict=True):
        _join(panels)
    if first.get_suptitle():
        first.suptitle(_joined_words([figure.get_suptitle() for figure in figures]), fontsize=10.5)
    if not own:
        words = rf"mean over {n} potentials; bands and bars: $2\sigma$ over them"
    else:
        words = f"a line for each of {n} potentials"
        if not first.legends and len(names) == n <= len(COLOURS):
            handles = [own[0], *own[0].axes.lines[1:n]]
            first.legend(
                handles, names, loc="outside upper center", ncols=min(n, 4), frameon=False,
                fontsize=9,
            )  # fmt: skip
    first.supxlabel(words, **SMALL_WORDS)
    return first


def two_sigma(values: Any) -> Any:
    """Twice the standard deviation over the first axis."""
    return 2 * np.std(values, axis=0, ddof=1)


def _join(panels: Sequence[Any]) -> None:
    for axes in panels:
        _drop_errors(axes)
    first = panels[0]
    counts = [(len(a.lines), [len(bars) for bars in _bars(a)], len(a.texts)) for a in panels]
    if any(count != counts[0] for count in counts):
        raise ValueError("the members have different curves or panels")
    for lines in zip(*(list(axes.lines) for axes in panels), strict=True):
        _join_lines(first, lines)
    for containers in zip(*map(_bars, panels), strict=True):
        heights = np.array([[bar.get_height() for bar in bars] for bars in containers])
        for bar, height in zip(containers[0], heights.mean(axis=0), strict=True):
            bar.set_height(height)
        middle = [bar.get_x() + bar.get_width() / 2 for bar in containers[0]]
        first.errorbar(
            middle, heights.mean(axis=0), two_sigma(heights), linestyle="none", color="0.2",
            capsize=2.0, linewidth=1.0,
        )  # fmt: skip
    if _bars(first):
        # Numbers of bars have no place beside the bars of their spread.
        for text in list(first.texts):
            text.remove()
    for texts in [] if _bars(first) else zip(*(axes.texts for axes in panels), strict=True):
        texts[0].set_text(_joined_words([text.get_text() for text in texts]))
        if hasattr(texts[0], "xy") and not callable(texts[0].xycoords):
            texts[0].xy = tuple(np.mean([text.xy for text in texts], axis=0))
    first.title.set_text(_joined_words([axes.get_title() for axes in panels]))
    legends = [axes.get_legend() for axes in panels]
    if None not in legends:
        for words in zip(*(legend.get_texts() for legend in legends), strict=True):
            words[0].set_text(_joined_words([word.get_text() for word in words]))
    for which in "xy":
        limits = [getattr(axes, f"get_{which}lim")() for axes in panels]
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        drawn = getattr(first.dataLim, f"interval{which}")
        # Room for the bands, but none below what begins at zero or has a logarithm.
        room, round_off = 0.03 * (high - low), 1e-9 * (high - low)
        if drawn[1] > high + round_off:
            high = drawn[1] + room
        if drawn[0] < low - round_off and (low < 0.0 or drawn[0] > 0.0):
            low = drawn[0] - room
        getattr(first, f"set_{which}lim")(low, high)


def _bars(axes: Any) -> list[BarContainer]:
    return [of for of in axes.containers if isinstance(of, BarContainer)]


def _drop_errors(axes: Any) -> None:
    """Take away bars and bands of standard errors, which are those of one member."""
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            _, caps, bars = container.lines
            for artist in (*caps, *bars):
                artist.remove()
    for band in [of for of in axes.collections if isinstance(of, PolyCollection)]:
        band.remove()


def _join_lines(axes: Any, lines: Sequence[Any]) -> None:
    first, colour = lines[0], lines[0].get_color()
    xs = [np.asarray(line.get_xdata(), float) for line in lines]
    ys = [np.asarray(line.get_ydata(), float) for line in lines]
    if first.get_gid() == EACH:
        _overlay(axes, lines)
        return
    points = first.get_linestyle() in ("None", "", " ")
    if not points and first.get_transform() == axes.transData:
        xs, ys = _on_one_grid(xs, ys)
    if len({len(x) for x in xs}) > 1:
        raise ValueError("the members have different points")
    x, y, dx, dy = np.mean(xs, axis=0), np.mean(ys, axis=0), _spread(xs), _spread(ys)
    first.set_data(x, y)
    if first.get_transform() != axes.transData:
        # A line across the panel.
        for spread, at, span in ((dx, x, axes.axvspan), (dy, y, axes.axhspan)):
            if spread is not None:
                span(at[0] - spread[0], at[0] + spread[0], color=colour, zorder=0, **_SHADE)
    elif points:
        bars = {name: d for name, d in (("xerr", dx), ("yerr", dy)) if d is not None}
        if bars:
            axes.errorbar(x, y, linestyle="none", color=colour, capsize=2.5, linewidth=1.0, **bars)
    elif dy is not None:
        axes.fill_between(x, y - dy, y + dy, color=colour, **_SHADE)
    elif dx is not None:
        axes.fill_betweenx(y, x - dx, x + dx, color=colour, **_SHADE)


def _overlay(axes: Any, lines: Sequence[Any]) -> None:
    """Lines of all members: each in a colour of its own where a panel has one line of each."""
    first = lines[0]
    alone = sum(line.get_gid() == EACH for line in axes.lines) == 1
    for k, line in enumerate(lines[1:], 1):
        axes.plot(
            *line.get_data(), color=COLOURS[k % len(COLOURS)] if alone else first.get_color(),
            linewidth=first.get_linewidth(), marker=first.get_marker(), alpha=0.7,
            markersize=first.get_markersize(),
        )  # fmt: skip


def _spread(values: Sequence[np.ndarray]) -> np.ndarray | None:
    """Twice the standard deviation, or None where members differ by no more than round-off."""
    spread, size = two_sigma(values), np.nanmax(np.abs(values), initial=0.0)
    return spread if np.any(spread > 1e-9 * size) else None


def _on_one_grid(
    xs: list[np.ndarray], ys: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Curves at the same arguments, which are on the y axis where they stand upright."""
    if all(len(y) == len(ys[0]) and np.allclose(y, ys[0]) for y in ys):
        return xs, ys
    if _rise(xs):
        grid, ys = on_one_grid(xs, ys)
        return [grid] * len(xs), ys
    if _rise(ys):
        grid, xs = on_one_grid(ys, xs)
        return xs, [grid] * len(ys)
    return xs, ys


def _rise(values: list[np.ndarray]) -> bool:
    return all(len(v) > 1 and np.all(np.diff(v) > 0) for v in values)


def _joined_words(texts: Sequence[str]) -> str:
    """Words with ``mean ± two sigma`` where they have different numbers; else the first."""
    if all(text == texts[0] for text in texts):
        return texts[0]
    if len({_NUMBER.sub("#", text) for text in texts}) > 1:
        return ""
    columns = iter(zip(*(_NUMBER.findall(text) for text in texts), strict=True))

    def joined(match: re.Match[str]) -> str:
        words = next(columns)
        if all(word == words[0] for word in words):
            return match[0]
        digits = len(match[0].partition(".")[2])
        numbers = [float(word) for word in words]
        return f"{np.mean(numbers):.{digits}f} ± {two_sigma(numbers):.{digits}f}"

    return _NUMBER.sub(joined, texts[0])
