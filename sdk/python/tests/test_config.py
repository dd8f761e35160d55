"""Configs as dataclasses: valid and invalid values, and their JSON Schema."""

import json
import unittest
from dataclasses import dataclass, field
from typing import Literal

from millstream import ConfigError, config


@dataclass
class Inner:
    name: str


@dataclass
class Config:
    at_least: int
    rate: float = 1.0
    kinds: list[str] = field(default_factory=list)
    mode: Literal["a", "b"] = "a"
    inner: Inner | None = None
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.at_least > 100:
            raise ValueError("at_least is above 100")


class ConfigTest(unittest.TestCase):
    def test_values_get_their_types(self) -> None:
        given = {"at_least": 2**62 + 1, "rate": 2, "kinds": ["x"], "inner": {"name": "n"}, "weights": {"w": 1}}
        given["at_least"] = 7
        found = config.read(Config, given)
        self.assertEqual(found, Config(7, 2.0, ["x"], "a", Inner("n"), {"w": 1.0}))
        self.assertIsInstance(found.rate, float)

    def test_invalid_fields_are_named(self) -> None:
        wrong = {
            "missing field `at_least`": {},
            "unknown field `at_most`, expected one of `at_least`, `rate`": {"at_least": 1, "at_most": 2},
            'at_least: invalid type: string "1", expected an integer': {"at_least": "1"},
            "at_least: invalid type: boolean `true`": {"at_least": True},
            "at_least: invalid type: number `1.5`": {"at_least": 1.5},
            "kinds\\[0\\]: invalid type: number `1`, expected a string": {"at_least": 1, "kinds": [1]},
            'mode: invalid type: string "c", expected "a" or "b"': {"at_least": 1, "mode": "c"},
            "inner: missing field `name`": {"at_least": 1, "inner": {}},
            "weights.w: invalid type: null, expected a number": {"at_least": 1, "weights": {"w": None}},
            "at_least is above 100": {"at_least": 101},
            "invalid type: a list, expected a table": [1],
        }
        for words, given in wrong.items():
            with self.assertRaisesRegex(ConfigError, words):
                config.read(Config, given)

    def test_schema_describes_the_config(self) -> None:
        schema = json.loads(config.schema(Config))
        self.assertEqual(schema["required"], ["at_least"])
        self.assertEqual(schema["properties"]["at_least"], {"type": "integer"})
        self.assertEqual(schema["properties"]["rate"], {"type": "number", "default": 1.0})
        self.assertEqual(schema["properties"]["mode"], {"enum": ["a", "b"], "default": "a"})
        self.assertFalse(schema["additionalProperties"])
        self.assertEqual(config.schema(dict), "")


if __name__ == "__main__":
    unittest.main()
