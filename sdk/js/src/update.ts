/** World `update`: state by key, held by the host. */

import { Batch, bit, bitmap } from "./batch.ts";
import type { RowReader } from "./compile.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { internalError, Rejection } from "./error.ts";
import { migrated, type Migration, type OldStates } from "./migrate.ts";
import { KeyedType, type Out, Output, outputFields, type OutputType } from "./out.ts";
import { row as rowType, type RowType } from "./row.ts";
import type { CallContext, Context, Stage } from "./stage.ts";
import { missingReturn } from "./returned.ts";
import { NO_TIMERS, Timers } from "./timers.ts";
import type { Description, Rejected } from "./types.ts";

/** A plugin of world `update` that processes batches. {@link update} creates one from a function. */
export interface Update {
  /** Called when a job is loaded. Describes output and state, or throws if config, input or key are unsuitable. */
  describe(stage: Stage): Description;
  /** Called with groups of a batch. Every key occurs at most once per batch. */
  update(stage: Stage, context: Context, groups: Groups): Updated;
}

/** A plugin; the default export of its module. */
export interface UpdatePlugin {
  readonly world: "update";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Update;
  /** World `update-migrating`: converts states of another version. */
  readonly migrate?: Migrate | undefined;
}

/** Converts old states to new ones. Row i of the result is the new state of row i. */
export type Migrate = (old: OldStates) => Batch;

/** Rows grouped by key, and the state of each key. */
export interface Groups {
  /** The key columns, one row per group. */
  readonly keys: Batch;
  /** The rows of the first group first. Within a group, they are in the order of arrival. */
  readonly rows: Batch;
  /** The end of each group's rows in `rows`. */
  readonly ends: Uint32Array;
  /** The old states, one row per group. The values of a key without a state are undefined. */
  readonly states: Batch;
  /** One bit per group: whether the key had a state. */
  readonly known: Uint8Array;
  /** One bit per group: whether this is the last call for an idle key. */
  readonly timedOut: Uint8Array;
}

/** Result of a call in world `update`. */
export interface Updated {
  /** The new states, one row per group. */
  readonly states: Batch;
  /** One bit per group: set if the new state is kept, clear if the key is removed. */
  readonly kept: Uint8Array;
  /** The output rows. */
  readonly output: Batch;
  /** The rejected rows of the groups. */
  readonly rejected: readonly Rejected[];
}

/** Settings of a plugin. */
export interface UpdateSpec<K, I, T, O, S> {
  /** The key columns; any key by default. */
  readonly key?: RowType<K>;
  /** The input columns. Without them, rows with any columns are only counted. */
  readonly input?: RowType<I>;
  /** The columns of the state. */
  readonly state: RowType<T>;
  /** The output columns. With {@link keyed}, the key columns come before them. No output by default. */
  readonly output?: OutputType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Whether the plugin uses timers. */
  readonly timers?: boolean;
  /** Converts states of other versions, one migration per format. Requires the world `update-migrating`. */
  readonly migrations?: readonly Migration<T>[];
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** Arguments of a plugin function besides rows and state. */
export interface UpdateCall<K, O, C> {
  /** The key of this call. An empty object if the plugin accepts any key. */
  readonly key: K;
  readonly out: Out<O>;
  readonly config: C;
  readonly context: Context;
  readonly timers: Timers;
}

/** The new state, `null` to remove the key, or a rejection of the rows, which leaves the state unchanged. */
export type NewState<T> = T | Rejection | null;

/** Turns a function into a plugin. It is called for each key with its new rows and its state, and returns the new state. */
export function update<T, K = {}, I = {}, O = never, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: UpdateSpec<K, I, T, O, S>,
  function_: (rows: readonly I[], state: T | null, call: UpdateCall<K, O, Config<S>>) => NewState<T>,
): UpdatePlugin {
  const input = spec.input ?? (NOTHING as RowType<I>);
  const key = spec.key ?? (NOTHING as RowType<K>);
  const migrations = spec.migrations;
  const migrate = migrations && ((old: OldStates) => migrated(migrations, spec.state, old));
  const create = (stage: Stage): Update => {
    const config = readConfig(spec.config, stage) as Config<S>;
    return {
      describe: (stage) => ({
        input: input.fields,
        output: outputFields(spec.output, stage),
        state: spec.state.fields,
        key: spec.key?.fields,
        doc: spec.doc,
        configSchema: configSchema(spec.config),
      }),
      update(stage, context, groups) {
        const own: CallContext = { ...context };
        const out = newOutput(spec.output);
        const call = {
          config,
          context: own as Context,
          key: undefined as K,
          out: out.out,
          timers: spec.timers ? Timers.ofCall() : NO_TIMERS,
        };
        const keys = key.reader(groups.keys);
        const rows = new GroupedRows(input, groups.rows, groups.ends);
        const states = spec.state.reader(groups.states);
        const newStates = spec.state.writer();
        const kept: boolean[] = [];
        for (let group = 0; group < groups.keys.rows; group++) {
          own.timedOut = bit(groups.timedOut, group);
          call.key = keys(group);
          out.begin(group);
          call.timers.begin(group);
          const before = out.rows();
          const state = bit(groups.known, group) ? states(group) : null;
          let next: T | Rejection | null | undefined = refusable(() => function_(rows.of(group), state, call));
          call.timers.end(!(next instanceof Rejection));
          if (next instanceof Rejection) {
            out.truncate(before);
            rows.reject(group, next.reason);
            next = bit(groups.known, group) ? states(group) : null;
          }
          if (next === undefined) {
            const hint = "The key would lose its state. To remove the key, write `return null`.";
            throw missingReturn(function_, "update", undefined, hint);
          }
          const keeps = next !== null;
          kept.push(keeps);
          if (keeps) newStates.push(next as T);
          else newStates.pushEmpty();
        }
        return {
          states: new Batch(groups.keys.rows, newStates.finish()),
          kept: bitmap(kept),
          output: out.finish(stage, groups.keys),
          rejected: rows.rejected(),
        };
      },
    };
  };
  return batches(create, migrate);
}

