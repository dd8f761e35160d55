/** Converts rows of tests to columns and back, and implements the host of all tests. */

import { Batch } from "./batch.ts";
import { cellOf } from "./cell.ts";
import { internalError } from "./error.ts";
import type { Host } from "./host.ts";
import { RowType } from "./row.ts";
import type { Field, Type } from "./types.ts";

/** A row, as tests write it. */
export type TestRow = Readonly<Record<string, unknown>>;

/** The used parts of Node, which has no types here. */
interface Node {
  getBuiltinModule(name: "node:fs"): { readFileSync(path: string): Uint8Array };
  readonly stderr: { write(text: string): void };
}

declare const process: Node;

/** Returns a host implemented with Node. */
export function testHost(): Host {
  const nothing = () => ({ fields: [] });
  return {
    log: (level, message) => process.stderr.write(`${level}: ${message}\n`),
    count: () => {},
    file: (name) => process.getBuiltinModule("node:fs").readFileSync(`testdata/${name}`),
    input: nothing,
    inputs: () => [],
    key: nothing,
    timers: undefined,
    net: undefined,
    http: undefined,
  };
}

/** Returns a row type in which every column is nullable, like rows from a host. */
function rowType(fields: readonly Field[]): RowType<TestRow> {
  return new RowType<TestRow>(Object.fromEntries(fields.map(({ name, type }) => [name, cellOf(type)])));
}

export function toBatch(fields: readonly Field[], rows: readonly TestRow[]): Batch {
  const writer = rowType(fields).writer();
  for (const row of rows) {
    const values = fields.map(({ name, type }) => [name, toBigint(type, row[name])]);
    writer.push(Object.fromEntries(values));
  }
  return new Batch(rows.length, writer.finish());
}

export function toBigint(type: Type, value: unknown): unknown {
  return (type === "int64" || type === "timestamp") && typeof value === "number" ? BigInt(value) : value;
}

export function toRows(fields: readonly Field[], batch: Batch): TestRow[] {
  if (fields.length !== batch.width) {
    throw internalError(`${fields.length} columns were described, ${batch.width} returned`);
  }
  const read = rowType(fields).reader(batch);
  return Array.from({ length: batch.rows }, (_, row) => read(row));
}
