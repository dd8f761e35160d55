/**
 * Generates code for each row type when the type is created. In an interpreter, straight code for named columns runs
 * several times as fast as loops over descriptions of columns.
 */

import { bitmap, bytesOf, joined } from "./batch.ts";
import type { Cell, Kind } from "./cell.ts";
import type { Column } from "./types.ts";
import { encode } from "./utf8.ts";
import { parse, write } from "./written.ts";

/** Returns the row with an index. */
export type RowReader<T> = (row: number) => T;

/** Builds columns row by row. */
export interface RowWriter<T> {
  /** Appends a row; throws if a field does not match its type. */
  push(row: T): void;
  /** Appends a row of nulls, zeros and empty values. */
  pushEmpty(): void;
  /** Returns the number of rows so far. */
  rows(): number;
  /** Removes all rows from an index on. */
  truncate(rows: number): void;
  /** Returns the columns. */
  finish(): Column[];
}

interface Named {
  readonly name: string;
  readonly cell: Cell<unknown>;
}

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** Expressions that read column i: `c` are values, `o` offsets, `v` validity. */
const READ: Record<Kind, (i: number) => string> = {
  bool: (i) => `(c${i}[r >> 3] >> (r & 7) & 1) === 1`,
  int64: (i) => `c${i}[r]`,
  integer: (i) => `c${i}[2 * r + 1] * 4294967296 + (c${i}[2 * r] >>> 0)`,
  float64: (i) => `c${i}[r]`,
  text: (i) => `c${i}.substring(o${i}[r], o${i}[r + 1])`,
  binary: (i) => `c${i}.subarray(o${i}[r], o${i}[r + 1])`,
  nested: (i) => `parse(c${i}.substring(o${i}[r], o${i}[r + 1]))`,
};

/** Expressions that check whether `x` is a value of the kind. */
const IS: Record<Kind, string> = {
  bool: `typeof x === "boolean"`,
  int64: `typeof x === "bigint" && x <= max && x >= min`,
  integer: `Number.isSafeInteger(x)`,
  float64: `typeof x === "number"`,
  text: `typeof x === "string"`,
  binary: `x instanceof Uint8Array`,
  nested: `typeof x === "object" && x !== null`,
};

const EMPTY: Record<Kind, unknown> = {
  bool: false,
  int64: 0n,
  integer: 0,
  float64: 0,
  text: "",
  binary: new Uint8Array(0),
  nested: undefined,
};

/** Compiles a function from values, offsets and validity of each column to a reader of rows. */
export function compileReader<T>(fields: readonly Named[]): (columns: readonly unknown[]) => RowReader<T> {
  const names = fields.flatMap((_, i) => [`c${i}`, `o${i}`, `v${i}`]);
  const values = fields.map(({ name, cell }, i) => {
    const value = READ[cell.kind](i);
    // In an object literal, only brackets make this an ordinary property.
    const key = name === "__proto__" ? `["__proto__"]` : JSON.stringify(name);
    return `${key}: ${cell.nullable ? `v${i} !== null && (v${i}[r >> 3] >> (r & 7) & 1) === 0 ? null : ${value}` : value}`;
  });
  const code = `return (r) => ({ ${values.join(", ")} });`;
  const make = new Function("parse", ...names, code);
  return (columns) => make(parse, ...columns);
}

/** Compiles a function that creates an empty writer. */
export function compileWriter<T>(fields: readonly Named[]): () => RowWriter<T> {
  const names = fields.map((_, i) => `c${i}`);
  const take = fields.map(({ name, cell }, i) => {
    const is = cell.nullable ? `x === null || x === undefined || ${IS[cell.kind]}` : IS[cell.kind];
    return `x = row[${JSON.stringify(name)}]; if (!(${is})) fail(${i}, x, row); c${i}[n] = x;`;
  });
  const code = `
    let n = 0;
    return {
      push(row) { let x; ${take.join(" ")} n++; },
      pushEmpty() { ${fields.map((_, i) => `c${i}[n] = empty[${i}];`).join(" ")} n++; },
      rows() { return n; },
      truncate(rows) { n = rows; },
      finish() { ${fields.map((_, i) => `c${i}.length = n;`).join(" ")} return finish([${names.join(", ")}]); },
    };`;
  const make = new Function("fail", "finish", "empty", "max", "min", ...names, code);
  const empty = fields.map(({ cell }) => (cell.nullable ? null : EMPTY[cell.kind]));
  const fail = (index: number, value: unknown, row: unknown) => {
    throw new TypeError(mismatch(fields[index]!, value, row));
  };
  const finish = (columns: unknown[][]) => columns.map((values, i) => finishColumn(fields[i]!.cell, values));
  return () => make(fail, finish, empty, INT64_MAX, INT64_MIN, ...fields.map(() => []));
}

function mismatch({ name, cell }: Named, value: unknown, row: unknown): string {
  if (row instanceof Promise) return "the function returned a promise: plugin functions cannot be async";
  if (typeof row !== "object") return `the function returned ${shown(row)}, which is not a row`;
  const wanted = {
    bool: "a boolean",
    int64: "a bigint of 64 bits, as in 5n",
    integer: "an integer up to 2^53 - 1",
    float64: "a number",
    text: "a string",
    binary: "a Uint8Array",
    nested: "an object or array",
  }[cell.kind];
  const hint = cell.kind === "int64" && typeof value === "number" ? "; declare the column as `integer` to use numbers" : "";
  return `the column \`${name}\` needs ${wanted}${cell.nullable ? " or null" : ""}, and got ${shown(value)}${hint}`;
}

function shown(value: unknown): string {
  if (typeof value === "string") return `the string ${JSON.stringify(value.slice(0, 40))}`;
  if (typeof value === "bigint") return `the bigint ${value}n`;
  if (value === null || typeof value === "undefined") return String(value);
  return typeof value === "object" || typeof value === "function" ? `a ${typeof value}` : `the ${typeof value} ${String(value)}`;
}

function finishColumn(cell: Cell<unknown>, values: unknown[]): Column {
  const validity = cell.nullable ? takeNulls(values, EMPTY[cell.kind]) : null;
  switch (cell.kind) {
    case "bool":
      return { validity, offsets: null, data: bitmap(values as boolean[]) };
    case "int64":
      return { validity, offsets: null, data: bytesOf(new BigInt64Array(values as bigint[])) };
    case "integer":
      return { validity, offsets: null, data: integers(values as number[]) };
    case "float64":
      return { validity, offsets: null, data: bytesOf(new Float64Array(values as number[])) };
    case "text":
      return { validity, ...encode(values as string[]) };
    case "binary":
      return { validity, ...joined(values as Uint8Array[]) };
    case "nested":
      return { validity, ...encode(values.map((value) => (value === undefined ? "" : write(value)))) };
  }
}

/** Replaces nulls by empty values. Returns a bitmap of the rows that have values, or `null` if all have one. */
function takeNulls(values: unknown[], empty: unknown): Uint8Array | null {
  let validity: Uint8Array | null = null;
  for (let i = 0; i < values.length; i++) {
    if (values[i] !== null && values[i] !== undefined) continue;
    values[i] = empty;
    if (validity === null) validity = new Uint8Array((values.length + 7) >> 3).fill(0xff);
    validity[i >> 3]! &= ~(1 << (i & 7));
  }
  return validity;
}

/** Encodes 64-bit integers in two halves, without a bigint for each. */
function integers(values: readonly number[]): Uint8Array {
  const words = new Int32Array(values.length * 2);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    words[2 * i] = value;
    words[2 * i + 1] = Math.floor(value / 4294967296);
  }
  return bytesOf(words);
}