/** Creates a plugin from functions on batches, which may accept any columns. */
function batches(create: (stage: Stage) => Update, migrate?: Migrate): UpdatePlugin {
  return { world: "update", create, migrate };
}

update.batches = batches;

/** A row without columns. */
export const NOTHING: RowType<{}> = rowType({});

/** Creates the output of a call. Without an output type, it must stay empty. */
export function newOutput<O>(output: OutputType<O> | undefined): Output<O> {
  if (output === undefined) return new Output((NOTHING as RowType<O>).writer(), false);
  return output instanceof KeyedType ? new Output(output.rows.writer(), true) : new Output(output.writer(), false);
}

/** Calls a function. Returns its result, or the rejection that it throws. */
export function refusable<T>(function_: () => T): T | Rejection {
  try {
    return function_();
  } catch (error) {
    if (error instanceof Rejection) return error;
    throw error;
  }
}

/** The rows of an input by group, without unreadable ones, and the rejected rows. */
export class GroupedRows<I> {
  readonly #read: RowReader<I>;
  readonly #ends: Uint32Array;
  /** Rows that cannot be read. */
  readonly #missing: ReadonlyMap<number, string>;
  readonly #rejected: Rejected[];

  constructor(type: RowType<I>, rows: Batch, ends: Uint32Array) {
    ends.forEach((end, group) => {
      if (end < (group === 0 ? 0 : ends[group - 1]!) || end > rows.rows) {
        throw internalError(`group ${group} ends at row ${end}, which is out of order`);
      }
    });
    this.#read = type.reader(rows);
    this.#ends = ends;
    this.#rejected = type.missing(rows);
    this.#missing = new Map(this.#rejected.map(({ row, reason }) => [row, reason]));
  }

  #start(group: number): number {
    return group === 0 ? 0 : this.#ends[group - 1]!;
  }

  /** Returns the rows of a group. */
  of(group: number): I[] {
    const rows: I[] = [];
    const end = this.#ends[group]!;
    for (let row = this.#start(group); row < end; row++) {
      if (this.#missing.size === 0 || !this.#missing.has(row)) rows.push(this.#read(row));
    }
    return rows;
  }

  /** Rejects all rows of a group. */
  reject(group: number, reason: string): void {
    for (let row = this.#start(group); row < this.#ends[group]!; row++) {
      if (!this.#missing.has(row)) this.#rejected.push({ row, reason });
    }
  }

  /** Returns the rejected rows, in order. */
  rejected(): Rejected[] {
    return this.#rejected.sort((a, b) => a.row - b.row);
  }
}
