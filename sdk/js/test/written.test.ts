/** Dates, decimals, structs and lists. */

import assert from "node:assert/strict";
import test from "node:test";
import { date, decimal, nested, nullable, row, transform, update } from "../src/index.ts";
import * as testing from "../src/testing.ts";
import { parse, write } from "../src/written.ts";

interface Item {
  readonly id: number | bigint;
  readonly sku: string | null;
}

const Sale = row({
  day: date,
  price: nullable(decimal(12, 2)),
  tags: nested<string[]>("list<text>"),
  item: nullable(nested<Item>("struct<id: int64, sku: text>")),
});

test("values are JSON values", () => {
  const plugin = transform({ input: Sale, output: Sale }, (sale) => ({ ...sale, day: "2027-01-01", tags: [...sale.tags, "é"] }));
  const run = testing.transform(plugin);
  const item = { id: 12345678901234567n, sku: null };
  const { rows } = run.run([
    { day: "2026-12-31", price: "1.50", tags: ["a"], item },
    { day: "2026-12-31", price: null, tags: [], item: null },
  ]);
  assert.deepEqual(rows, [
    { day: "2027-01-01", price: "1.50", tags: ["a", "é"], item },
    { day: "2027-01-01", price: null, tags: ["é"], item: null },
  ]);
  const wrong = transform({ input: Sale, output: Sale }, (sale) => ({ ...sale, tags: "a" as unknown as string[] }));
  assert.throws(
    () => testing.transform(wrong).run([{ day: "2026-12-31", price: null, tags: [], item: null }]),
    /the column `tags` needs an object or array, and got the string "a"/,
  );
});

test("states are kept and removed", () => {
  const Total = row({ units: decimal(12, 2), last: date, seen: nested<string[]>("list<text>") });
  const Key = row({ day: date });
  const plugin = update({ key: Key, input: Sale, state: Total }, (sales, state, { key }) => {
    if (sales.some(({ price }) => price === "13.00")) return null;
    return { units: "1.00", last: key.day, seen: [...(state?.seen ?? []), ...sales.flatMap(({ tags }) => tags)] };
  });
  const run = testing.update(plugin).key("day date");
  const sale = (price: string | null, tags: string[]) => ({ day: "2026-12-31", price, tags, item: null });
  run.run([sale(null, ["a"])]);
  run.run([sale("1.00", ["b"])]);
  assert.deepEqual(run.states(), [{ day: "2026-12-31", units: "1.00", last: "2026-12-31", seen: ["a", "b"] }]);
  run.run([sale("13.00", [])]);
  assert.deepEqual(run.states(), []);
});

test("integers are exact", () => {
  const text = '{"a":12345678901234567,"b":"12345678901234567 \\"99999999999999999","c":[-9223372036854775808,5],"d":1.2345678901234567,"e":1e300}';
  const value = parse(text);
  assert.deepEqual(value, {
    a: 12345678901234567n,
    b: '12345678901234567 "99999999999999999',
    c: [-9223372036854775808n, 5],
    d: 1.2345678901234567,
    e: 1e300,
  });
  assert.equal(write(value), text.replace("1e300", "1e+300"));
});
