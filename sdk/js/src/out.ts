/** Where plugin functions put the rows that they return. */

import { Batch } from "./batch.ts";
import type { RowWriter } from "./compile.ts";
import { Rejection } from "./error.ts";
import { missingReturn, NO_ROWS } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Field } from "./types.ts";

/** Rows to return. */
export interface Out<T> {
  /** Appends a row. */
  push(row: T): void;
}

/** Rows that begin with the key columns of their group; see {@link keyed}. */
export class KeyedType<T> {
  readonly rows: RowType<T>;

  constructor(rows: RowType<T>) {
    this.rows = rows;
  }
}

/** Says that rows which a plugin returns for a key begin with the columns of that key. */
export function keyed<T>(rows: RowType<T>): KeyedType<T> {
  return new KeyedType(rows);
}

/** What a plugin of worlds `update` and `cogroup` returns. */
export type OutputType<T> = RowType<T> | KeyedType<T>;

/** The columns of such rows. */
export function outputFields(output: OutputType<unknown> | undefined, stage: Stage): readonly Field[] {
  if (output === undefined) return [];
  return output instanceof KeyedType ? [...stage.key(), ...output.rows.fields] : output.fields;
}

const { getPrototypeOf, prototype: PLAIN } = Object;

/** The rows of a call. */
export class Output<T> {
  /** What plugin functions push to. */
  readonly out: Out<T>;
  readonly #writer: RowWriter<T>;
  /** The group of each row, where keys go before them. */
  readonly #groups: number[] | undefined;
  #group = 0;
  #isAsked = false;

  constructor(writer: RowWriter<T>, keyed: boolean) {
    this.#writer = writer;
    const groups: number[] | undefined = keyed ? [] : undefined;
    this.#groups = groups;
    // Without keys there is nothing to do but to write: one call less for each row.
    this.out = groups === undefined ? writer : { push: (row) => (writer.push(row), void groups.push(this.#group)) };
  }

  /** Appends what a plugin function has returned: a row, any number of rows, or nothing. */
  add(returned: unknown): void {
    if (returned === undefined || returned === null) return;
    // Mostly it is one row, as `{ … }` makes it.
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

  /** The property `out` of a call, to which plugin functions push; tells {@link addOf} that it was read. */
  ask(): Out<T> {
    this.#isAsked = true;
    return this.out;
  }

  /**
   * Appends the result of a plugin function for a row or a key. Functions that push their rows return nothing at all.
   * If the function did not even read `out`, a `return` was forgotten, and the rows would be lost.
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

  /** Says which group the rows that follow belong to. */
  begin(group: number): void {
    this.#group = group;
  }

  /** The columns without keys. */
  batch(): Batch {
    return new Batch(this.rows(), this.#writer.finish());
  }

  /** The columns; `keys` are those of the groups. */
  finish(stage: Stage, keys: Batch): Batch {
    const rows = this.batch();
    const groups = this.#groups;
    if (groups === undefined) return rows;
    // Mostly there is one row a group: then the key columns go back as they came.
    const eachOnce = groups.length === keys.rows && groups.every((group, i) => group === i);
    return (eachOnce ? keys : keys.take(groups, stage.key())).beside(rows);
  }
}
