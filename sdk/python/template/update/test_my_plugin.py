import unittest

from millstream import testing
from my_plugin import my_plugin


class MyPluginTest(unittest.TestCase):
    def test_keeps_the_balance(self) -> None:
        test = testing.update(my_plugin, key="user text")
        test.run([{"user": "ann", "amount": 3.0}, {"user": "ann", "amount": 4.0}])
        run = test.run([{"user": "ann", "amount": -2.0}])
        self.assertEqual(run.rows, [{"user": "ann", "balance": 5.0, "closed": False}])
        self.assertEqual(test.states, [{"user": "ann", "balance": 5.0, "payments": 3}])

        run = test.time_out({"user": "ann"})
        self.assertEqual(run.rows, [{"user": "ann", "balance": 5.0, "closed": True}])
        self.assertEqual(test.states, [])


if __name__ == "__main__":
    unittest.main()
