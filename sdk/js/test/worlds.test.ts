/** What plugin functions may take and return, through the test runner. */

import assert from "node:assert/strict";
import test from "node:test";
import {
  aggregate,
  binary,
  bool,
  cogroup,
  float64,
  int64,
  integer,
  keyed,
  migration,
  nullable,
  Rejection,
  row,
  text,
  timestamp,
  transform,
  update,
} from "../src/index.ts";
import * as testing from "../src/testing.ts";

const All = row({
  flag: bool,
  int: int64,
  number: integer,
  float: float64,
  text,
  bytes: binary,
  at: timestamp,
  "maybe flag": nullable(bool),
  maybe_int: nullable(int64),
  maybe_number: nullable(integer),
  maybe_text: nullable(text),
  maybe_bytes: nullable(binary),
  type: nullable(timestamp),
  ["__proto__"]: nullable(float64),
});

const ALL = [
  {
    flag: true,
    int: -1n,
    number: -(2n ** 53n) + 1n,
    float: 0.5,
    text: "ü",
    bytes: Uint8Array.of(0, 255),
    at: 7n,
    "maybe flag": false,
    maybe_int: -(2n ** 63n),
    maybe_number: 2n ** 53n - 1n,
    maybe_text: "",
    maybe_bytes: Uint8Array.of(1),
    type: 0n,
    ["__proto__"]: 1.5,
  },
  {
    flag: false,
    int: 2n ** 63n - 1n,
    number: 4294967296n,
    float: -1e300,
    text: "plain",
    bytes: new Uint8Array(0),
    at: -7n,
    "maybe flag": null,
    maybe_int: null,
    maybe_number: null,
    maybe_text: null,
    maybe_bytes: null,
    type: null,
    ["__proto__"]: null,
  },
];

test("every type goes through unchanged", () => {
  const same = transform({ input: All, output: All }, (row) => row);
  for (const times of [1, 5, 16]) {
    const rows = Array.from({ length: times }, () => ALL).flat();
    assert.deepEqual(testing.transform(same).run(rows), { rows, rejected: [] });
  }
  const { input, output } = testing.transform(same).describe();
  assert.deepEqual(input, output);
  assert.equal(input?.[2]?.type, "int64");
});

const N = row({ n: integer });
const Text = row({ text });

test("functions return rows in several ways", () => {
  const rows = [{ n: 2 }, { n: 3 }, { n: 0 }];
  const run = (plugin: ReturnType<typeof transform>) => testing.transform(plugin).run(rows).rows.map(({ n }) => n);
  assert.deepEqual(run(transform({ input: N, output: N }, (row) => (row.n % 2 === 0 ? row : null))), [2n, 0n]);
  assert.deepEqual(run(transform({ input: N, output: N }, ({ n }) => [{ n }, { n: n + 1 }])), [2n, 3n, 3n, 4n, 0n, 1n]);
  const down = transform({ input: N, output: N }, function* ({ n }) {
    while (n > 0) yield { n: --n };
  });
  assert.deepEqual(run(down), [1n, 0n, 2n, 1n, 0n]);
  assert.deepEqual(run(transform({ input: N, output: N }, (row, { out }) => out.push(row))), [2n, 3n, 0n]);
});

test("the output of a rejected row is removed", () => {
  const halves = transform({ input: Text, output: Text }, ({ text }, { out }) => {
    for (const part of text.split(";")) {
      if (part === "bad") throw new Rejection("a bad part");
      if (part === "worse") return new Rejection(new Error("a worse part"));
      out.push({ text: part });
    }
    return null;
  });
  const rows = ["a;b", "c;bad", null, "d", "worse"].map((text) => ({ text }));
  const run = testing.transform(halves).run(rows);
  assert.deepEqual(run.rows, [{ text: "a" }, { text: "b" }, { text: "d" }]);
  assert.deepEqual(run.rejected, [
    { row: 1, reason: "a bad part" },
    { row: 2, reason: "column `text` is null" },
    { row: 4, reason: "a worse part" },
  ]);
});

