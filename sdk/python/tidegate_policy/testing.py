"""Asks a policy in unit tests, with a pretended gateway around it. Its hash is not the gateway's: `tidegate plugin
test` has the real one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import _fake
from ._answers import Action, Change, Classification, Decision, Request, Targets
from ._export import Exported
from ._hooks import Policy


class Loaded:
    """A loaded policy: ask it by hook. A refusal is a PolicyError."""

    def __init__(self, exported: Exported, world: _fake.World) -> None:
        self._exported = exported
        #: Lines it logged, as (level, text).
        self.lines = world.lines
        #: What it counted.
        self.counters = world.counters

    def classify(self, inputs: Mapping[str, str] = {}, op: str = "read") -> Classification:
        """Whose request is it?"""
        return self._ask("classify", "classify", inputs, op)

    def route(self, inputs: Mapping[str, str] = {}, op: str = "read") -> Targets:
        """Where does it go?"""
        return self._ask("route", "route", inputs, op)

    def decide(self, inputs: Mapping[str, str] = {}) -> Decision:
        """How is the answer kept?"""
        return self._ask("cache-policy", "decide", inputs, "read")

    def invalidate(self, *changes: Change) -> Sequence[Action]:
        """What is outdated?"""
        policy = self._exported.hooks["invalidate"].policy
        return policy.invalidate([_declared(change, policy.columns) for change in changes])

    def _ask(self, hook: str, method: str, inputs: Mapping[str, str], op: Any) -> Any:
        reads = self._exported.hooks[hook]
        unknown = [name for name in inputs if name not in reads.inputs]
        if unknown:
            raise KeyError(f"{hook} does not declare the input `{unknown[0]}`")
        given = [inputs.get(name) for name in reads.inputs]
        return getattr(reads.policy, method)(Request(op, given, reads.inputs))


def _declared(change: Change, columns: Sequence[str]) -> Change:
    def only(values: Mapping[str, str | None] | None) -> dict[str, str | None] | None:
        return None if values is None else {name: values.get(name) for name in columns}

    return Change(change.collection, change.key, change.kind, only(change.old), only(change.new))


def load(
    *classes: type[Policy],
    config: Mapping[str, Any] | None = None,
    shards: Sequence[str] = ("a", "b"),
    regions: Mapping[str, str] | None = None,
    directories: Mapping[str, Mapping[str, str]] | None = None,
) -> Loaded:
    """Loads a policy as the gateway does: describe, configure, self-test. Raises where it is refused."""
    _fake.world = _fake.World(shards, regions, directories)
    exported = Exported(classes)
    exported.schema()
    exported.configure(json.dumps(config or {}))
    exported.self_test()
    return Loaded(exported, _fake.world)
