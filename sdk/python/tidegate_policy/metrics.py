"""Counters of the policy's own. Needs the grant `metrics`, which is given unless taken away."""

from __future__ import annotations

try:
    from wit_world.imports import host_metrics as _host
except ImportError:
    from . import _fake as _host

__all__ = ["count"]


def count(name: str, amount: int = 1) -> None:
    """Adds to a counter: `[a-z0-9_]`, at most 16 of them."""
    _host.add(name, amount)
