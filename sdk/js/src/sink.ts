/** World `sink`: rows that leave for elsewhere. */

import type { Batch } from "./batch.ts";
import { cellOf, type Timestamp } from "./cell.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { inputError, internalError } from "./error.ts";
import { returnedBy } from "./returned.ts";
import { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Field, Rejected } from "./types.ts";

/**
 * What becomes of a batch that was handed over when something failed.
 *
 * - `exactly-once`: all of its rows are there together with its id, or none is, and `committed` and `last` tell the last id.
 * - `at-least-once`: nobody can tell. It is handed over again, and rows may be there twice.
 */
export type SinkPromise = "exactly-once" | "at-least-once";

/** A row of any columns. */
export type AnyRow = Readonly<Record<string, unknown>>;

/** What a sink says of itself. */
export interface SinkSpec<I, S> {
  /**
   * The columns that it reads, or a function that selects them from the existing ones (see {@link columns}); all by
   * default. A row with a null in a column that is not nullable is rejected before the sink sees it.
   */
  readonly input?: RowType<I> | ((config: Config<S>, given: readonly Field[]) => RowType<I>);
  /** What it promises; `exactly-once` needs `committed`, and a writer's `last`. */
  readonly promise: SinkPromise | ((config: Config<S>) => SinkPromise);
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** What it is for; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** Identifies the rows: the same at every start of a job that resumes from its checkpoints, and unique to it. */
export interface Identity {
  /** The job's name, for people. */
  readonly job: string;
  /** Identifies this job, also among those with the same name: 32 hexadecimal digits. */
  readonly jobId: string;
  /** The sink's name in the job. */
  readonly sink: string;
}

/** The writing start of a job. */
export interface Owner {
  /** Whose rows they are. */
  readonly identity: Identity;
  /**
   * The number of the job's start: later starts have larger numbers. Once a larger one has opened the sink, a start
   * with a smaller one has lost the job, and must not commit any more.
   */
  readonly generation: number;
}

/** The functions of a sink. */
export interface SinkFunctions<I, C> {
  /**
   * Called when a job is loaded: throws a {@link configError} for a config that can be read but is invalid. There is
   * no network yet.
   */
  check?(config: C): void;
  /**
   * Returns the last stored batch of these rows, `null` if there is none; called before a start of the job decides
   * where to resume. Must change nothing: an earlier start may still be writing.
   */
  committed?(config: C, identity: Identity): number | null;
  /** Begins to write rows with these columns, and takes the sink over from all owners of smaller generations. */
  open(config: C, owner: Owner, input: readonly Field[]): Writer<I>;
}

/** What writes the batches of a sink: `begin`, `write` for each piece of the rows, `commit`; then the next one. */
export interface Writer<I> {
  /** The last stored batch of these rows when it was opened; `null` or missing: none. */
  readonly last?: number | null;
  /** A batch begins: its id, and the end of its interval. Batches without rows do not come. */
  begin?(batch: number, time: Timestamp): void;
  /**
   * Writes more rows of the batch, in order. Rows that cannot be written are rejected, and the job decides what
   * happens to them.
   */
  write(rows: Departures<I>): void;
  /** All rows of the batch were written: makes them visible together with its id. They are durable when it returns. */
  commit(batch: number): void;
}

/** The rows to write, in order, and the rejected ones among them. */
export class Departures<I> {
  /** The rows as columns, including rejected ones. */
  readonly batch: Batch;
  readonly #read: (row: number) => I;
  readonly #refused: Map<number, string>;

  constructor(batch: Batch, type: RowType<I>) {
    this.batch = batch;
    this.#read = type.reader(batch);
    this.#refused = new Map(type.missing(batch).map(({ row, reason }) => [row, reason]));
  }

  /** The number of rows, including rejected ones. */
  get length(): number {
    return this.batch.rows;
  }

  /** The rows, except those that are rejected by then. */
  *[Symbol.iterator](): Generator<I, void> {
    for (const [, row] of this.entries()) yield row;
  }

