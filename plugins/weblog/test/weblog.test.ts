import assert from "node:assert/strict";
import test from "node:test";
import * as testing from "millstream-sdk/testing";
import plugin from "../src/index.ts";
import { normalise } from "../src/path.ts";
import { parseTime } from "../src/time.ts";

test("lines of both formats are parsed", () => {
  const common = '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326';
  const combined = '::1 - - [10/Oct/2000:13:55:36 +0000] "-" 408 - "-" "a \\"quoted\\" \\xc3\\xbc agent"';
  const { rows, rejected } = testing.transform(plugin).run([{ value: common }, { value: combined }]);
  assert.deepEqual(rejected, []);
  assert.deepEqual(rows, [
    {
      ip: "127.0.0.1",
      user: "frank",
      time: 971_211_336_000_000n,
      method: "GET",
      path: "/apache_pb.gif",
      route: "/apache_pb.gif",
      protocol: "HTTP/1.0",
      status: 200n,
      bytes: 2326n,
      referrer: null,
      user_agent: null,
    },
    {
      ip: "::1",
      user: null,
      time: 971_186_136_000_000n,
      method: null,
      path: null,
      route: null,
      protocol: null,
      status: 408n,
      bytes: null,
      referrer: null,
      user_agent: 'a "quoted" ü agent',
    },
  ]);
});

test("paths are written in one way", () => {
  const same: [string, string][] = [
    ["/a/b.html", "/a/b.html"],
    ["/a//b/?q=1#top", "/a/b"],
    ["/", "/"],
    ["/?q", "/"],
    ["/a/./b/../c", "/a/c"],
    ["/../../etc/passwd", "/etc/passwd"],
    ["/%7euser/%c3%bc%2F", "/~user/%C3%BC%2F"],
    ["/a/%2e%2e/b", "/b"],
    ["http://example.org:80/a/", "/a"],
    ["http://example.org", "/"],
    ["*", "*"],
    ["/100%", "/100%"],
  ];
  for (const [path, expected] of same) assert.equal(normalise(path), expected, path);
});

test("invalid times are not parsed", () => {
  assert.equal(parseTime("29/Feb/2024:00:00:00 +0000"), 1_709_164_800_000_000n);
  assert.equal(parseTime("01/Jan/1970:00:00:00 -0030"), 1_800_000_000n);
  for (const none of ["30/Feb/2024:00:00:00 +0000", "01/Xyz/2024:00:00:00 +0000", "01/Jan/2024:24:00:00 +0000", "now", ""]) {
    assert.equal(parseTime(none), null, none);
  }
});
