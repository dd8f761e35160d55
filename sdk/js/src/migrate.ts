/** World `update-migrating`: states of other versions of a plugin. */

import { Batch } from "./batch.ts";
import { internalError } from "./error.ts";
import { returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Field } from "./types.ts";

/** States that another version of the plugin made. */
export interface OldStates {
  /** That version; empty if it is not known. */
  readonly version: string;
  /** Their columns. */
  readonly fields: readonly Field[];
  /** The states, one row per key. */
  readonly states: Batch;
}

/** How the states of one kind become such as the plugin has now. Made by {@link migration}. */
export interface Migration<T> {
  /** The columns of the old states. */
  readonly fields: readonly Field[];
  /** The new states, in the order of the old ones. */
  migrate(states: Batch): T[];
}

/** Takes over states with these columns: the function makes a state of this version of each. */
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

/** The new states, as the migration that knows the old ones makes them. */
export function migrated<T>(migrations: readonly Migration<T>[], type: RowType<T>, old: OldStates): Batch {
  const own = migrations.find(({ fields }) => told(fields) === told(old.fields));
  if (!own) {
    const known = migrations.map(({ fields }) => `(${told(fields)})`).join(" or ");
    const words = `states of version ${old.version} have the columns (${told(old.fields)})`;
    throw internalError(`${words}; it takes over those with ${known}`);
  }
  const writer = type.writer();
  own.migrate(old.states).forEach((state) => writer.push(state));
  return new Batch(old.states.rows, writer.finish());
}

function told(fields: readonly Field[]): string {
  return fields.map(({ name, type, nullable }) => `${name} ${type}${nullable ? " or null" : ""}`).join(", ");
}
