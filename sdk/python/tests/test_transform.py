"""World `transform`: parameters and return values of functions."""

import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from millstream import (
    Batch,
    Column,
    ConfigError,
    Context,
    Description,
    Field,
    InternalError,
    Out,
    Rejection,
    Remove,
    Schema,
    Stage,
    Timestamp,
    Transformed,
    testing,
    transform,
)


@dataclass
class Word:
    word: str
    place: int


class Pair(NamedTuple):
    left: int
    right: int | None


@dataclass
class Nothing:
    pass


@dataclass(kw_only=True, frozen=True, slots=True)
class Event:
    kind: Annotated[str, Column("type")]
    at: Timestamp


@transform
def words(line: str, out: Out[Word]) -> None:
    """Splits lines.

    Into words.
    """
    for place, word in enumerate(line.split()):
        if word == "!":
            raise Rejection(f"word {place} is not valid")
        out.emit(word, place=place)


@transform
def yields(line: str) -> Iterator[Word]:
    for place, word in enumerate(line.split()):
        if word == "!":
            raise Rejection("no word")
        yield Word(word, place)


@transform
def columnwise(line: str, out: Out[Word]) -> None:
    found = line.split()
    out.extend(found, range(len(found)))


@transform
def word(line: str) -> list[str]:
    return line.split()


@transform
def length(line: str) -> Annotated[int, Column("code points")] | Rejection | None:
    if not line:
        return None
    return Rejection("too long") if len(line) > 3 else len(line)


@transform
def swap(pair: Pair) -> Pair:
    # A plain tuple is accepted for a named one.
    return (pair.right or 0, pair.left)  # type: ignore[return-value]


@transform
def events(event: Event, context: Context, config: dict) -> Event | None:
    return Event(kind=event.kind + config["ending"], at=context.time) if event.at else None


LINES = [{"line": "a b"}, {"line": "c ! d"}, {"line": ""}, {"line": None}, {"line": "ü"}]


