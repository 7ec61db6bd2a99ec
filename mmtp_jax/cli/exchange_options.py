"""What ``mmtp exchange`` and ``mmtp magnons`` share: settings, and the head of JSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.committee import Member
from mmtp_jax.cli.relax_settings import Relaxation
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import Crystal
from mmtp_jax.io.label_keys import checked_keys
from mmtp_jax.options import like, option, options
from mmtp_jax.properties.options import ExchangeOptions

if TYPE_CHECKING:
    from mmtp_jax.properties.exchange_results import Exchange


@options
class SpinSettings(Crystal):
    """Potential and crystal in a collinear state."""

    min_moment: float = like(ExchangeOptions, "min_moment")
    moments: str = like(ExchangeOptions, "moments")
    cell: tuple[str, ...] = like(Relaxation, "cell", help="What of the cell relaxes: as for relax.")
    relax: bool = option(
        "The crystal is relaxed first.", True, off_help="Only equilibrate the moments first."
    )


def check(settings: SpinSettings, given: Values) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ValueError: in words.
    """
    from mmtp_jax.simulation.relaxation.cell import basis_of

    del given
    checked_keys(settings.keys)
    basis_of(" ".join(settings.cell))
    if not settings.relax and settings.cell != ("full",):
        raise ValueError("--cell is of a relaxation, and goes not with --no-relax")


def found_by(settings: SpinSettings, member: Member, verb: Any) -> Any:
    """What a verb, `mmtp_jax.exchange` or `mmtp_jax.magnons`, finds with one potential."""
    atoms = read_start(settings, member.potential, member.name)[0]
    cell = {"cell": " ".join(settings.cell)} if settings.relax else {}
    return verb(
        member.potential, atoms, relax=settings.relax, min_moment=settings.min_moment,
        moments=settings.moments, **cell,
    )  # fmt: skip


def head(settings: SpinSettings, member: Member, found: Exchange) -> dict[str, Any]:
    """The first entries of a JSON file."""
    from mmtp_jax.properties.exchange_results import BY_FORM, CONVENTION
    from mmtp_jax.properties.spin_model import G_FACTOR

    return {
        "potential": member.name,
        "data": settings.data,
        "convention": CONVENTION,
        "g_factor": G_FACTOR,
        "moments": settings.moments,
        "primitive_cell": found.model.cell.tolist(),
        "positions": found.structure.positions.tolist(),
        "symbols": list(found.symbols),
        "magmoms": found.structure.magmoms.tolist(),
        "precessing": found.spins.tolist(),
        "energy_eV_per_atom": found.energy,
        "volume_A3_per_atom": found.volume,
        "range_A": found.range,
        # Of members of a committee it is the same: none.
        "turned_together_meV": round(1e3 * found.sum_rule, 9),
        "mean_field_temperature_K": found.mean_field_K,
        "extrapolated": BY_FORM if found.by_form else "",
        "note": found.note,
    }
