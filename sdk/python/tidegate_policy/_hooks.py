"""The classes that policies derive from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ._answers import Action, Change, Classification, Decision, Request, Targets


class Policy:
    """What every policy has. Derive from the classes of its hooks."""

    #: Shown to operators; by default as in pyproject.toml.
    name: ClassVar[str | None] = None
    #: Shown to operators; by default as in pyproject.toml.
    version: ClassVar[str | None] = None
    #: A JSON Schema (draft 2020-12) of the configuration: the gateway reports mistakes by their place.
    config_schema: ClassVar[Mapping[str, Any] | None] = None

    def configure(self, config: dict[str, Any]) -> None:
        """Takes the operator's `config`, parsed; empty where there is none. An exception refuses the version.

        A policy without this method takes no configuration.
        """

    def self_test(self) -> int:
        """Checks the configured policy when it is loaded; returns how many cases it checked."""
        return 0


class Classifier(Policy):
    """Says whose a request is."""

    #: What `classify` sees, at most 16: `header:host`, `claim:tenant`, ...
    inputs: ClassVar[Sequence[str]] = ()
    #: Those whose values must not appear in logs, recordings or samples.
    secret: ClassVar[Sequence[str]] = ()

    def classify(self, request: Request) -> Classification:
        """Whose request is it?"""
        raise NotImplementedError


class Router(Policy):
    """Says where rows are."""

    #: What `route` sees, at most 16: `shard-key`, `region`, ...
    inputs: ClassVar[Sequence[str]] = ()
    #: Those whose values must not appear in logs, recordings or samples.
    secret: ClassVar[Sequence[str]] = ()

    def route(self, request: Request) -> Targets:
        """Which shards does it go to? The same ones for reads and writes of a row."""
        raise NotImplementedError


class CachePolicy(Policy):
    """Says how answers are kept."""

    #: What `decide` sees, at most 16: `class`, `query:category_id`, ...
    inputs: ClassVar[Sequence[str]] = ()
    #: Those whose values must not appear in logs, recordings or samples.
    secret: ClassVar[Sequence[str]] = ()

    def decide(self, request: Request) -> Decision:
        """How is the answer of this read kept?"""
        raise NotImplementedError


class Invalidator(Policy):
    """Says what else a change makes outdated."""

    #: The columns of the changed rows that `invalidate` sees, at most 16.
    columns: ClassVar[Sequence[str]] = ()
    #: Those whose values must not appear in logs, recordings or samples.
    secret_columns: ClassVar[Sequence[str]] = ()

    def invalidate(self, changes: Sequence[Change]) -> Sequence[Action]:
        """What do these changes of one transaction make outdated?"""
        raise NotImplementedError
