import unittest

from millstream import ConfigError, testing
from vader import vader


class VaderTest(unittest.TestCase):
    def test_words_shouting_and_negation_count(self) -> None:
        texts = ["great", "GREAT day!!!", "not great", "a table", None]
        run = testing.transform(vader).run([{"value": text} for text in texts])
        plain, loud, negated, neutral, null = [row["score"] for row in run.rows]
        self.assertTrue(0 < plain < loud <= 1)
        self.assertTrue(-1 <= negated < 0)
        self.assertEqual((neutral, null), (0, None))

    def test_words_of_ones_own(self) -> None:
        run = testing.transform(vader, config={"words": {"soggy": -2}}).run([{"value": "soggy"}])
        self.assertLess(run.rows[0]["score"], 0)
        with self.assertRaisesRegex(ConfigError, "words.soggy: a weight is from -4 to 4, not 9"):
            testing.transform(vader, config={"words": {"soggy": 9}}).run([])


if __name__ == "__main__":
    unittest.main()