  /** The same with the index of each, which {@link refuse} takes. */
  *entries(): Generator<[place: number, row: I], void> {
    for (let place = 0; place < this.length; place++) {
      if (!this.#refused.has(place)) yield [place, this.#read(place)];
    }
  }

  /** Rejects the row with this index. */
  refuse(place: number, reason: unknown): void {
    if (!Number.isInteger(place) || place < 0 || place >= this.length) {
      throw internalError(`row ${place} is rejected, but there are ${this.length} rows`);
    }
    this.#refused.set(place, reason instanceof Error ? reason.message : String(reason));
  }

  /** The rejected rows, in order. */
  refused(): Rejected[] {
    return Array.from(this.#refused, ([row, reason]) => ({ row, reason })).sort((a, b) => a.row - b.row);
  }
}

/** What a sink says of itself, as hosts and tests see it. */
export interface SinkDescription {
  readonly input: readonly Field[];
  readonly promise: SinkPromise;
  readonly doc: string | undefined;
  readonly configSchema: string | undefined;
}

/** A sink of a config. */
export interface Sink {
  describe(input: readonly Field[]): SinkDescription;
  committed(identity: Identity): number | null;
  open(input: readonly Field[], owner: Owner): SinkWriter;
}

/** What writes. */
export interface SinkWriter {
  readonly last: number | null;
  begin(batch: number, time: Timestamp): void;
  write(rows: Batch): Rejected[];
  commit(batch: number): void;
}

/** A plugin; the default export of its module. */
export interface SinkPlugin {
  readonly world: "sink";
  /** Reads the config. */
  create(stage: Stage): Sink;
}

/**
 * Makes functions a plugin of world `sink`.
 *
 * A `configError` ends the job, and so does an `inputError`, which is about the rows. An {@link internalError} or a `net.Fault` is taken
 * for something that passes: what writes is thrown away, and after a while opened anew; the batch comes again from its beginning,
 * unless `last` says that it is there. Any other exception is a mistake of the plugin, and ends the job as well.
 */
export function sink<I = AnyRow, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: SinkSpec<I, S>,
  functions: SinkFunctions<I, Config<S>>,
): SinkPlugin {
  return {
    world: "sink",
    create(stage) {
      const config = readConfig(spec.config, stage) as Config<S>;
      return {
        describe(input) {
          functions.check?.(config);
          const promise = typeof spec.promise === "function" ? returnedBy(spec.promise, "promise", spec.promise(config)) : spec.promise;
          if (promise === "exactly-once" && functions.committed === undefined) {
            throw internalError("a sink that promises `exactly-once` must have a function `committed`, which returns the last committed batch");
          }
          const { fields } = reads(spec, config, input);
          return { input: fields, promise, doc: spec.doc, configSchema: configSchema(spec.config) };
        },
        committed: (identity) => functions.committed?.(config, identity) ?? null,
        open: (input, owner) => writing(reads(spec, config, input), functions, config, owner),
      };
    },
  };
}

/**
 * Any columns as a row type, for {@link SinkSpec.input}: those with these names, if they are given, else all of them.
 */
export function columns(given: readonly Field[], names?: readonly string[]): RowType<AnyRow> {
  const found = (names ?? given.map(({ name }) => name)).map((name) => {
    const field = given.find((field) => field.name === name);
    if (field === undefined) throw inputError(`the input has no column \`${name}\`; it has: ${given.map(({ name }) => name).join(", ")}`);
    if (field.type.startsWith("arrow ")) throw inputError(`column \`${name}\` is ${field.type.slice(6)}, which rows cannot hold: cast or drop it before`);
    return [name, cellOf(field.type)] as const;
  });
  return new RowType<AnyRow>(Object.fromEntries(found));
}

function reads<I, S>(spec: SinkSpec<I, S>, config: Config<S>, given: readonly Field[]): RowType<I> {
  if (spec.input === undefined) return columns(given) as RowType<unknown> as RowType<I>;
  if (typeof spec.input === "function") return returnedBy(spec.input, "input", spec.input(config, given));
  return spec.input;
}

function writing<I, C>(type: RowType<I>, functions: SinkFunctions<I, C>, config: C, owner: Owner): SinkWriter {
  const writer = returnedBy(functions.open, "open", functions.open(config, owner, type.fields));
  return {
    last: writer.last ?? null,
    begin: (batch, time) => writer.begin?.(batch, time),
    write(batch) {
      const rows = new Departures(batch, type);
      writer.write(rows);
      return rows.refused();
    },
    commit: (batch) => writer.commit(batch),
  };
}
