"""Tidegate policies in Python. What the gateway does with each answer stands in `wit/`.

A policy is a class for one hook or several: `Classifier`, `Router`, `CachePolicy`, `Invalidator`. Its answers
must depend only on what it is asked and on its configuration: the gateway remembers them, and runs several
instances at once. There is no clock, randomness, file or network.

The gateway's functions are in the modules `topology`, `directory`, `metrics` and `log` of this package; a built
policy imports from the gateway what its code imports.
"""

from __future__ import annotations

from ._answers import (
    ALL,
    Action,
    AllOfTenant,
    Change,
    Classification,
    Decision,
    Hash,
    PolicyError,
    Request,
    Shards,
    Targets,
    purge,
    refresh,
    soft_purge,
)
from ._export import export, only_keys
from ._hooks import CachePolicy, Classifier, Invalidator, Policy, Router

__all__ = [
    "ALL",
    "Action",
    "AllOfTenant",
    "CachePolicy",
    "Change",
    "Classification",
    "Classifier",
    "Decision",
    "Hash",
    "Invalidator",
    "Policy",
    "PolicyError",
    "Request",
    "Router",
    "Shards",
    "Targets",
    "export",
    "only_keys",
    "purge",
    "refresh",
    "soft_purge",
]
