"""Small tables that the gateway keeps a copy of. Needs the grant `directory`."""

from __future__ import annotations

try:
    from wit_world.imports import host_directory as _host
except ImportError:
    from . import _fake as _host

__all__ = ["lookup"]


def lookup(directory: str, key: str) -> str | None:
    """The value of a key in a directory; None where either is unknown."""
    return _host.lookup(directory, key)