class TransformTest(unittest.TestCase):
    def test_output_rows_are_removed_if_the_row_is_rejected(self) -> None:
        expected = [{"word": "a", "place": 0}, {"word": "b", "place": 1}, {"word": "ü", "place": 0}]
        run = testing.transform(words).run(LINES)
        self.assertEqual(run.rows, expected)
        self.assertEqual(run.rejected, [(1, "word 1 is not valid"), (3, "column `line` is null")])
        run = testing.transform(yields).run(LINES)
        self.assertEqual(run.rows, expected)
        self.assertEqual(run.rejected, [(1, "no word"), (3, "column `line` is null")])

    def test_many_rows_at_once(self) -> None:
        run = testing.transform(columnwise).run(LINES[:1])
        self.assertEqual(run.rows, [{"word": "a", "place": 0}, {"word": "b", "place": 1}])

        @transform
        def uneven(line: str, out: Out[Word]) -> None:
            out.extend(["a"], place=[])

        with self.assertRaisesRegex(ValueError, "place has 0 values, word has 1"):
            testing.transform(uneven).run(LINES[:1])

    def test_single_values_are_rows_of_one_column(self) -> None:
        self.assertEqual(testing.transform(word).run(LINES[:1]).rows, [{"word": "a"}, {"word": "b"}])
        run = testing.transform(length).run([{"line": "ab"}, {"line": ""}, {"line": "abcd"}])
        self.assertEqual(run.rows, [{"code points": 2}])
        self.assertEqual(run.rejected, [(2, "too long")])

    def test_named_tuples_are_rows(self) -> None:
        run = testing.transform(swap).run([{"left": 1, "right": 2}, {"left": 3}])
        self.assertEqual(run.rows, [{"left": 2, "right": 1}, {"left": 0, "right": 3}])

    def test_names_of_columns_keywords_context_and_plain_config(self) -> None:
        run = testing.transform(events, config={"ending": "!"}).run([{"type": "a", "at": 5}, {"type": "b", "at": 0}])
        self.assertEqual(run.rows, [{"type": "a!", "at": 1_000_000}])

    def test_the_description_is_that_of_the_function(self) -> None:
        said = testing.transform(words).describe()
        self.assertEqual(said.input, Schema([Field("line", "text", nullable=False)]))
        self.assertEqual(said.output, Schema([Field("word", "text", False), Field("place", "int64", False)]))
        self.assertEqual(said.doc, "Splits lines.\n\nInto words.")
        self.assertEqual(testing.transform(swap).describe().output.fields[1], Field("right", "int64", True))

    def test_a_config_that_the_function_does_not_take_is_rejected(self) -> None:
        with self.assertRaisesRegex(ConfigError, "this plugin takes no config"):
            testing.transform(words, config={"a": 1}).run([])

    def test_rows_without_columns_are_counted(self) -> None:
        @transform
        def nothing(row: Nothing) -> Nothing:
            return row

        self.assertEqual(testing.transform(nothing).run([{}, {}]).rows, [{}, {}])

    def test_whole_batches(self) -> None:
        @transform
        def double(pairs: Batch[Pair]) -> Batch[Pair]:
            return Batch.of(Pair, left=[2 * left for left in pairs.column("left")], right=pairs.values("right"))

        run = testing.transform(double).run([{"left": 1, "right": None}, {"left": None}, {"left": 4, "right": 5}])
        self.assertEqual(run.rows, [{"left": 2, "right": None}, {"left": 8, "right": 5}])
        self.assertEqual(run.rejected, [(1, "column `left` is null")])

    def test_any_columns(self) -> None:
        @transform
        class First:
            """Keeps the first row."""

            def describe(self, stage: Stage) -> Description:
                stage.no_config()
                return Description(input=stage.input, output=stage.input)

            def process(self, stage: Stage, context: Context, rows: Batch) -> Transformed:
                return Transformed(rows.take([0]), [(row, "not the first") for row in range(1, rows.rows)])

        run = testing.transform(First, input="a text, b int64").run([{"a": "x", "b": 1}, {"a": "y", "b": 2}])
        self.assertEqual(run.rows, [{"a": "x", "b": 1}])
        self.assertEqual(run.rejected, [(1, "not the first")])
        self.assertEqual(testing.transform(First).describe().doc, "Keeps the first row.")

    def test_values_of_a_wrong_type_fail_the_call(self) -> None:
        @transform
        def wrong(line: str) -> Word:
            return Word(line, "1" if line == "b" else 1)  # type: ignore[arg-type]

        words = r"field `place` is int64, not '1'; row 1 of what it returned is Word\(word='b', place='1'\)\n  File \".*test_transform\.py\", line \d+, in wrong$"
        with self.assertRaisesRegex(InternalError, words):
            testing.transform(wrong).run([{"line": "a"}, {"line": "b"}])

    def test_a_forgotten_return_is_an_error_for_whatever_is_returned(self) -> None:
        def row(line: str) -> Word: ...
        def value(line: str) -> int: ...
        def values(line: str) -> list[str]: ...
        def rows(line: str) -> list[Word]: ...
        def no_columns(line: str) -> Nothing: ...
        def whole(lines: Batch[Pair]) -> Batch[Pair]: ...

        for function, wanted in {row: "Word", value: "a value", values: "rows", rows: "rows", no_columns: "Nothing"}.items():
            words = rf"{function.__name__}\(\) returned None instead of {wanted}: is a `return` missing"
            with self.assertRaisesRegex(InternalError, words):
                testing.transform(transform(function)).run([{"line": "a"}])
        with self.assertRaisesRegex(InternalError, r"whole\(\) returned None instead of a Batch of Pair"):
            testing.transform(transform(whole)).run([{"left": 1}])

    def test_unsuitable_signatures_are_named(self) -> None:
        def untyped(line) -> Word: ...  # type: ignore[no-untyped-def]
        def neither(line: str) -> None: ...
        def both(line: str, out: Out[Word]) -> Word: ...
        def strange(line: complex) -> Word: ...
        def no_row(context: Context) -> Word: ...
        def mapping(line: str) -> dict[str, str]: ...
        def two(pair: Pair, word: Word) -> Word: ...
        def removes(line: str) -> Word | Remove: ...

        wrong = {
            untyped: "`line` has no type",
            neither: "rows go either to `Out` or are returned",
            both: "rows go either to `Out` or are returned",
            strange: "`line` is of the type",
            no_row: "takes no row",
            mapping: "it returns dict",
            two: "`word` is a second one",
            removes: "it returns `Remove`, which only functions of world update do",
        }
        for function, words in wrong.items():
            with self.assertRaisesRegex(TypeError, f"{function.__name__}.*{words}"):
                testing.transform(transform(function)).describe()
        with self.assertRaisesRegex(TypeError, "lacks the decorator @transform"):
            testing.transform(len)


if __name__ == "__main__":
    unittest.main()
