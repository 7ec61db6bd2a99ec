"""The potential in LAMMPS, over any number of MPI ranks; `attach` is what a driver calls."""

from typing import Any

__all__ = ["BridgeOptions", "LammpsBridge", "attach", "share_gpus"]


def __getattr__(name: str) -> Any:
    # When it is used: the command line reads options from here, and must not wait for JAX.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmtp_jax.interfaces.lammps import bridge

    return getattr(bridge, name)
