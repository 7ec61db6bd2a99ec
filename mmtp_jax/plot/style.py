"""How figures look, and how they are written.

They are drawn on plain matplotlib figures, so that nothing global, no window and no display is
involved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mmtp_jax.io.atomic import atomic_write

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito: told apart with any colour vision."""

MARKERS = ("o", "^", "s")

MU_B = r"$\mu_\mathrm{B}$"
K_B = r"$k_\mathrm{B}$"
VOLUME = r"Volume (Å$^3$/atom)"

SMALL_WORDS = {"fontsize": 8.5, "color": "0.35"}
"""Of what explains a figure, such as what its bars are."""

EACH = "each member"
"""`gid` of lines that a committee has no mean of, such as what dynamics met over time."""


def new_figure(width: float, height: float, **pads: float) -> Figure:
    """An empty figure of so many inches; ``h_pad`` and ``w_pad`` are between its panels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(**pads)
    return figure


def plain(*panels: Any, grid: bool = False, labelsize: float = 9) -> None:
    """Axes without a box; with ``grid`` faint lines behind what is drawn."""
    for axes in panels:
        axes.tick_params(which="both", labelsize=labelsize)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if grid:
            axes.grid(True, which="major", color="0.9", linewidth=0.6)
            axes.set_axisbelow(True)


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure, whole or not at all; the suffix says the format."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=160)
