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

/** A plugin of world `update` that works on batches: what {@link update} makes of a function. */
export interface Update {
  /** Called when a job is loaded: describes output and state, or says that config, input or key do not fit. */
  describe(stage: Stage): Description;
  /** Called with groups of a batch; every key comes at most once a batch. */
  update(stage: Stage, context: Context, groups: Groups): Updated;
}

/** A plugin; the default export of its module. */
export interface UpdatePlugin {
  readonly world: "update";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Update;
  /** In world `update-migrating`: returns the states of this version for those of another one. */
  readonly migrate?: Migrate | undefined;
}

/** Makes new states of old ones: row i of the result is that of row i. */
export type Migrate = (old: OldStates) => Batch;

/** Rows grouped by key, and the state of each key. */
export interface Groups {
  /** The key columns, one row a group. */
  readonly keys: Batch;
  /** The rows, those of the first group first, within a group in the order of arrival. */
  readonly rows: Batch;
  /** Where each group's rows end in `rows`. */
  readonly ends: Uint32Array;
  /** The old states, one row per group; the row of a key without a state has no meaning. */
  readonly states: Batch;
  /** A bit a group: whether the key had a state. */
  readonly known: Uint8Array;
  /** A bit a group: whether this is the last call of an idle key. */
  readonly timedOut: Uint8Array;
}

/** What a call of world `update` returns. */
export interface Updated {
  /** The new states, one row a group. */
  readonly states: Batch;
  /** One bit per group: set if the new state is kept, clear if the key is removed. */
  readonly kept: Uint8Array;
  /** Rows to emit, any number. */
  readonly output: Batch;
  /** The rejected rows of the groups. */
  readonly rejected: readonly Rejected[];
}

/** What a plugin function says of itself. */
export interface UpdateSpec<K, I, T, O, S> {
  /** The columns of the key; any key by default. */
  readonly key?: RowType<K>;
  /** The columns that it reads; without them, rows of any input are only counted. */
  readonly input?: RowType<I>;
  /** The columns of the state. */
  readonly state: RowType<T>;
  /** The columns of the rows that it returns, or {@link keyed} ones after those of the key; no rows by default. */
  readonly output?: OutputType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Whether it uses timers. */
  readonly timers?: boolean;
  /** How it takes over states of other versions, each with columns of its own; the world is `update-migrating` then. */
  readonly migrations?: readonly Migration<T>[];
  /** What it is for; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The arguments of a plugin function besides rows and state. */
export interface UpdateCall<K, O, C> {
  /** The key of this call; an empty object if the plugin works with any key. */
  readonly key: K;
  readonly out: Out<O>;
  readonly config: C;
  readonly context: Context;
  readonly timers: Timers;
}

/** A state, `null` (the key is removed), or why the rows are rejected (the state stays unchanged). */
export type NewState<T> = T | Rejection | null;

/** Makes a function a plugin: it is called for each key with its new rows and its state, and returns the new state. */
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

/** Creates a plugin from functions on batches, which may work on any columns. */
function batches(create: (stage: Stage) => Update, migrate?: Migrate): UpdatePlugin {
  return { world: "update", create, migrate };
}

update.batches = batches;

/** A row without columns. */
export const NOTHING: RowType<{}> = rowType({});

/** The rows of a call; without an output type none. */
export function newOutput<O>(output: OutputType<O> | undefined): Output<O> {
  if (output === undefined) return new Output((NOTHING as RowType<O>).writer(), false);
  return output instanceof KeyedType ? new Output(output.rows.writer(), true) : new Output(output.writer(), false);
}

/** What a function returns, or the rejection that it throws. */
export function refusable<T>(function_: () => T): T | Rejection {
  try {
    return function_();
  } catch (error) {
    if (error instanceof Rejection) return error;
    throw error;
  }
}

/** The rows of an input by group, without unreadable ones, and which of them are rejected. */
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

  /** The rows of a group. */
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

  /** The rejected rows, in order. */
  rejected(): Rejected[] {
    return this.#rejected.sort((a, b) => a.row - b.row);
  }
}
