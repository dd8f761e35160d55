"""Plugins on tables of several libraries, and rejected tables."""

import datetime
import os
import pickle
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import duckdb
import millstream
import pandas
import polars
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
SPLIT = ROOT / "plugins" / "split-words"
LINES = ["To be or", None, "not to be"]
WORDS = ["To", "be", "or", "not", "to", "be"]


def words(out):
    return pa.table(out.rows)["word"].to_pylist()


class Tables(unittest.TestCase):
    def test_tables_of_all_libraries_return_the_same_rows(self):
        split = millstream.Plugin(SPLIT)
        columns = {
            "text": pa.array(LINES),
            "large": pa.array(LINES, pa.large_string()),
            "view": pa.array(LINES, pa.string_view()),
            "dictionary": pa.array(LINES).dictionary_encode(),
            "dictionary of views": pa.array(LINES, pa.string_view()).dictionary_encode(),
            "slice": pa.array(["x", *LINES, "y"]).slice(1, 3),
            "chunks": pa.chunked_array([LINES[:1], [], LINES[1:]]),
        }
        tables = {name: pa.table({"n": pa.array(range(3), pa.int8()), "value": column}) for name, column in columns.items()}
        tables["reader"] = tables["text"].to_reader()
        tables["batch"] = tables["text"].to_batches()[0]
        tables["pandas"] = pandas.DataFrame({"n": range(3), "value": LINES})
        tables["polars"] = polars.DataFrame({"n": range(3), "value": LINES})
        tables["duckdb"] = duckdb.sql("select * from (values (0, 'To be or'), (1, null), (2, 'not to be')) as t(n, value)")
        for name, table in tables.items():
            with self.subTest(name):
                out = split.process(table)
                self.assertEqual(words(out), WORDS)
                rejected = pa.table(out.rejected)
                self.assertEqual(rejected["n"].to_pylist(), [1])
                self.assertIn("column `value` is null", rejected["reason"][0].as_py())

    def test_rows_go_to_all_libraries(self):
        out = millstream.Plugin(SPLIT).process(pa.table({"value": LINES}))
        self.assertEqual(len(out.rows), 6)
        self.assertEqual(out.rows.column_names, ["word"])
        self.assertEqual(pandas.DataFrame.from_arrow(out.rows)["word"].tolist(), WORDS)
        self.assertEqual(polars.DataFrame(out.rows)["word"].to_list(), WORDS)
        rows = pa.table(out.rows)
        self.assertEqual(duckdb.sql("select count(distinct word) from rows").fetchall(), [(5,)])
        self.assertEqual(pa.schema(out.rows).names, ["word"])
        rows.validate(full=True)
        # The rows can be read repeatedly.
        self.assertEqual(pa.table(out.rows), rows)

    def test_rejected_rows_keep_columns_of_all_types_unchanged(self):
        values = {
            "null": pa.array([None, None]),
            "bool": pa.array([True, None]),
            "float16": pa.array([None, 1.5], pa.float16()),
            "decimal": pa.array([None, 1], pa.decimal128(9, 2)),
            "decimal256": pa.array([None, 1], pa.decimal256(50, 2)),
            "date": pa.array([None, datetime.date(2020, 2, 29)]),
            "time": pa.array([None, datetime.time(1, 2)], pa.time64("us")),
            "duration": pa.array([None, 5], pa.duration("ns")),
            "times": pa.array([None, 5], pa.timestamp("ns", "Europe/Paris")),
            "fixed": pa.array([None, b"abc"], pa.binary(3)),
            "binary": pa.array([b"", b"abc"], pa.large_binary()),
            "view": pa.array([None, "a text that is too long to stand in the view itself"], pa.string_view()),
            "list": pa.array([None, [1, None]], pa.list_(pa.int16())),
            "large list": pa.array([[], ["a"]], pa.large_list(pa.string_view())),
            "fixed list": pa.array([None, [1, 2]], pa.list_(pa.int8(), 2)),
            "struct": pa.array([None, {"a": 1, "b": [{"c": "x"}]}]),
            "map": pa.array([None, [("k", 1)]], pa.map_(pa.string(), pa.int32())),
            "dictionary": pa.array(["x", None]).dictionary_encode(),
        }
        table = pa.table({"value": pa.array([None, None], pa.string()), **values})
        whole = pa.concat_tables([table.slice(1), table, table]).combine_chunks().slice(1, 3)
        rejected = pa.table(millstream.Plugin(SPLIT).process(whole).rejected)
        rejected.validate(full=True)
        self.assertEqual(rejected.drop_columns(["reason"]).to_pylist(), whole.to_pylist())
        self.assertEqual(rejected.schema.field("view").type, pa.string_view())

    def test_numbers_are_converted_if_no_value_changes(self):
        total = millstream.Plugin(ROOT / "plugins" / "sum", config={"column": "n"})
        for kind in (pa.int8(), pa.int32(), pa.uint16(), pa.uint64(), pa.int64()):
            with self.subTest(kind):
                made = total.aggregate(pa.table({"n": pa.array([1, 2], kind), "k": ["a", "a"]}), key="k")
                self.assertEqual(list(pa.table(made.rows).to_pylist()[0].values()), ["a", 3])
        with self.assertRaisesRegex(millstream.UsageError, "column `n`.*18446744073709551615"):
            total.aggregate(pa.table({"n": pa.array([2**64 - 1], pa.uint64()), "k": ["a"]}), key="k")

    def test_a_column_that_a_plugin_cannot_read_is_named_in_the_error(self):
        split = millstream.Plugin(SPLIT)
        with self.assertRaisesRegex(millstream.UsageError, "reads column `value` as text, but in the table it is int64"):
            split.process(pa.table({"value": [1]}))
        with self.assertRaisesRegex(millstream.UsageError, "reads a column `value` .text., which the table does not have"):
            split.process(pa.table({"line": ["x"]}))
        with self.assertRaisesRegex(TypeError, "__arrow_c_stream__.*this is list"):
            split.process([{"value": "x"}])
        reader = pa.table({"value": ["x"]}).to_reader()
        stream = reader.__arrow_c_stream__()
        self.assertEqual(words(split.process(stream)), ["x"])
        with self.assertRaisesRegex(millstream.UsageError, "was already read"):
            split.process(stream)

    def test_invalid_texts_are_reported(self):
        def texts(offsets, values):
            ends = pa.array(offsets, pa.int32()).buffers()[1]
            return pa.table({"value": pa.StringArray.from_buffers(len(offsets) - 1, ends, pa.py_buffer(values))})

        split = millstream.Plugin(SPLIT)
        self.assertEqual(words(split.process(texts([1, 3, 3, 6], b"?to be"))), ["to", "be"])
        self.assertEqual(words(split.process(texts([0, 3, 8], "é été".encode()))), ["é", "été"])
        wrong = {
            "goes back": ([0, 4, 2, 6], b"to be!"),
            "within a letter": ([0, 1, 8], "é été".encode()),
            "no text": ([0, 3, 6], b"to\xff be"),
        }
        for what, (offsets, values) in wrong.items():
            with self.subTest(what), self.assertRaisesRegex(millstream.UsageError, "not valid Arrow data"):
                split.process(texts(offsets, values))

    def test_an_error_of_the_table_itself_is_reported(self):
        def batches():
            yield pa.record_batch({"value": ["x"]})
            raise ValueError("the disk is gone")

        reader = pa.RecordBatchReader.from_batches(pa.schema({"value": pa.string()}), batches())
        with self.assertRaisesRegex(millstream.EnvironmentError, "the disk is gone"):
            millstream.Plugin(SPLIT).process(reader)


