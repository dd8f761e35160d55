import unittest

from millstream import testing
from my_plugin import Bill, Config, Order, my_plugin


class MyPluginTest(unittest.TestCase):
    def test_adds_the_tax(self) -> None:
        rows = [{"name": "ann", "amount": 100.0}, {"name": "bob", "amount": -1.0}]
        run = testing.transform(my_plugin, config={"tax": 25}).run(rows)
        self.assertEqual(run.rows, [{"name": "ann", "total": 125.0}])
        self.assertEqual(run.rejected, [(1, "the amount -1 is below zero")])

    def test_is_a_plain_function(self) -> None:
        self.assertEqual(my_plugin(Order("ann", 100.0), Config(tax=25)), Bill("ann", 125.0))


if __name__ == "__main__":
    unittest.main()
