"""A gateway for unit tests: what the generated bindings offer, answered from plain values. Its hash is not the
gateway's; `tidegate plugin test` runs a policy with the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class World:
    """What the pretended gateway knows, and what it was told."""

    def __init__(
        self,
        shards: Sequence[str] = ("a", "b"),
        regions: Mapping[str, str] | None = None,
        directories: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.shards = list(shards)
        self.regions = regions or {}
        self.directories = directories or {}
        self.lines: list[tuple[str, str]] = []
        self.counters: dict[str, int] = {}


world = World()


def shard_count() -> int:
    return len(world.shards)


def shard_named(name: str) -> int | None:
    return world.shards.index(name) if name in world.shards else None


def shard_for_hash(hash: int) -> int:
    return hash % len(world.shards)


def shards_in_region(region: str) -> list[int]:
    return [number for number, name in enumerate(world.shards) if world.regions.get(name) == region]


def hash_key(text: str) -> int:
    """FNV-1a."""
    hash = 0xCBF29CE484222325
    for byte in text.encode():
        hash = (hash ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hash


def lookup(directory: str, key: str) -> str | None:
    return world.directories.get(directory, {}).get(key)


def log(level: str, message: str) -> None:
    world.lines.append((level, message))


def add(name: str, amount: int) -> None:
    world.counters[name] = world.counters.get(name, 0) + amount
