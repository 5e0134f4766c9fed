"""The shards. Needs the grant `topology`, which is given unless taken away."""

from __future__ import annotations

try:
    from wit_world.imports import host_topology as _host
except ImportError:
    from . import _fake as _host

__all__ = ["hash_key", "shard_count", "shard_for_hash", "shard_named", "shards_in_region"]


def shard_count() -> int:
    """How many shards there are."""
    return _host.shard_count()


def shard_named(name: str) -> int | None:
    """The number of the shard of this name."""
    return _host.shard_named(name)


def shard_for_hash(hash: int) -> int:
    """The shard, of all, that wins this hash."""
    return _host.shard_for_hash(hash)


def shards_in_region(region: str) -> list[int]:
    """The numbers of the shards in a region."""
    return _host.shards_in_region(region)


def hash_key(text: str) -> int:
    """The hash that the built-in routing takes of a shard key."""
    return _host.hash_key(text)
