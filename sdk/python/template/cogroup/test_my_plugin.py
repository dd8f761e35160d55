import unittest

from millstream import testing
from my_plugin import my_plugin


class MyPluginTest(unittest.TestCase):
    def test_returns_the_open_amounts(self) -> None:
        orders = [{"user": "ann", "amount": 3.0}, {"user": "bob", "amount": 1.0}, {"user": "ann", "amount": 4.0}]
        payments = [{"user": "ann", "paid": 5.0}, {"user": "bob", "paid": 1.0}]
        run = testing.cogroup(my_plugin, key="user text").run([orders, payments])
        self.assertEqual(run.rows, [{"user": "ann", "orders": 2, "open": 2.0}])


if __name__ == "__main__":
    unittest.main()
