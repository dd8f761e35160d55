import unittest

from millstream import testing
from my_plugin import MyPlugin


class MyPluginTest(unittest.TestCase):
    def test_is_the_mean(self) -> None:
        rows = [{"shop": "a", "price": 1.0}, {"shop": "b", "price": 7.0}, {"shop": "a", "price": 2.0}]
        run = testing.aggregate(MyPlugin, key="shop text").run(rows)
        self.assertEqual(run.rows, [{"shop": "a", "mean": 1.5}, {"shop": "b", "mean": 7.0}])


if __name__ == "__main__":
    unittest.main()
