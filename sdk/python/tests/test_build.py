"""What the build finds in a module, and what it says of one that cannot be built."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import build

LOAD = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
import build
try:
    print(*build.load(pathlib.Path(sys.argv[2])))
except build.BuildError as error:
    print(error)
"""


def loaded(source):
    """What `load` answers for a module, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "policy.py").write_text(source)
        command = [sys.executable, "-c", LOAD, str(build.SDK / "lib"), folder]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Loading(unittest.TestCase):
    def test_a_component_imports_what_its_policy_imports(self):
        source = "from tidegate_policy import Classifier, directory, export\nexport(type('C', (Classifier,), {}))"
        self.assertEqual(loaded(source), "['classify'] ['host-directory', 'host-log']")

    def test_a_router_needs_the_topology_for_names_of_shards(self):
        source = "from tidegate_policy import Router, export\nexport(type('R', (Router,), {}))"
        self.assertEqual(loaded(source), "['route'] ['host-log', 'host-topology']")

    def test_a_module_that_is_no_policy_is_refused_with_what_to_change(self):
        self.assertIn("end it with `export(YourClass)`", loaded("x = 1"))
        self.assertIn("policy.py cannot be loaded: ModuleNotFoundError", loaded("import nowhere_to_be_found"))
        self.assertRegex(loaded("from tidegate_policy import export\nexport()"), "^no class has a hook: derive from")


class Projects(unittest.TestCase):
    def test_name_and_version_are_those_of_the_project_section(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(build.project(Path(folder)), (Path(folder).name, "0.0.0"))
            text = '[tool.x]\nname = "no"\n[project]\nname = "mine"\nversion = "1.2.3"\n[tool.y]\nversion = "9"\n'
            Path(folder, "pyproject.toml").write_text(text)
            self.assertEqual(build.project(Path(folder)), ("mine", "1.2.3"))
            Path(folder, "pyproject.toml").write_text('[project]\nname = "mine"\n[tool.y]\nversion = "9"\n')
            self.assertEqual(build.project(Path(folder)), ("mine", "0.0.0"))

    def test_a_world_has_these_hooks_and_imports_and_no_others(self):
        with tempfile.TemporaryDirectory() as folder:
            wit = build.write_world(Path(folder), ["cache-policy"], ["host-log"])
            world = (wit / "zz-this-policy.wit").read_text()
        self.assertEqual(world, "world this-policy {\nimport host-log;\nexport lifecycle;\nexport cache-policy;\n}\n")


if __name__ == "__main__":
    unittest.main()
