import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";

test("a batch and its ID are stored atomically", () => {
  const kept: { batch: number; rows: string[] }[] = [];
  let owner = 0;
  let own = 0;
  let rows: string[] = [];
  const answer = (line: string): string => {
    const [word, first, second] = line.split(" ");
    if (word === "OPEN") owner = Math.max(owner, (own = Number(second)));
    if (word === "BEGIN") rows = [];
    if (word === "ROW") rows.push(line.slice("ROW ".length));
    if (word === "COMMIT" && own === owner) kept.push({ batch: Number(first), rows });
    if (word === "BEGIN" || word === "ROW") return "";
    return own < owner ? "LOST\n" : `LAST ${kept.at(-1)?.batch ?? 0}\n`;
  };
  const sink = testing
    .sink(plugin)
    .config({ address: "example.com:7100" })
    .server("example.com:7100", (request) => request.trimEnd().split("\n").map(answer).join(""));

  const first = sink.open("job", 1);
  assert.equal(first.last, null);
  const refused = first.batch(3, [{ name: "a", amount: 1.5 }, { name: "b c", amount: 2 }]);
  assert.deepEqual(refused, [{ row: 1, reason: "a name is one word" }]);
  // The connection is lost in the middle of a batch.
  first.begun(4, [{ name: "d", amount: 4 }]);
  assert.equal(sink.committed("job"), 3);

  const second = sink.open("job", 2);
  assert.equal(second.last, 3);
  second.batch(4, [{ name: "e", amount: 5 }]);
  assert.throws(() => sink.open("job", 1), /a later start of the job/);
  assert.deepEqual(kept, [{ batch: 3, rows: ["a 1.5"] }, { batch: 4, rows: ["e 5"] }]);
});
