/** Calls that fail in every way, and requests to the runtime. */

import { files, Rejection, row, text, transform } from "millstream-sdk";

const Order = row({ value: text });

/** Runs the actions of its rows, most of which fail the call. */
export default transform({ input: Order, output: Order }, ({ value }) => {
  switch (value) {
    case "fail":
      console.log("about to fail");
      return fail(value);
    case "divide":
      return { value: String(1n / BigInt(value.length - 6)) };
    case "loop":
      return forever();
    case "recurse":
      return { value: String(deeper(1)) };
    case "memory":
      return { value: String(more()) };
    case "print":
      console.log("printed: äöü €\nthe second line");
      console.error("whispered: 日本");
      return { value: "printed" };
    case "refuse":
      throw new Rejection("rejected on demand");
    case "file":
      return { value: files.readText("notes") };
    case "clock":
      return { value: String(Math.floor(Date.now() / 1000)) };
    case "random":
      return { value: String(Math.random()) };
    case "order":
      return { value: [...new Set(Array.from({ length: 64 }, (_, n) => `key ${n}`))].join(" ") };
    default:
      return { value };
  }
});

function fail(value: string): never {
  throw new RangeError(`cannot go on with \`${value}\``);
}

function forever(): never {
  for (;;) {}
}

function deeper(n: number): number {
  return deeper(n + 1) + 1;
}

function more(): number {
  const all: Uint8Array[] = [];
  while (all.length < Number.MAX_SAFE_INTEGER) all.push(new Uint8Array(1 << 20).fill(1));
  return all.length;
}
