"""The examples of the README: their tests run, and every plugin describes itself."""

import pathlib
import re
import sys
import types
import unittest

from millstream.plugin import MARK, Plugin
from millstream.testing import AggregateTest, CogroupTest, SinkTest, SourceTest, TransformTest, UpdateTest

README = pathlib.Path(__file__).parent.parent / "README.md"
TESTS = {
    "transform": TransformTest,
    "update": UpdateTest,
    "aggregate": AggregateTest,
    "cogroup": CogroupTest,
    "source": SourceTest,
    "sink": SinkTest,
}
#: Configs of the plugins that need one.
CONFIGS = {
    ("transform", "samples"): {"value_max": 1.0},
    ("source", "Events"): {"servers": []},
    ("sink", "Events"): {"server": ""},
}


def modules() -> list[types.ModuleType]:
    """Returns each block as a module. Later blocks can import it by the name in the text."""
    found = []
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)):
        name = "shout" if number == 0 else f"readme_{number}"
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(block, f"README.md, block {number}", "exec"), vars(module))
        found.append(module)
    return found


class ReadmeTest(unittest.TestCase):
    def test_examples(self) -> None:
        worlds, tests = [], 0
        for module in modules():
            for name, own in list(vars(module).items()):
                plugin = getattr(own, MARK, None)
                if isinstance(plugin, Plugin) and plugin.world == "migrate":
                    plugin.prepare()
                elif isinstance(plugin, Plugin) and own.__module__ == module.__name__:
                    config = CONFIGS.get((plugin.world, name))
                    said = TESTS[plugin.world](plugin.world, own, config, key="user text").describe()
                    self.assertTrue(said.doc, name)
                    worlds.append(plugin.world)
                elif isinstance(own, type) and issubclass(own, unittest.TestCase):
                    run = unittest.defaultTestLoader.loadTestsFromTestCase(own)(unittest.TestResult())
                    self.assertTrue(run.wasSuccessful(), run.failures + run.errors)
                    tests += run.testsRun
        self.assertEqual(set(worlds), set(TESTS))
        self.assertEqual((len(worlds), tests), (11, 1))


if __name__ == "__main__":
    unittest.main()
