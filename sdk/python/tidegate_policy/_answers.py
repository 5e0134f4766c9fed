"""What hooks are asked, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Union

Code = Literal["no-match", "bad-input", "not-ready", "other"]


class PolicyError(Exception):
    """A policy says no. Raised from `configure` it refuses the version, from a hook the request.

    `detail` is for the operator's log, never for clients.
    """

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail


class Request:
    """One question to a hook."""

    __slots__ = ("_names", "inputs", "op")

    def __init__(self, op: Literal["read", "write"], inputs: Sequence[str | None], names: Sequence[str]) -> None:
        self.op = op
        #: The declared inputs, in the order of their declaration; None where the request has no such thing.
        self.inputs = inputs
        self._names = names

    def input(self, name: str) -> str | None:
        """A declared input by its name."""
        try:
            return self.inputs[self._names.index(name)]
        except ValueError:
            raise KeyError(f"the input `{name}` is not declared") from None


@dataclass(frozen=True)
class Change:
    """One changed row. `old` is None for `insert`, `new` for `delete`, both for `truncate`."""

    collection: str
    #: As it stands in a path: `42`, `42,7`.
    key: str
    kind: Literal["insert", "update", "delete", "truncate"]
    #: The declared columns before the change.
    old: Mapping[str, str | None] | None
    #: The declared columns after it.
    new: Mapping[str, str | None] | None


@dataclass(frozen=True)
class Classification:
    """Whose request it is: names of the operator's configuration. Without a class: the tenant's own."""

    tenant: str
    class_name: str | None = None


@dataclass(frozen=True)
class Hash:
    """The shard that wins this hash among the tenant's. `Hash(hash_key(shard_key))` is the built-in routing."""

    value: int


@dataclass(frozen=True)
class Shards:
    """These shards, by name or number."""

    shards: Sequence[str | int]


@dataclass(frozen=True)
class AllOfTenant:
    """Every shard of the tenant."""


ALL = AllOfTenant()
Targets = Union[Hash, Shards, AllOfTenant]


@dataclass(frozen=True)
class Decision:
    """How the answer of a read is kept. It narrows what the collection is configured to."""

    #: `bypass`: read from the shard, keep nothing.
    mode: Literal["as-configured", "bypass"] = "as-configured"
    #: Longest time to serve it; None: the collection's.
    ttl_ms: int | None = None
    #: How long after that it may be served while a new one is fetched.
    stale_ms: int = 0
    #: Declared inputs that the answer differs by.
    vary: Sequence[str] = ()
    #: Names by which the `invalidate` hook purges it.
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Action:
    """What to purge: made by `purge`, `soft_purge` and `refresh`."""

    verb: Literal["purge", "soft-purge", "refresh"]
    #: The kind of target, and what it names.
    target: tuple[str, str | tuple[str, str]]


def _action(verb: str, targets: dict[str, object]) -> Action:
    given = [(kind, value) for kind, value in targets.items() if value is not None]
    if len(given) != 1:
        raise TypeError(f"{verb} takes one of: {', '.join(targets)}")
    return Action(verb, given[0])  # type: ignore[arg-type]


def purge(
    *,
    tag: str | None = None,
    row: tuple[str, str] | None = None,
    query: tuple[str, str] | None = None,
    lists: str | None = None,
    collection: str | None = None,
) -> Action:
    """It must not be served again: a tag; a row (collection, key); a list query (collection, query string); all
    list queries of a collection; or all of a collection."""
    return _action("purge", {"tag": tag, "row": row, "query": query, "lists": lists, "collection": collection})


def soft_purge(
    *,
    tag: str | None = None,
    row: tuple[str, str] | None = None,
    query: tuple[str, str] | None = None,
    lists: str | None = None,
    collection: str | None = None,
) -> Action:
    """It may be served while a new one is fetched, where the collection serves outdated answers at all."""
    return _action("soft-purge", {"tag": tag, "row": row, "query": query, "lists": lists, "collection": collection})


def refresh(
    *,
    tag: str | None = None,
    row: tuple[str, str] | None = None,
    query: tuple[str, str] | None = None,
    lists: str | None = None,
    collection: str | None = None,
) -> Action:
    """As `purge`; the gateway may fetch it again before somebody asks."""
    return _action("refresh", {"tag": tag, "row": row, "query": query, "lists": lists, "collection": collection})
