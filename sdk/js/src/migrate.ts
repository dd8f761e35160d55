/** World `update-migrating`: converts states of other versions of a plugin. */

import { Batch } from "./batch.ts";
import { internalError } from "./error.ts";
import { returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Field } from "./types.ts";

/** States of another version of the plugin. */
export interface OldStates {
  /** The other version. Empty if unknown. */
  readonly version: string;
  /** Columns of the states. */
  readonly fields: readonly Field[];
  /** The states, one row per key. */
  readonly states: Batch;
}

/** Converts states of one format to the plugin's current one. Created by {@link migration}. */
export interface Migration<T> {
  /** The columns of the old states. */
  readonly fields: readonly Field[];
  /** Returns the new states, in the order of the old ones. */
  migrate(states: Batch): T[];
}

/** Creates a migration of states with these columns. The function converts one old state to a new one. */
export function migration<Old, T>(old: RowType<Old>, function_: (old: Old) => T): Migration<T> {
  return {
    fields: old.fields,
    migrate(states) {
      const missing = old.missing(states)[0];
      if (missing) throw internalError(`state ${missing.row}: ${missing.reason}`);
      const read = old.reader(states);
      return Array.from({ length: states.rows }, (_, row) => returnedBy(function_, "migration", function_(read(row))));
    },
  };
}

/** Returns the new states, from the migration that matches the old ones. */
export function migrated<T>(migrations: readonly Migration<T>[], type: RowType<T>, old: OldStates): Batch {
  const own = migrations.find(({ fields }) => formatFields(fields) === formatFields(old.fields));
  if (!own) {
    const known = migrations.map(({ fields }) => `(${formatFields(fields)})`).join(" or ");
    const problem = `states of version ${old.version} have the columns (${formatFields(old.fields)})`;
    throw internalError(`${problem}; expected ${known}`);
  }
  const writer = type.writer();
  own.migrate(old.states).forEach((state) => writer.push(state));
  return new Batch(old.states.rows, writer.finish());
}

function formatFields(fields: readonly Field[]): string {
  return fields.map(({ name, type, nullable }) => `${name} ${type}${nullable ? " or null" : ""}`).join(", ");
}
