/** Parts that plugin functions do not see. */

import assert from "node:assert/strict";
import test from "node:test";
import { show } from "../src/console.ts";
import { config, fromDate, position, PluginError, row, text, toDate, transform } from "../src/index.ts";
import { describeError } from "../src/stack.ts";
import { Stage } from "../src/stage.ts";
import * as testing from "../src/testing.ts";
import { decode, encode } from "../src/utf8.ts";

function roundTrip(texts: readonly string[]): string[] {
  const { data, offsets } = encode(texts);
  const expected = new TextEncoder().encode(texts.map((text) => text.toWellFormed()).join(""));
  assert.deepEqual(Buffer.from(data), Buffer.from(expected));
  const decoded = decode(data, new Int32Array(offsets.buffer, offsets.byteOffset, offsets.length / 4));
  return texts.map((_, i) => decoded.text.substring(decoded.offsets[i]!, decoded.offsets[i + 1]!));
}

test("texts survive UTF-8", () => {
  const all = ["", "plain", "ü", "é%41%", "\0\x7f", "日本", "😀", "a😀", "\u0080\u07ff\u0800\uffff", "", "end"];
  assert.deepEqual(roundTrip(all), all);
  assert.deepEqual(roundTrip(["only", "", "ascii"]), ["only", "", "ascii"]);
  assert.deepEqual(roundTrip([]), []);
  for (let seed = 1; seed < 200; seed++) {
    const texts = Array.from({ length: seed % 9 }, (_, i) => all[(seed * 7 + i * i) % all.length]!.repeat((seed + i) % 4));
    assert.deepEqual(roundTrip(texts), texts);
  }
});

test("halves of surrogate pairs are not joined", () => {
  assert.deepEqual(roundTrip(["a\ud83d", "\ude00b"]), ["a\ufffd", "\ufffdb"]);
});

test("a config is checked field by field", () => {
  const Line = row({ text });
  const fields = {
    at_least: config.int64(),
    rate: config.number({ default: 1 }),
    mode: config.optional(config.oneOf(["a", "b"])),
    kinds: config.list(config.string(), { default: [] }),
    rule: config.optional(config.list(config.object({ by: config.number() }))),
  };
  const seen: unknown[] = [];
  const plugin = transform({ input: Line, output: Line, config: fields }, (_, { config }) => (seen.push(config), null));
  const run = (config: unknown) => testing.transform(plugin).config(config).run([{ text: "" }]);
  run({ at_least: 5 });
  assert.deepEqual(seen.pop(), { at_least: 5n, rate: 1, mode: undefined, kinds: [], rule: undefined });
  const refused: [unknown, string][] = [
    [{}, "missing field `at_least`"],
    [{ at_least: 1, at_most: 2 }, "unknown field `at_most`, expected one of `at_least`, `rate`, `mode`, `kinds`, `rule`"],
    [{ at_least: 1.5 }, "at_least: invalid type: floating point `1.5`, expected i64"],
    [{ at_least: "ten" }, 'at_least: invalid type: string "ten", expected i64'],
    [{ at_least: 1, rate: null }, "rate: invalid type: null, expected f64"],
    [{ at_least: 1, mode: "c" }, "mode: unknown variant `c`, expected `a` or `b`"],
    [{ at_least: 1, kinds: ["a", 2] }, "kinds[1]: invalid type: integer `2`, expected a string"],
    [{ at_least: 1, rule: [{ by: "x" }] }, 'rule[0].by: invalid type: string "x", expected f64'],
    [{ at_least: 1, rule: [{}] }, "rule[0]: missing field `by`"],
  ];
  for (const [config, message] of refused) {
    assert.throws(() => run(config), (error) => error instanceof PluginError && error.kind === "config" && error.message === message);
  }
  const none = transform({ input: Line, output: Line }, (row) => row);
  assert.throws(() => testing.transform(none).config({ x: 1 }).describe(), /this plugin takes no config/);
  assert.deepEqual(JSON.parse(testing.transform(plugin).config({ at_least: 1 }).describe().configSchema ?? "").required, ["at_least"]);
});

test("large integers of a config are exact", () => {
  const stage = new Stage('{"n": 9223372036854775807, "s": "9223372036854775807", "f": 1e300, "small": -12}');
  assert.deepEqual(stage.config(), { n: 9223372036854775807n, s: "9223372036854775807", f: 1e300, small: -12 });
});

test("columns are found by name and type", () => {
  const fields = [{ name: "n", type: "int64", nullable: true }] as const;
  assert.equal(position(fields, "n", "int64"), 0);
  assert.throws(() => position(fields, "m", "int64"), /the input has no column `m`; it has: n int64/);
  assert.throws(() => position(fields, "n", "text"), /column `n` is int64, but must be text/);
});

test("dates have milliseconds, timestamps microseconds", () => {
  assert.equal(toDate(-1n).getTime(), -1);
  assert.equal(toDate(1_999n).getTime(), 1);
  assert.equal(fromDate(new Date(5)), 5000n);
});

test("traces only show the author's sources", () => {
  // One segment per line: lines 1 and 2 of the program are lines 11 and 5 of a.ts; line 3 is from a source without a name.
  globalThis.millstreamSourceMap = { sources: ["src/a.ts", ""], mappings: "AAUE;AANA;ACAA" };
  const error = new RangeError("too far");
  error.stack = "    at g (/plugin.js:2:26)\n    at f (/plugin.js:3:1)\n    at sdk (/plugin.js:4:1)\n    at map (native)\n";
  const words = describeError(new Error("above", { cause: error }));
  globalThis.millstreamSourceMap = undefined;
  assert.match(words, /Error: above\ncaused by RangeError: too far\n    at g \(src\/a.ts:11:3\)\n    at f \(src\/a.ts:5:3\)\n    at map \(native\)$/);
  assert.equal(describeError("a text"), "thrown: a text");
});

test("the console shows values", () => {
  const circle: Record<string, unknown> = { n: 1n, list: [1, "a"], map: new Map([["k", null]]), bytes: Uint8Array.of(1, 2) };
  circle["self"] = circle;
  assert.equal(show(circle), '{ n: 1n, list: [1, "a"], map: Map { k: null }, bytes: Uint8Array [1, 2], self: [circular] }');
  assert.equal(show("text"), "text");
});
