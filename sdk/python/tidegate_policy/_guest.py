"""From a module's policy to the exports of a component. Runs only in a component, with the bindings of its world:
each function makes the class of one exported interface, and needs the bindings of that interface only."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from componentize_py_types import Err
from wit_world.imports import types

from . import _export, log
from ._answers import AllOfTenant, Change, Decision, Hash, PolicyError, Request, Shards
from ._export import Exported, Hook

T = TypeVar("T")
READ = types.Op.READ


def _policy() -> Exported:
    if _export.exported is None:
        raise RuntimeError("the module exports no policy: it ends with `export(...)`")
    return _export.exported


def _refusal(code: str, detail: str) -> Err[types.PolicyError]:
    return Err(types.PolicyError(types.ErrorCode[code.replace("-", "_").upper()], detail))


def _refusing(code: str, call: Callable[[], T]) -> T:
    """For what happens once, when a version is loaded: every exception is a reason to refuse it."""
    try:
        return call()
    except PolicyError as error:
        raise _refusal(error.code, error.detail) from None
    except Exception as error:
        raise _refusal(code, f"{type(error).__name__}: {error}") from None


def _answering(call: Callable[[Any], T], argument: Any) -> T:
    """For hooks: a PolicyError is an answer, anything else a bug, and traps."""
    try:
        return call(argument)
    except PolicyError as error:
        raise _refusal(error.code, error.detail) from None
    except Exception:
        log.error(traceback.format_exc(limit=-3))
        raise


def lifecycle(name: str, version: str) -> type:
    """`lifecycle`."""
    from wit_world.exports import lifecycle as wit

    policy = _policy()

    def to_input(kind: str, named: str | None) -> Any:
        case = getattr(wit, "Input_" + "".join(part.capitalize() for part in kind.split("-")))
        return case() if named is None else case(named)

    def to_inputs(hook: str, reads: Hook) -> Any:
        inputs = [to_input(*kind) for kind in reads.kinds()]
        return wit.HookInputs(hook, inputs, [list(reads.inputs).index(text) for text in reads.secret])

    class Lifecycle:
        def describe(self) -> Any:
            hooks = [to_inputs(hook, reads) for hook, reads in policy.hooks.items()]
            return wit.Manifest(
                policy.first("name") or name, policy.first("version") or version, hooks, policy.schema()
            )

        def configure(self, json: str) -> None:
            _refusing("not-ready", lambda: policy.configure(json))

        def self_test(self) -> int:
            return _refusing("other", policy.self_test)

    return Lifecycle


def _asking(hook: str, method: str, to_answer: Callable[[Any, Sequence[str]], T]) -> Callable[[Any], T]:
    """The function that puts one request to the policy."""
    reads = _policy().hooks[hook]
    decide, names = getattr(reads.policy, method), reads.inputs

    def ask(raw: Any) -> T:
        op = "read" if raw.op is READ else "write"
        return to_answer(decide(Request(op, raw.inputs, names)), names)

    return lambda raw: _answering(ask, raw)


def classify() -> type:
    """`classify`."""
    from wit_world.exports import classify as wit

    ask = _asking("classify", "classify", lambda answer, _: wit.Classification(answer.tenant, answer.class_name))

    class Classify:
        def classify(self, r: Any) -> Any:
            return ask(r)

    return Classify


def route() -> type:
    """`route`."""
    from wit_world.exports import route as wit

    from . import topology

    def shard(name_or_number: str | int) -> int:
        if isinstance(name_or_number, int):
            return name_or_number
        number = topology.shard_named(name_or_number)
        if number is None:
            raise PolicyError("not-ready", f"there is no shard `{name_or_number}`")
        return number

    def targets(answer: Any, _: Sequence[str]) -> Any:
        if isinstance(answer, Hash):
            return wit.Targets_Hash(answer.value)
        if isinstance(answer, Shards):
            return wit.Targets_Shards([shard(item) for item in answer.shards])
        if isinstance(answer, AllOfTenant):
            return wit.Targets_AllOfTenant()
        raise TypeError("a router answers Hash(...), Shards([...]) or ALL")

    ask = _asking("route", "route", targets)

    class Route:
        def route(self, r: Any) -> Any:
            return ask(r)

    return Route


def cache_policy() -> type:
    """`cache-policy`."""
    from wit_world.exports import cache_policy as wit

    modes = {"as-configured": wit.Mode.AS_CONFIGURED, "bypass": wit.Mode.BYPASS}

    def decision(answer: Decision, names: Sequence[str]) -> Any:
        vary = [list(names).index(name) for name in answer.vary]
        return wit.Decision(modes[answer.mode], answer.ttl_ms, answer.stale_ms, vary, list(answer.tags))

    ask = _asking("cache-policy", "decide", decision)

    class CachePolicy:
        def decide(self, r: Any) -> Any:
            return ask(r)

    return CachePolicy


def invalidate() -> type:
    """`invalidate`."""
    from wit_world.exports import invalidate as wit

    reads = _policy().hooks["invalidate"]
    columns = reads.policy.columns
    verbs = {"purge": wit.Verb.PURGE, "soft-purge": wit.Verb.SOFT_PURGE, "refresh": wit.Verb.REFRESH}
    targets: dict[str, Callable[[Any], Any]] = {
        "row": lambda value: wit.Target_Row(wit.RowRef(*value)),
        "query": lambda value: wit.Target_Query(wit.QueryRef(*value)),
        "tag": wit.Target_Tag,
        "lists": wit.Target_Lists,
        "collection": wit.Target_Collection,
    }

    def named(values: Sequence[str | None]) -> dict[str, str | None] | None:
        return dict(zip(columns, values)) if values else None

    def change(raw: Any) -> Change:
        return Change(raw.collection, raw.key, raw.kind.name.lower(), named(raw.old), named(raw.new))

    def action(answer: Any) -> Any:
        kind, value = answer.target
        return wit.Action(verbs[answer.verb], targets[kind](value))

    def ask(batch: Any) -> Any:
        return [action(answer) for answer in reads.policy.invalidate([change(raw) for raw in batch])]

    class Invalidate:
        def invalidate(self, tenant: int, class_: int, batch: Any) -> Any:
            return _answering(ask, batch)

    return Invalidate
