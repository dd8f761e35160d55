/** Output rows of plugin functions. */

import { Batch } from "./batch.ts";
import type { RowWriter } from "./compile.ts";
import { Rejection } from "./error.ts";
import { missingReturn, NO_ROWS } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Field } from "./types.ts";

/** Collects output rows. */
export interface Out<T> {
  /** Appends a row. */
  push(row: T): void;
}

/** Rows after the key columns of their group; see {@link keyed}. */
export class KeyedType<T> {
  readonly rows: RowType<T>;

  constructor(rows: RowType<T>) {
    this.rows = rows;
  }
}

/** Declares that the rows returned for a key come after the columns of that key. */
export function keyed<T>(rows: RowType<T>): KeyedType<T> {
  return new KeyedType(rows);
}

/** Output of plugins of worlds `update` and `cogroup`. */
export type OutputType<T> = RowType<T> | KeyedType<T>;

/** Returns the columns of an output. */
export function outputFields(output: OutputType<unknown> | undefined, stage: Stage): readonly Field[] {
  if (output === undefined) return [];
  return output instanceof KeyedType ? [...stage.key(), ...output.rows.fields] : output.fields;
}

const { getPrototypeOf, prototype: PLAIN } = Object;

/** The output rows of a call. */
export class Output<T> {
  /** The object that plugin functions push to. */
  readonly out: Out<T>;
  readonly #writer: RowWriter<T>;
  /** The group of each row, if the key columns come before the rows. */
  readonly #groups: number[] | undefined;
  #group = 0;
  #isAsked = false;

  constructor(writer: RowWriter<T>, keyed: boolean) {
    this.#writer = writer;
    const groups: number[] | undefined = keyed ? [] : undefined;
    this.#groups = groups;
    // Without keys, the writer itself is enough, which saves a call per row.
    this.out = groups === undefined ? writer : { push: (row) => (writer.push(row), void groups.push(this.#group)) };
  }

  /** Appends the return value of a plugin function: a row, any number of rows, or nothing. */
  add(returned: unknown): void {
    if (returned === undefined || returned === null) return;
    // Usually it is one row, created with `{ … }`.
    if (getPrototypeOf(returned) === PLAIN) return this.out.push(returned as T);
    if (returned instanceof Rejection) throw returned;
    if (Array.isArray(returned)) {
      for (let i = 0; i < returned.length; i++) this.out.push(returned[i]);
    } else if (typeof (returned as Iterable<T>)[Symbol.iterator] === "function") {
      for (const row of returned as Iterable<T>) this.out.push(row);
    } else {
      this.out.push(returned as T);
    }
  }

  /** Returns the property `out` of a call, which functions push to. Notes for {@link addOf} that it was read. */
  ask(): Out<T> {
    this.#isAsked = true;
    return this.out;
  }

  /**
   * Appends the return value of a plugin function for a row or a key. A function that pushes its rows returns nothing.
   * If the function did not read `out` either, a `return` is missing and the rows would be lost, so this throws.
   */
  addOf(function_: Function, what: string, returned: unknown): void {
    if (returned !== undefined) this.add(returned);
    else if (!this.#isAsked) throw missingReturn(function_, what, returned, NO_ROWS);
    this.#isAsked = false;
  }

  rows(): number {
    return this.#writer.rows();
  }

  truncate(rows: number): void {
    this.#writer.truncate(rows);
    this.#isAsked = false;
    if (this.#groups) this.#groups.length = rows;
  }

  /** Sets the group of the following rows. */
  begin(group: number): void {
    this.#group = group;
  }

  /** Returns the columns without keys. */
  batch(): Batch {
    return new Batch(this.rows(), this.#writer.finish());
  }

  /** Returns the columns. `keys` are the keys of the groups. */
  finish(stage: Stage, keys: Batch): Batch {
    const rows = this.batch();
    const groups = this.#groups;
    if (groups === undefined) return rows;
    // Usually each group has one row. Then the key columns are returned unchanged.
    const eachOnce = groups.length === keys.rows && groups.every((group, i) => group === i);
    return (eachOnce ? keys : keys.take(groups, stage.key())).beside(rows);
  }
}