test("no integer is rounded", () => {
  const twice = transform({ input: N, output: N }, ({ n }) => ({ n: n * 2 }));
  const large = 2n ** 53n;
  const run = testing.transform(twice).run([{ n: 1 }, { n: large }, { n: -large }, { n: null }]);
  assert.deepEqual(run.rows, [{ n: 2n }]);
  assert.deepEqual(run.rejected, [
    { row: 1, reason: `column \`n\` is ${large}, which is beyond what a number holds exactly` },
    { row: 2, reason: `column \`n\` is ${-large}, which is beyond what a number holds exactly` },
    { row: 3, reason: "column `n` is null" },
  ]);
  assert.throws(() => testing.transform(twice).run([{ n: large - 1n }]), /needs an integer up to 2\^53 - 1/);
  const Big = row({ n: int64 });
  const beyond = transform({ input: Big, output: Big }, ({ n }) => ({ n: n + 1n }));
  assert.throws(() => testing.transform(beyond).run([{ n: 2n ** 63n - 1n }]), /needs a bigint of 64 bits/);
});

test("a return value that is not a row fails the call with a message", () => {
  const run = (returned: unknown) => {
    const plugin = transform({ input: N, output: Text }, () => returned as { text: string });
    return () => testing.transform(plugin).run([{ n: 1 }]);
  };
  assert.throws(run({ text: 5 }), /the column `text` needs a string, and got the number 5/);
  assert.throws(run({}), /the column `text` needs a string, and got undefined/);
  assert.throws(run(Promise.resolve({ text: "" })), /cannot be async/);
  assert.throws(run("text"), /which is not a row/);
});

const User = row({ user: text });
const Seen = row({ last: nullable(text), count: integer });
const Said = row({ user: text, text });

const remember = update(
  { key: User, input: Text, state: Seen, output: Said },
  (rows, state, { key, out }) => {
    for (const { text } of rows) {
      out.push({ user: key.user, text: `${state?.last ?? "nothing"}, ${text}` });
      if (text === "bad") throw new Rejection("a bad word");
      if (text === "bye") return null;
      state = { last: text, count: (state?.count ?? 0) + 1 };
    }
    return state;
  },
);

test("a state is kept, removed, and unchanged if rows are rejected", () => {
  const plugin = testing.update(remember).key("user text");
  assert.deepEqual(plugin.run([{ user: "ann", text: "hello" }, { user: "bob", text: "hi" }]).rows, [
    { user: "ann", text: "nothing, hello" },
    { user: "bob", text: "nothing, hi" },
  ]);
  const run = plugin.run([
    { user: "bob", text: "bye" },
    { user: "ann", text: "well" },
    { user: "ann", text: null },
    { user: "ann", text: "bad" },
  ]);
  assert.deepEqual(run.rows, [{ user: "bob", text: "hi, bye" }]);
  assert.deepEqual(run.rejected, [
    { row: 1, reason: "a bad word" },
    { row: 2, reason: "column `text` is null" },
    { row: 3, reason: "a bad word" },
  ]);
  assert.deepEqual(plugin.states(), [{ user: "ann", last: "hello", count: 1n }]);
});

