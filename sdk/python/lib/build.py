"""From a policy in Python to a component: build.py FOLDER OUT.wasm

The module is loaded here first, to see which hooks it has and which of the gateway's interfaces it imports; the
component's world is made of exactly these."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent
MODULE = "policy"
WORLD = "this-policy"
#: What a policy's folder may hold besides its code.
NOT_CODE = ("__pycache__", "*.wasm", ".*", "node_modules", "venv")
#: Modules of the SDK, and the interface that each needs from the gateway.
INTERFACES = {
    "log": "host-log",
    "metrics": "host-metrics",
    "topology": "host-topology",
    "directory": "host-directory",
}


class BuildError(Exception):
    """What the author can do something about."""


def load(folder: Path) -> tuple[list[str], list[str]]:
    """The hooks that the policy has, and the interfaces it imports."""
    sys.path[:0] = [str(folder), str(SDK)]
    sys.dont_write_bytecode = True
    from tidegate_policy import _export

    try:
        importlib.import_module(MODULE)
    except _export.DefinitionError as error:
        raise BuildError(str(error)) from None
    except Exception as error:
        raise BuildError(f"{MODULE}.py cannot be loaded: {type(error).__name__}: {error}") from error
    if _export.exported is None:
        raise BuildError(f"{MODULE}.py exports no policy: end it with `export(YourClass)`")
    hooks = list(_export.exported.hooks)
    used = {name for name in INTERFACES if f"tidegate_policy.{name}" in sys.modules} | {"log"}
    if "route" in hooks:
        used.add("topology")
    return hooks, sorted(INTERFACES[name] for name in used)


def project(folder: Path) -> tuple[str, str]:
    """Name and version that operators see: those of pyproject.toml."""
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    section = re.search(r"^\[project\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)

    def value(key: str, otherwise: str) -> str:
        found = re.search(rf'^{key}\s*=\s*"([^"]*)"', section[1], re.MULTILINE) if section else None
        return found[1] if found else otherwise

    return value("name", folder.name), value("version", "0.0.0")


def write_world(scratch: Path, hooks: list[str], interfaces: list[str]) -> Path:
    """Writes a world beside the WIT package's own, with these hooks and imports and nothing else."""
    wit = scratch / "wit"
    wit.mkdir()
    for file in (SDK / "wit").glob("*.wit"):
        shutil.copyfile(file, wit / file.name)
    items = [f"import {name};" for name in interfaces] + ["export lifecycle;"] + [f"export {hook};" for hook in hooks]
    (wit / "zz-this-policy.wit").write_text("world %s {\n%s\n}\n" % (WORLD, "\n".join(items)))
    return wit


def write_app(scratch: Path, hooks: list[str], name: str, version: str) -> None:
    """Writes the module that componentize-py looks for the exported classes in."""
    lines = [f"import {MODULE}", "from tidegate_policy import _guest", f"Lifecycle = _guest.lifecycle({name!r}, {version!r})"]
    for hook in hooks:
        lines.append(f"{hook.title().replace('-', '')} = _guest.{hook.replace('-', '_')}()")
    (scratch / "tidegate_app.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(folder: Path, out: Path) -> None:
    """Builds the policy in a folder."""
    if not (folder / f"{MODULE}.py").is_file():
        raise BuildError(f"{folder} has no {MODULE}.py")
    hooks, interfaces = load(folder)
    from componentize_py import script

    with tempfile.TemporaryDirectory(prefix="tidegate-policy-") as temporary:
        scratch = Path(temporary)
        wit = write_world(scratch, hooks, interfaces)
        write_app(scratch, hooks, *project(folder))
        # Copies, because the interpreter in the component leaves its compiled modules beside what it loads.
        ignore = shutil.ignore_patterns(*NOT_CODE)
        shutil.copytree(folder, scratch / "author", ignore=ignore)
        shutil.copytree(SDK / "tidegate_policy", scratch / "sdk" / "tidegate_policy", ignore=ignore)
        paths = [part for path in (scratch, scratch / "author", scratch / "sdk") for part in ("-p", str(path))]
        sys.argv = ["componentize-py", "-d", str(wit), "-w", WORLD, "componentize", "--stub-wasi", *paths]
        sys.argv += ["tidegate_app", "-o", str(out)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            failed = script()
        if failed:
            raise BuildError(f"componentize-py failed\n{said.getvalue()}")


def main() -> None:
    """The command."""
    if len(sys.argv) != 3:
        sys.exit("usage: build.py FOLDER OUT.wasm")
    folder, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    try:
        build(folder, out)
    except BuildError as error:
        sys.exit(f"python/build: {error}")
    print(f"{out.name}: {-(-out.stat().st_size // 1024)} KiB")


if __name__ == "__main__":
    main()
