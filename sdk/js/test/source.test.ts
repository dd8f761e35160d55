/** Sources, and their connections and datagrams. */

import assert from "node:assert/strict";
import test from "node:test";
import { config, configError, decodeText, int64, net, row, source, text } from "../src/index.ts";
import * as testing from "../src/testing.ts";

const Number = row({ n: int64, of: text });

const durable: string[] = [];

const numbers = source({ output: Number, config: { up_to: config.int64() }, doc: "Numbers, but for sevens" }, {
  check({ up_to }) {
    if (up_to < 0n) throw configError("there are no such numbers");
  },
  partitions: () => ["a", "b"],
  open({ up_to }, of, position) {
    let n = position === null ? 0n : BigInt(decodeText(position));
    return {
      poll(rows) {
        for (; n < up_to && rows.left > 0; n++) {
          if (n % 10n === 7n) rows.refuse("7", "a seven");
          else rows.push({ n, of });
        }
        return { position: String(n), ended: n === up_to };
      },
      durable: (position) => void durable.push(decodeText(position)),
    };
  },
});

test("a source resumes at its position", () => {
  const own = testing.source(numbers).config({ up_to: 9 });
  assert.equal(own.describe().doc, "Numbers, but for sevens");
  assert.deepEqual(own.partitions(), ["a", "b"]);
  const first = own.open("a").poll(6);
  assert.deepEqual([first.rows.length, first.ended, first.pauseMs], [6, false, 0]);
  const again = own.open("b", first.position);
  const rest = again.poll(6);
  assert.deepEqual(rest.rows, [{ n: 6n, of: "b" }, { n: 8n, of: "b" }]);
  assert.deepEqual(rest.refused, [{ data: Uint8Array.of(55), reason: "a seven" }]);
  assert.deepEqual([decodeText(rest.position!), rest.ended], ["9", true]);
  again.durable("x");
  again.published("y");
  assert.deepEqual(durable, ["x"]);
  assert.throws(() => testing.source(numbers).config({ up_to: -1 }).open(), /there are no such numbers/);
  assert.throws(() => testing.source(numbers).config({ upto: 1 }).describe(), /unknown field `upto`/);
});

test("a source has one partition by default, and returns no more rows than requested", () => {
  const three = source({ output: Number }, {
    open: () => ({
      poll(rows) {
        for (let i = 0; i < 3; i++) rows.push({ n: 1n, of: "" });
        return { pauseMs: 9 };
      },
    }),
  });
  assert.deepEqual(testing.source(three).partitions(), [""]);
  assert.equal(testing.source(three).open().poll(3).pauseMs, 9);
  assert.throws(() => testing.source(three).open().poll(2), /3 rows, including rejected ones, but at most 2/);
  assert.throws(() => testing.source(three).config({ a: 1 }).describe(), /takes no config/);
  const nothing = source({ output: Number }, { open: () => ({ poll: () => undefined as unknown as object }) });
  assert.throws(() => testing.source(nothing).open().poll(), /`poll` returned undefined: is a `return` missing\? Write `return {}`/);
});

/** Returns a source whose poll runs a test's function with a connection. */
function connected(use: (connection: net.Connection, lines: net.Lines) => string) {
  let lines: net.Lines;
  return source({ output: Number }, {
    open() {
      lines = new net.Lines(new net.Connection("host:1", 9), 10);
      return {
        poll(rows) {
          rows.push({ n: 0n, of: use(lines.connection, lines) });
          return {};
        },
      };
    },
  });
}

test("lines are complete however they are sent", () => {
  const answers = ["one\r\n\ntw", "o\nthree", " and more", null];
  let sent = 0;
  const kinds = (lines: net.Lines): string => {
    try {
      return lines.nextText(9);
    } catch (error) {
      assert.ok(error instanceof net.Fault);
      return `${error.kind}: ${error.message}`;
    }
  };
  const plugin = connected((connection, lines) => {
    const found = [kinds(lines)];
    for (const _ of answers) {
      connection.write("more", 9);
      found.push(kinds(lines), kinds(lines));
    }
    return found.join("|");
  });
  const own = testing.source(plugin).server("host:1", () => answers[sent++] ?? null);
  const timeout = "timeout: timed out";
  assert.equal(
    own.open().poll().rows[0]!.of,
    [timeout, "one", "", "two", timeout, "failed: a line of more than 10 bytes", "failed: a line of more than 10 bytes"].join("|") +
      "|failed: a line of more than 10 bytes|failed: a line of more than 10 bytes",
  );
  assert.throws(() => testing.source(plugin).open(), /no server at host:1/);
});

test("a closed connection is a fault, and so is an invalid address", () => {
  const plugin = connected((connection) => {
    connection.write("end", 9);
    assert.throws(() => connection.read(1, 9), (error) => net.Fault.is(error, "closed"));
    connection.close();
    assert.throws(() => connection.write("x", 9), (error) => net.Fault.is(error, "closed"));
    for (const address of ["nowhere", ":1", "host:", "host:x", "host:65536"]) {
      assert.throws(() => new net.Connection(address, 9), /is not an address; write it as `example.com:514`/);
    }
    return "";
  });
  testing.source(plugin).server("host:1", () => null).open().poll();
});

test("datagrams are received and truncated", () => {
  const plugin = source({ output: Number }, {
    open() {
      const datagrams = new net.Datagrams("127.0.0.1:9");
      return {
        poll(rows) {
          datagrams.send("127.0.0.1:1", "ping");
          const { data } = datagrams.receive(6, 9);
          rows.push({ n: BigInt(data.length), of: decodeText(data) });
          return {};
        },
      };
    },
  });
  const opened = testing.source(plugin).datagrams("127.0.0.1:9", "a long one").open();
  assert.deepEqual(opened.poll().rows, [{ n: 6n, of: "a long" }]);
  assert.throws(() => opened.poll(), (error) => net.Fault.is(error, "timeout"));
});