test("timers call a key without rows, once, and are canceled", () => {
  const Order = row({ at: timestamp });
  const open = update({ input: Order, state: Order, output: keyed(Order), timers: true }, (orders, state, { timers, out }) => {
    for (const { at } of orders) {
      timers.set(at);
      timers.cancel(at + 5_000_000n);
      state = { at };
    }
    for (const at of timers.due()) out.push({ at });
    return state;
  });
  const plugin = testing.update(open).key("user text");
  plugin.run([{ user: "ann", at: 2_000_000n }, { user: "ann", at: 7_000_000n }]);
  assert.deepEqual(plugin.run([]).rows, [{ user: "ann", at: 2_000_000n }]);
  assert.deepEqual(plugin.run([{ user: "ann", at: 2_000_000n }]).rows, [], "7 s is cancelled, 2 s is set anew");
  assert.deepEqual(plugin.run([]).rows, [{ user: "ann", at: 2_000_000n }]);
  const without = update({ input: Order, state: Order }, (_, state, { timers }) => (timers.set(1n), state));
  assert.throws(() => testing.update(without).key("user text").run([{ user: "ann", at: 1n }]), /needs `timers: true`/);
});

test("an aggregate receives its key, and may have an inverse", () => {
  const Sum = row({ sum: float64, count: integer });
  const Mean = row({ mean: float64, title: text });
  const mean = aggregate(
    { key: User, input: row({ price: float64 }), accumulator: Sum, output: Mean },
    {
      lift: ({ price }) => (price < 0 ? new Rejection("below zero") : { sum: price, count: 1 }),
      combine: (left, right) => ({ sum: left.sum + right.sum, count: left.count + right.count }),
      lower: ({ sum, count }, { key }) => ({ mean: sum / count, title: `of ${key.user}` }),
      inverse: (whole, part) => ({ sum: whole.sum - part.sum, count: whole.count - part.count }),
    },
  );
  const plugin = testing.aggregate(mean).key("user text");
  const rows = [{ user: "ann", price: 1 }, { user: "ann", price: 3 }];
  assert.deepEqual(plugin.run(rows).rows, [{ user: "ann", mean: 2, title: "of ann" }]);
  assert.equal(plugin.describe().inverse, true);
  assert.throws(() => plugin.run([{ user: "ann", price: -1 }]), /row 0: below zero/);
  assert.throws(() => plugin.run([{ user: "ann", price: null }]), /row 0: column `price` is null/);
});

test("several inputs are grouped by key, also with any columns, and their rows rejected", () => {
  const Count = row({ texts: integer, others: integer });
  const count = cogroup({ key: User, inputs: [Text, null], output: keyed(Count) }, ([texts, others], { key }) => {
    if (key.user === "nobody") throw new Rejection("nobody");
    return [{ texts: texts.length, others: others.length }];
  });
  const run = testing.cogroup(count).key("user text").run([
    [{ user: "ann", text: "a" }, { user: "nobody", text: "b" }, { user: "ann", text: null }],
    [{ user: "bob" }, { user: "nobody" }],
  ]);
  assert.deepEqual(run.rows, [
    { user: "ann", texts: 1n, others: 0n },
    { user: "bob", texts: 0n, others: 1n },
  ]);
  assert.deepEqual(run.rejected, [
    { row: 1, reason: "column `text` is null" },
    { row: 2, reason: "nobody" },
    { row: 3, reason: "nobody" },
  ]);
});

test("a function on columns receives the readable rows, and may reject some", () => {
  const Item = row({ price: float64, name: nullable(text), n: int64 });
  const Product = row({ product: float64, name: nullable(text) });
  const plugin = transform.columns({ input: Item, output: Product }, ({ price, name, n }, { rows, reject }) => {
    assert.ok(price instanceof Float64Array && n instanceof BigInt64Array && price.length === rows);
    n.forEach((n, i) => n < 0n && reject(i, "below zero"));
    return { product: price.map((price, i) => price * Number(n[i])), name };
  });
  const run = testing.transform(plugin).run([
    { price: 2, name: "a", n: 3n },
    { price: null, name: "b", n: 1n },
    { price: 1, name: "c", n: -1n },
    { price: 5, name: null, n: 2n },
  ]);
  assert.deepEqual(run.rows, [{ product: 6, name: "a" }, { product: 10, name: null }]);
  assert.deepEqual(run.rejected, [
    { row: 1, reason: "column `price` is null" },
    { row: 2, reason: "below zero" },
  ]);
});

