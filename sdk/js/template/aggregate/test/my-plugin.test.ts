import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("is the mean", () => {
  const rows = [
    { shop: "a", price: 1 },
    { shop: "b", price: 7 },
    { shop: "a", price: 2 },
  ];
  const run = testing.aggregate(plugin).key("shop text").run(rows);
  assert.deepEqual(run.rows, [
    { shop: "a", mean: 1.5 },
    { shop: "b", mean: 7 },
  ]);
});