class Calls(unittest.TestCase):
    def test_large_tables_are_split_into_calls(self):
        table = pa.table({"value": [f"a b{row}" for row in range(50_000)]})
        out = millstream.Plugin(SPLIT, config={"lowercase": True}).process(table)
        self.assertEqual(words(out)[-2:], ["a", "b49999"])
        self.assertEqual(len(out.rows), 100_000)
        self.assertGreater(len(pa.table(out.rows)["word"].chunks), 1)

    def test_settings_are_checked_like_those_of_a_job(self):
        for settings, words in (
            ({"config": {"x": 1}}, "unknown field `x`"),
            ({"limits": {"time": "soon"}}, '`limits.time = "soon"` is not a time'),
            ({"limits": {"tim": "1s"}}, "did you mean `time`"),
            ({"on_error": "ignore"}, "`on_error = .ignore.` is unknown"),
            ({"config": {"separator": None}}, "`config` holds None"),
            ({"grant": {"tcp": ["x:1"]}}, "tcp"),
        ):
            with self.subTest(settings), self.assertRaisesRegex(millstream.UsageError, words):
                millstream.Plugin(SPLIT, **settings).process(pa.table({"value": ["x"]}))
        with self.assertRaisesRegex(millstream.UsageError, "plugin not found at"):
            millstream.Plugin(ROOT / "plugins" / "no-such")
        with self.assertRaisesRegex(millstream.UsageError, "of world transform: call `process`"):
            millstream.Plugin(SPLIT).aggregate(pa.table({"value": ["x"]}))
        with self.assertRaisesRegex(millstream.UsageError, 'write the key columns, for example key="user"'):
            millstream.Plugin(ROOT / "plugins" / "running-count").update(pa.table({"word": ["x"]}), key=[])

    def test_states_and_timers_are_passed_from_call_to_call(self):
        count = millstream.Plugin(ROOT / "plugins" / "running-count")
        first = count.update(pa.table({"word": ["a", "b", "a"]}), key="word")
        self.assertEqual({row["word"]: row["count"] for row in pa.table(first.rows).to_pylist()}, {"a": 2, "b": 1})
        second = count.update(pa.table({"word": ["a"]}), key="word", states=first.states, timers=first.timers)
        self.assertEqual(pa.table(second.rows).to_pylist(), [{"word": "a", "count": 3}])
        states = {row["word"]: row["count"] for row in pa.table(second.states).to_pylist()}
        self.assertEqual(states, {"a": 3, "b": 1})
        twice = pa.concat_tables([pa.table(first.states)] * 2)
        with self.assertRaisesRegex(millstream.UsageError, "appears twice in the table of states"):
            count.update(pa.table({"word": ["a"]}), key="word", states=twice)

    def test_a_failing_plugin_is_an_exception_with_its_traceback_or_rejects_rows(self):
        poison = ROOT / "tests" / "plugins" / "poison"
        with self.assertRaises(millstream.PluginError) as failure:
            millstream.Plugin(poison).process(pa.table({"value": ["good", "panic", "fine"]}))
        text = str(failure.exception)
        self.assertIn("failed in batch 1: panicked at", text)
        self.assertIn("backtrace, innermost call first:", text)
        out = millstream.Plugin(poison, on_error="reject").process(pa.table({"value": ["good", "panic", "fine"]}))
        self.assertEqual(len(out.rows), 2)
        rejected = pa.table(out.rejected).to_pylist()
        self.assertEqual([row["value"] for row in rejected], ["panic"])
        self.assertIn("panicked at", rejected[0]["reason"])

    def test_packages_come_from_registries_and_are_pinned(self):
        with tempfile.TemporaryDirectory() as folder:
            registry = Path(folder, "registry")
            program = str(millstream.program())
            subprocess.run([program, "push", SPLIT, "--registry", registry], check=True, capture_output=True)
            with self.assertRaisesRegex(millstream.UsageError, "is not pinned in"):
                millstream.Plugin("split-words@0.1.0", lock=folder)
            split = millstream.Plugin("split-words@0.1.0", lock=folder, registry=str(registry))
            self.assertEqual(words(split.process(pa.table({"value": LINES}))), WORDS)
            self.assertIn(split.digest, Path(folder, "millstream.lock").read_text())
            again = millstream.Plugin("split-words@0.1.0", lock=Path(folder, "millstream.lock"))
            self.assertEqual((again.digest, again.signers), (split.digest, []))
            # Replaces the pinned version by another component.
            lock = Path(folder, "millstream.lock")
            lock.write_text(lock.read_text().replace(split.digest[-8:], "00000000"))
            with self.assertRaises(millstream.MillstreamError):
                millstream.Plugin("split-words@0.1.0", lock=folder)

    def test_policies_apply(self):
        with tempfile.TemporaryDirectory() as folder:
            registry, policy = Path(folder, "registry"), Path(folder, "policy.toml")
            push = [millstream.program(), "push", SPLIT, "--registry", registry]
            subprocess.run(push, check=True, capture_output=True)
            pinned = {"lock": folder, "registry": str(registry)}
            millstream.Plugin("split-words@0.1.0", **pinned)
            with mock.patch.dict(os.environ, {"MILLSTREAM_POLICY": str(policy)}):
                key = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
                policy.write_text(f'[[registry]]\nat = "*"\nrequire = ["alice"]\n[signers]\nalice = ["{key}"]\n')
                for settings in (pinned, {"lock": folder}):
                    with self.assertRaisesRegex(millstream.MillstreamError, "sign"):
                        millstream.Plugin("split-words@0.1.0", **settings)
                policy.write_text("paths = false\n")
                with self.assertRaisesRegex(millstream.MillstreamError, "path"):
                    millstream.Plugin(SPLIT)

    def test_a_plugin_pickles_by_name_and_digest(self):
        with tempfile.TemporaryDirectory() as folder:
            component = Path(folder, "split.wasm")
            component.write_bytes((SPLIT / "split-words.wasm").read_bytes())
            split = millstream.Plugin(component, config={"lowercase": True})
            pickled = pickle.dumps(split)
            self.assertLess(len(pickled), 2000)
            again = pickle.loads(pickled)
            self.assertEqual(words(again.process(pa.table({"value": ["A"]}))), ["a"])
            component.write_bytes((ROOT / "plugins" / "sum" / "sum.wasm").read_bytes())
            with self.assertRaisesRegex(millstream.EnvironmentError, "give this machine the same component"):
                pickle.loads(pickled)


if __name__ == "__main__":
    unittest.main()
