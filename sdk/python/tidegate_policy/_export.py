"""The policy of a module: which classes answer which hook, and whether all of it is well-formed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._answers import PolicyError
from ._hooks import CachePolicy, Classifier, Invalidator, Policy, Router

PLAIN_INPUTS = ("method", "path", "collection", "shard-key", "tenant", "class", "region")
NAMED_INPUTS = ("header", "query", "claim", "column")
HOOKS: tuple[tuple[str, type[Policy]], ...] = (
    ("classify", Classifier),
    ("route", Router),
    ("cache-policy", CachePolicy),
    ("invalidate", Invalidator),
)


class DefinitionError(Exception):
    """The policy cannot work as it is written."""


@dataclass(frozen=True)
class Hook:
    """One hook: who answers it, and what it reads."""

    policy: Any
    inputs: Sequence[str]
    secret: Sequence[str]

    def kinds(self) -> list[tuple[str, str | None]]:
        """The inputs, as kinds and names."""
        return [parse_input(text) for text in self.inputs]


class Exported:
    """The policies of a module, together."""

    def __init__(self, classes: Sequence[type[Policy]]) -> None:
        self.policies = [policy() for policy in classes]
        self.hooks: dict[str, Hook] = {}
        for policy in self.policies:
            self._add(policy)
        if not self.hooks:
            raise DefinitionError("no class has a hook: derive from Classifier, Router, CachePolicy or Invalidator")

    def _add(self, policy: Policy) -> None:
        bases = [(name, base) for name, base in HOOKS if isinstance(policy, base)]
        if sum(base is not Invalidator for _, base in bases) > 1:
            raise DefinitionError(
                f"{type(policy).__name__} has one list of inputs for several hooks: write a class for each, "
                "and export them together"
            )
        for name, _ in bases:
            if name in self.hooks:
                raise DefinitionError(f"two classes answer {name}")
            self.hooks[name] = _hook(name, policy)

    def first(self, attribute: str) -> Any:
        """An attribute of the first class that has it."""
        return next((value for policy in self.policies if (value := getattr(policy, attribute)) is not None), None)

    def schema(self) -> str:
        """The JSON Schema of the configuration; empty without one."""
        schema = self.first("config_schema")
        return "" if schema is None else json.dumps(schema)

    def configure(self, text: str) -> None:
        """Hands the configuration to every class."""
        config = json.loads(text.strip() or "{}") or {}
        takes = any(type(policy).configure is not Policy.configure for policy in self.policies)
        if config and not takes:
            raise PolicyError("not-ready", "this policy takes no configuration: remove `config`")
        for policy in self.policies:
            policy.configure(config)

    def self_test(self) -> int:
        """Runs the self-tests; how many cases they were."""
        return sum(policy.self_test() for policy in self.policies)


def _hook(name: str, policy: Any) -> Hook:
    if name == "invalidate":
        inputs, secret = [f"column:{c}" for c in policy.columns], [f"column:{c}" for c in policy.secret_columns]
    else:
        inputs, secret = list(policy.inputs), list(policy.secret)
    for text in inputs:
        parse_input(text)
    for text in secret:
        if text not in inputs:
            raise DefinitionError(f"{type(policy).__name__}: the secret `{text}` is not among what the hook reads")
    return Hook(policy, inputs, secret)


def parse_input(text: str) -> tuple[str, str | None]:
    """`header:host` as a kind and a name."""
    if text in PLAIN_INPUTS:
        return text, None
    kind, colon, name = text.partition(":")
    if colon and kind in NAMED_INPUTS:
        return kind, name
    named = ", ".join(f"{kind}:NAME" for kind in NAMED_INPUTS)
    raise DefinitionError(f"there is no input `{text}`; there are: {', '.join(PLAIN_INPUTS)}, {named}")


exported: Exported | None = None


def export(*classes: type[Policy]) -> None:
    """Makes these classes the module's policy; each hook is answered by one of them."""
    global exported
    exported = Exported(classes)


def only_keys(config: dict[str, Any], keys: Sequence[str]) -> None:
    """Refuses a configuration with keys that are not among these."""
    for key in config:
        if key not in keys:
            known = f"there are: {', '.join(keys)}" if keys else "there are none"
            raise PolicyError("not-ready", f"config: unknown key `{key}`; {known}")