test("a missing return is an error if rows or states would be lost", () => {
  const words = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      return (error as Error).message;
    }
    return "no error";
  };
  const asked = "is a `return` missing?";
  const forget = (): any => {};
  const state = update({ input: Text, state: Text }, (rows, old) => (old ? forget() : { text: rows[0]!.text }));
  const states = testing.update(state).key("user text");
  states.run([{ user: "ann", text: "a" }]);
  const hint = "The key would lose its state. To remove the key, write `return null`.";
  const message = words(() => states.run([{ user: "ann", text: "b" }]));
  assert.equal(message, `the function of \`update\` returned undefined: ${asked} ${hint}`);
  assert.deepEqual(states.states(), [{ user: "ann", text: "a" }]);

  const rows = transform({ input: Text, output: Text }, forget);
  assert.match(words(() => testing.transform(rows).run([{ text: "a" }])), /^`forget` returned undefined: .*return null/);
  const some = transform({ input: N, output: N }, ({ n }, call) => (n === 1 ? call.out.push({ n }) : undefined));
  assert.deepEqual(testing.transform(some).run([{ n: 1 }]).rows, [{ n: 1n }]);
  assert.match(words(() => testing.transform(some).run([{ n: 1 }, { n: 2 }])), /returned undefined/);
  const columns = transform.columns({ input: Text, output: Text }, forget);
  assert.match(words(() => testing.transform(columns).run([{ text: "a" }])), /^`forget` returned undefined/);
  const both = cogroup({ inputs: [Text, null], output: Text }, forget);
  const run = () => testing.cogroup(both).key("user text").run([[{ user: "ann", text: "a" }], []]);
  assert.match(words(run), /^`forget` returned undefined/);

  const same = (text: any): any => text;
  for (const step of ["lift", "combine", "lower"]) {
    const functions = { lift: same, combine: same, lower: same, [step]: () => {} };
    const plugin = testing.aggregate(aggregate({ input: Text, accumulator: Text, output: Text }, functions)).key("user text");
    const twice = [{ user: "ann", text: "a" }, { user: "ann", text: "b" }];
    assert.ok(words(() => plugin.run(twice)).includes(`${step}\` returned undefined: ${asked}`), words(() => plugin.run(twice)));
  }
  const migrating = update({ state: Text, migrations: [migration(N, forget)] }, (_, old) => old);
  assert.match(words(() => testing.update(migrating).migrate("0.1.0", N, [{ n: 1 }])), /^`forget` returned undefined/);
});

const Count = row({ count: integer });
const Named = row({ count: int64, name: nullable(text) });
const Counts = row({ all: integer, most: nullable(integer) });

const counts = update(
  {
    state: Counts,
    migrations: [
      migration(Count, ({ count }) => ({ all: count, most: null })),
      migration(Named, ({ count, name }) => ({ all: Number(count), most: name?.length ?? null })),
    ],
  },
  (rows, old) => ({ all: (old?.all ?? 0) + rows.length, most: Math.max(old?.most ?? 0, rows.length) }),
);

test("states of other versions are converted, by their columns", () => {
  const states = testing.update(counts);
  assert.deepEqual(states.migrate("0.1.0", Count, [{ count: 7 }, { count: -1 }]), [
    { all: 7n, most: null },
    { all: -1n, most: null },
  ]);
  assert.deepEqual(states.migrate("0.2.0", Named, [{ count: 1, name: "abc" }]), [{ all: 1n, most: 3n }]);
  const other = row({ count: nullable(integer) });
  const words =
    "states of version 0.3.0 have the columns (count int64 or null); expected (count int64) or (count int64, name text or null)";
  assert.throws(() => states.migrate("0.3.0", other, []), { message: words });
  assert.throws(() => states.migrate("0.1.0", Count, [{ count: 2n ** 60n }]), /state 0: column `count` is 1152921504606846976/);
});
