"""Lines for the gateway's log, cut after 1024 bytes; at most 8 per call. Needs the grant `log`, which is given
unless taken away."""

from __future__ import annotations

try:
    from wit_world.imports import host_log as _host

    def _log(level: str, message: str) -> None:
        _host.log(_host.Level[level.upper()], message)

except ImportError:
    from ._fake import log as _log

__all__ = ["debug", "error", "info", "warn"]


def debug(message: str) -> None:
    """Detail for developers."""
    _log("debug", message)


def info(message: str) -> None:
    """Normal events."""
    _log("info", message)


def warn(message: str) -> None:
    """Something is odd and the policy copes."""
    _log("warn", message)


def error(message: str) -> None:
    """Something is wrong."""
    _log("error", message)
