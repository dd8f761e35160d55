import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("returns the open amounts", () => {
  const orders = [
    { user: "ann", amount: 3 },
    { user: "bob", amount: 1 },
    { user: "ann", amount: 4 },
  ];
  const payments = [
    { user: "ann", paid: 5 },
    { user: "bob", paid: 1 },
  ];
  const run = testing.cogroup(plugin).key("user text").run([orders, payments]);
  assert.deepEqual(run.rows, [{ user: "ann", orders: 2n, open: 2 }]);
});
