import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("adds the tax", () => {
  const rows = [
    { name: "ann", amount: 100 },
    { name: "bob", amount: -1 },
  ];
  const run = testing.transform(plugin).config({ tax: 25 }).run(rows);
  assert.deepEqual(run.rows, [{ name: "ann", total: 125 }]);
  assert.deepEqual(run.rejected, [{ row: 1, reason: "the amount -1 is below zero" }]);
});
