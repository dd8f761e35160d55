/** Sinks, and HTTP requests. */

import assert from "node:assert/strict";
import test from "node:test";
import { columns, config, configError, decodeText, float64, http, integer, net, row, sink, text } from "../src/index.ts";
import * as testing from "../src/testing.ts";

const Entry = row({ name: text, amount: integer });

/** Calls of the sink below. */
let calls: unknown[] = [];

const ledger = sink(
  { input: Entry, promise: ({ loose }) => (loose ? "at-least-once" : "exactly-once"), config: { loose: config.boolean({ default: false }), last: config.whole({ default: 0 }) }, doc: "Entries" },
  {
    check({ last }) {
      if (last < 0) throw configError("there is no such batch");
    },
    committed: ({ last }, { job, jobId, sink }) => (calls.push([job, jobId, sink]), last || null),
    open: ({ last }, { generation, identity }) => ({
      last: last || null,
      begin: (batch, time) => void calls.push([batch, time, generation, identity.jobId]),
      write(rows) {
        assert.equal(rows.length, rows.batch.rows);
        for (const [index, entry] of rows.entries()) {
          if (entry.amount < 0) rows.refuse(index, new Error("it is owed"));
        }
        calls.push([...rows]);
      },
      commit: (batch) => void calls.push(batch),
    }),
  },
);

test("a sink receives its batches and reports rejected rows", () => {
  calls = [];
  const own = testing.sink(ledger);
  const { doc, promise, input } = own.describe();
  assert.deepEqual([doc, promise, input.map(({ name }) => name)], ["Entries", "exactly-once", ["name", "amount"]]);
  assert.equal(testing.sink(ledger).config({ loose: true }).describe().promise, "at-least-once");
  assert.equal(own.committed("id"), null);
  const writer = own.open("id", 7);
  assert.equal(writer.last, null);
  const refused = writer.batch(4, [{ name: "a", amount: 1 }, { name: "b", amount: -1 }, { name: "c", amount: 2n ** 60n }]);
  assert.deepEqual(refused, [
    { row: 1, reason: "it is owed" },
    { row: 2, reason: `column \`amount\` is ${2n ** 60n}, which is beyond what a number holds exactly` },
  ]);
  writer.begun(5, []);
  assert.deepEqual(calls, [["test", "id", "out"], [4, 4_000_000n, 7, "id"], [{ name: "a", amount: 1 }], 4, [5, 5_000_000n, 7, "id"], []]);
  const later = testing.sink(ledger).config({ last: 9 });
  assert.deepEqual([later.committed("id"), later.open().last], [9, 9]);
  assert.throws(() => testing.sink(ledger).config({ last: -1 }).open(), /there is no such batch/);
  assert.throws(() => testing.sink(ledger).config({ lost: 1 }).describe(), /unknown field `lost`/);
});

test("a sink accepts any columns, or selects some", () => {
  const rows: unknown[] = [];
  const writer = { write: (of: Iterable<unknown>) => void rows.push(...of), commit: () => {} };
  const any = sink({ promise: "at-least-once" }, { open: () => writer });
  testing.sink(any).input("a text, n int64").open().batch(1, [{ a: null, n: 1 }]);
  const some = sink(
    { promise: "at-least-once", config: { names: config.list(config.string()) }, input: ({ names }, given) => columns(given, names) },
    { open: () => writer },
  );
  const own = testing.sink(some).input("a text, n int64, x float64");
  own.config({ names: ["x", "a"] }).open().batch(1, [{ a: "b", x: 0.5 }]);
  assert.deepEqual(rows, [{ a: null, n: 1n }, { x: 0.5, a: "b" }]);
  assert.throws(() => own.config({ names: ["y"] }).describe(), /the input has no column `y`; it has: a, n, x/);
});

test("missing and wrong parts are reported", () => {
  const open = () => ({ write: () => {}, commit: () => {} });
  assert.throws(() => testing.sink(sink({ promise: "exactly-once" }, { open })).describe(), /must have a function `committed`/);
  const nothing = sink({ promise: "at-least-once" }, { open: () => undefined as unknown as ReturnType<typeof open> });
  assert.throws(() => testing.sink(nothing).open(), /`open` returned undefined: is a `return` missing\?/);
  const behind = sink({ promise: "at-least-once", input: Entry }, { open: () => ({ ...open(), write: (rows) => rows.refuse(1, "") }) });
  assert.throws(() => testing.sink(behind).open().batch(1, [{ name: "", amount: 0 }]), /row 1 is rejected, but there are 1 rows/);
});

test("servers of the test respond to HTTP requests", () => {
  const answers: unknown[] = [];
  const asking = sink({ promise: "at-least-once", input: row({ n: float64 }) }, {
    open: () => ({
      write() {
        const { status, headers, body } = http.request("https://example.com/a?b=c#d", { method: "PUT", headers: { "X-A": "1" }, body: "ä" });
        answers.push([status, headers["x-b"], decodeText(body)], http.get("http://example.com").status);
        const faults = ["https://example.org/secret", "https://gone.example/", "ftp://example.com", "https://user@example.com"].map((url) => {
          try {
            return http.get(url).status;
          } catch (error) {
            assert.ok(net.Fault.is(error, "failed"));
            return error.message;
          }
        });
        answers.push(...faults);
      },
      commit: () => {},
    }),
  });
  testing
    .sink(asking)
    .http("https://example.com", (request) => {
      assert.deepEqual(request, { method: "PUT", path: "/a?b=c", headers: { "x-a": "1" }, body: "ä" });
      return { status: 201, headers: { "X-B": "2" }, body: "ok" };
    })
    .http("http://example.com", ({ path }) => (path === "/" ? 204 : 404))
    .http("https://gone.example", () => null)
    .open()
    .batch(1, [{ n: 1 }]);
  assert.deepEqual(answers, [
    [201, "2", "ok"],
    204,
    "GET https://example.org: no such server",
    "GET https://gone.example: connection terminated",
    "this is not an address; write it as `https://example.com/feed`",
    "this is not an address; write it as `https://example.com/feed`",
  ]);
});
