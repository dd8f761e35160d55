import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";
import { cut, digest, escaped, partsOf } from "../src/line.ts";

const URL = "https://hooks.example.com/services/secret";

/** A sink with a webhook that answers so; and the messages that it gets, with their keys. */
function posting(config: object, answer: (text: string) => testing.TestResponse = () => 200) {
  const posted: [key: string, text: string][] = [];
  const sink = testing
    .sink(plugin)
    .config({ url: URL, ...config })
    .input("user text, amount int64, at timestamp")
    .http("https://hooks.example.com", ({ method, path, headers, body }) => {
      assert.deepEqual([method, path, headers["content-type"]], ["POST", "/services/secret", "application/json"]);
      const { text } = JSON.parse(body) as { text: string };
      const [, key, row] = /^(.*)-[0-9a-f]{16}((?:\.\d+)?)$/.exec(headers["idempotency-key"]!)!;
      posted.push([key! + row!, text]);
      return answer(text);
    });
  return { sink, posted };
}

const rows = (...users: string[]) => users.map((user, at) => ({ user, amount: at, at: null }));

test("rows are lines of messages", () => {
  const { sink, posted } = posting({ template: "*{user}* paid {{{amount}}}", rows_per_message: 2 });
  assert.equal(sink.describe().promise, "at-least-once");
  assert.deepEqual(sink.open().batch(7, rows("ada", "<!here>", "c\nd")), []);
  assert.deepEqual(posted, [
    ["job/out/7/1", "*ada* paid {0}\n*&lt;!here&gt;* paid {1}"],
    ["job/out/7/2", "*c d* paid {2}"],
  ]);
});

test("without a template all columns are shown", () => {
  const { sink, posted } = posting({});
  sink.open().batch(1, [{ user: null, amount: 2n ** 60n, at: 1_000_001n }]);
  assert.deepEqual(posted, [["job/out/1/1", `user: -, amount: ${2n ** 60n}, at: 1970-01-01T00:00:01.000Z`]]);
});

test("messages and values are bounded", () => {
  const { sink, posted } = posting({ template: "{user}", message_chars_max: 10, value_chars_max: 6 });
  sink.open().batch(1, rows("abcdef", "abc", "ab", "abcdefgh"));
  assert.deepEqual(posted.map(([, text]) => text), ["abcdef\nabc", "ab\nabcde…"]);
});

test("rows of a message that is refused are told apart", () => {
  const refuses = (text: string) => (text.includes("bad") ? { status: 400, body: "invalid_payload" } : 200);
  const { sink, posted } = posting({ template: "{user}" }, refuses);
  const refused = sink.open().batch(1, rows("a", "bad", "c"));
  assert.deepEqual(refused, [{ row: 1, reason: "the webhook replied with 400: invalid_payload" }]);
  assert.deepEqual(posted.map(([key]) => key), ["job/out/1/1", "job/out/1/1.1", "job/out/1/1.2", "job/out/1/1.3"]);
});

test("what passes is told from what does not", () => {
  const kindOf = (answer: testing.TestResponse) => {
    const { sink } = posting({ template: "{user}" }, () => answer);
    try {
      sink.open().batch(1, rows("a"));
    } catch (error) {
      assert.ok(error instanceof Error);
      assert.doesNotMatch(error.message, /secret/);
      return `${(error as Error & { kind: string }).kind}: ${error.message}`;
    }
    return "";
  };
  assert.equal(kindOf({ status: 429, headers: { "Retry-After": "30" } }), "internal: the webhook replied with 429 (Retry-After: 30)");
  assert.equal(kindOf(503), "internal: the webhook replied with 503");
  assert.match(kindOf(null), /^failed: POST https:\/\/hooks.example.com: /);
  assert.match(kindOf(404), /^config: the webhook replied with 404; check `url`/);
  assert.match(kindOf(302), /^config: the webhook replied with 302/);
});

test("a config that is wrong is told", () => {
  const wrong: [object, RegExp][] = [
    [{ url: "hooks.example.com" }, /`url` is not an HTTP or HTTPS URL$/],
    [{ rows_per_message: 0 }, /`rows_per_message` is 0, and must be more than 0/],
    [{ template: "{user" }, /`template`: a single `{`; write `{{` for the character/],
    [{ template: "hello" }, /`template` has no column/],
    [{ template: "{name}" }, /the input has no column `name`; it has: user, amount, at/],
    [{ markup: "html" }, /markup/],
    [{ field: "" }, /`field` is empty/],
  ];
  for (const [config, words] of wrong) assert.throws(() => posting(config).sink.describe(), words);
  assert.throws(() => testing.sink(plugin).config({ url: URL }).input("b binary").describe(), /column `b` is binary/);
});

test("values are no markup", () => {
  assert.equal(escaped("<@U1> & <!channel> *b*", "slack"), "&lt;@U1&gt; &amp; &lt;!channel&gt; *b*");
  assert.equal(escaped("@all [a](b) #x `c`", "markdown"), "@\u200ball \\[a\\](b) \\#x \\`c\\`");
  assert.equal(escaped("<b>", "none"), "<b>");
  assert.equal(cut("👍👍👍", 3), "👍👍👍");
  assert.equal(cut("👍👍👍", 2), "👍…");
  assert.deepEqual(partsOf("{ a }{b}}}{{"), ["", "a", "", "b", "}{"]);
});

test("other messages have other keys", () => {
  const keys = ["ada", "bob", "", "ada "].map((user) => {
    const seen: string[] = [];
    testing
      .sink(plugin)
      .config({ url: URL, template: "{user}" })
      .input("user text")
      .http("https://hooks.example.com", ({ headers }) => {
        seen.push(headers["idempotency-key"]!);
        return 200;
      })
      .open()
      .batch(1, [{ user }]);
    return seen.join();
  });
  assert.equal(new Set(keys).size, keys.length, keys.join("\n"));
  const digests = Array.from({ length: 5000 }, (_, at) => digest(`user ${at} paid ${at * at}`));
  assert.ok(digests.every((digest) => /^[0-9a-f]{16}$/.test(digest)));
  assert.equal(new Set(digests.map((digest) => digest.slice(0, 8))).size, 5000);
});
