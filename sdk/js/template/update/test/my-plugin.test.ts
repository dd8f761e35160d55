import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("keeps the balance", () => {
  const balances = testing.update(plugin).key("user text");
  balances.run([
    { user: "ann", amount: 3 },
    { user: "ann", amount: 4 },
  ]);
  const run = balances.run([{ user: "ann", amount: -2 }]);
  assert.deepEqual(run.rows, [{ user: "ann", balance: 5, closed: false }]);
  // Tests return `int64` columns as bigints, even if the plugin reads them as numbers.
  assert.deepEqual(balances.states(), [{ user: "ann", balance: 5, payments: 3n }]);

  const last = balances.timeOut({ user: "ann" });
  assert.deepEqual(last.rows, [{ user: "ann", balance: 5, closed: true }]);
  assert.deepEqual(balances.states(), []);
});
