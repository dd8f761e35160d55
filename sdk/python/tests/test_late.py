"""Modules imported on first use: which they are, and the message if one is missing."""

import importlib
import sys
import types
import unittest

from millstream import failure, late

SOURCE = '''
def one():
    import wave
    def inner():
        from xml.dom import minidom as own, Node
        return own, Node
    return wave, inner

class Two:
    def method(self):
        from . import beside
        from .below.deep import name
        return beside, name
'''


def found(module: str, package: str = "") -> set[tuple[str, str]]:
    own = types.ModuleType(module)
    own.__package__ = package
    exec(compile(SOURCE, "m.py", "exec"), vars(own))
    seen: set[int] = set()
    functions = [own.one, own.Two.method]
    return {imported for function in functions for imported in late._imports(function, seen)}


class LateTest(unittest.TestCase):
    def test_imports_within_functions_are_found(self) -> None:
        dom = {("wave", ""), ("xml.dom", ""), ("xml.dom", "minidom"), ("xml.dom", "Node")}
        below = {("p", ""), ("p", "beside"), ("p.below.deep", ""), ("p.below.deep", "name")}
        self.assertEqual(found("p.m", "p"), dom | below)
        # A name that cannot be resolved is not a module.
        self.assertEqual(found("m"), dom)

    def test_the_library_does_not_import_modules_for_developers(self) -> None:
        self.assertEqual(found("json", "json") & {("xml.dom", ""), ("wave", "")}, {("wave", "")})
        self.assertIn(("xml.dom", ""), found("xml", "xml"))

    def test_modules_and_parts_that_are_modules_are_imported(self) -> None:
        for name in ("xml.dom.minidom", "wave"):
            sys.modules.pop(name, None)
        importlib.import_module("xml.dom").__dict__.pop("minidom", None)
        for name, part in [("wave", ""), ("xml.dom", "minidom"), ("xml.dom", "Node"), ("no_such_module", "x")]:
            late._import(name, part)
        self.assertTrue({"wave", "xml.dom.minidom"} <= sys.modules.keys())

    def test_codecs_are_modules(self) -> None:
        self.assertTrue({"encodings.cp1252", "encodings.idna", "encodings.utf_16"} <= set(late._encodings()))

    def test_zones_come_from_memory(self) -> None:
        import zoneinfo
        from zoneinfo import _common

        load, names = _common.load_tzdata, zoneinfo.available_timezones
        try:
            late._use({"A/B": b"TZif"})
            self.assertEqual(_common.load_tzdata("A/B").read(), b"TZif")
            self.assertEqual(zoneinfo.available_timezones(), {"A/B"})
            with self.assertRaises(zoneinfo.ZoneInfoNotFoundError):
                _common.load_tzdata("A/C")
        finally:
            _common.load_tzdata, zoneinfo.available_timezones = load, names

    def test_a_failed_import_in_a_component_has_a_hint(self) -> None:
        def message() -> str:
            try:
                try:
                    import no_such_module  # noqa: F401
                except ImportError:
                    raise RuntimeError("it does not work")
            except RuntimeError as error:
                return str(failure.to_plugin_error(error))
            return ""

        self.assertNotIn("module level", message())
        failure.is_component = True
        try:
            self.assertIn("import `no_such_module` at module level", message())
        finally:
            failure.is_component = False


if __name__ == "__main__":
    unittest.main()
