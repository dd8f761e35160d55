import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("resumes at its position", () => {
  const lines = ["to\n", "be\n", "\xff\n", "or\n"];
  const source = testing
    .source(plugin)
    .config({ address: "example.com:7000" })
    .server("example.com:7000", (told) => Buffer.from(lines.slice(Number(told.slice("FROM ".length))).join(""), "latin1"));
  const first = source.open().poll(2);
  assert.deepEqual(first.rows, [
    { number: 0n, text: "to" },
    { number: 1n, text: "be" },
  ]);
  const rest = source.open("", first.position).poll();
  assert.deepEqual(rest.rows, [{ number: 3n, text: "or" }]);
  assert.deepEqual(rest.refused, [{ data: Uint8Array.of(0xff), reason: "it is not valid UTF-8" }]);
});
