/** World `sink`: writes rows to an external system. */

import type { Batch } from "./batch.ts";
import { cellOf, type Timestamp } from "./cell.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { inputError, internalError } from "./error.ts";
import { returnedBy } from "./returned.ts";
import { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Field, Rejected } from "./types.ts";

/**
 * Guarantee for a batch if a failure occurs while it is written.
 *
 * - `exactly-once`: the batch's rows and its ID are stored atomically, and `committed` and `last` return the last ID.
 * - `at-least-once`: the plugin cannot know what is stored. The batch is written again, and rows may be duplicated.
 */
export type SinkPromise = "exactly-once" | "at-least-once";

/** A row with any columns. */
export type AnyRow = Readonly<Record<string, unknown>>;

/** Settings of a sink. */
export interface SinkSpec<I, S> {
  /**
   * The input columns, or a function that selects them from the existing ones (see {@link columns}); all by default. A row
   * with a null in a column that is not nullable is rejected before the sink sees it.
   */
  readonly input?: RowType<I> | ((config: Config<S>, given: readonly Field[]) => RowType<I>);
  /** The guarantee. `exactly-once` needs `committed` and a writer's `last`. */
  readonly promise: SinkPromise | ((config: Config<S>) => SinkPromise);
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** Identifies a sink. It is the same at every start of a job that resumes from its checkpoints, and unique. */
export interface Identity {
  /** Name of the job, for display. */
  readonly job: string;
  /** Unique ID of the job, 32 hexadecimal digits. It differs between jobs of the same name. */
  readonly jobId: string;
  /** Name of the sink in the job. */
  readonly sink: string;
}

/** The start of a job that writes to the sink. */
export interface Owner {
  /** Identity of the sink. */
  readonly identity: Identity;
  /**
   * Number of the job's start; later starts have larger numbers. Once a larger one has opened the sink, a smaller one has
   * been replaced and must not commit.
   */
  readonly generation: number;
}

/** The functions of a sink. */
export interface SinkFunctions<I, C> {
  /**
   * Called when a job is loaded. Throws a {@link configError} if the config could be read but is invalid. It has no
   * network access.
   */
  check?(config: C): void;
  /**
   * Returns the last stored batch, or `null`. Called before a start of the job decides where to resume. It must change
   * nothing, since an earlier start may still be writing.
   */
  committed?(config: C, identity: Identity): number | null;
  /** Opens the sink for rows with these columns, and takes it over from all owners of smaller generations. */
  open(config: C, owner: Owner, input: readonly Field[]): Writer<I>;
}

/** Writes the batches of a sink. For each batch: `begin`, `write` for each piece of the rows, `commit`. */
export interface Writer<I> {
  /** The last stored batch when the sink was opened; `null` or missing: none. */
  readonly last?: number | null;
  /** Starts a batch with its ID and the end of its interval. Batches without rows are skipped. */
  begin?(batch: number, time: Timestamp): void;
  /**
   * Writes more rows of the batch, in order. It rejects rows that cannot be written; the job decides what happens to
   * them.
   */
  write(rows: Departures<I>): void;
  /** Makes the rows of the batch and its ID visible atomically, after all are written. They are durable when it returns. */
  commit(batch: number): void;
}

/** Rows to write, in order. Also collects the rows that the sink rejects. */
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

  /** Number of rows, including rejected ones. */
  get length(): number {
    return this.batch.rows;
  }

  /** Yields the rows, except those rejected so far. */
  *[Symbol.iterator](): Generator<I, void> {
    for (const [, row] of this.entries()) yield row;
  }

  /** Yields the rows with their indexes, which {@link refuse} takes. */
  *entries(): Generator<[index: number, row: I], void> {
    for (let index = 0; index < this.length; index++) {
      if (!this.#refused.has(index)) yield [index, this.#read(index)];
    }
  }

  /** Rejects the row with this index. */
  refuse(index: number, reason: unknown): void {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) {
      throw internalError(`row ${index} is rejected, but there are ${this.length} rows`);
    }
    this.#refused.set(index, reason instanceof Error ? reason.message : String(reason));
  }

  /** Returns the rejected rows, in order. */
  refused(): Rejected[] {
    return Array.from(this.#refused, ([row, reason]) => ({ row, reason })).sort((a, b) => a.row - b.row);
  }
}

/** A sink's description, for hosts and tests. */
export interface SinkDescription {
  readonly input: readonly Field[];
  readonly promise: SinkPromise;
  readonly doc: string | undefined;
  readonly configSchema: string | undefined;
}

/** A sink with its config. */
export interface Sink {
  describe(input: readonly Field[]): SinkDescription;
  committed(identity: Identity): number | null;
  open(input: readonly Field[], owner: Owner): SinkWriter;
}

/** An open sink. */
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
 * Turns functions into a plugin of world `sink`.
 *
 * A `configError` fails the job, and so does an `inputError`, which concerns the rows. An {@link internalError} or a
 * `net.Fault` is treated as transient: the host drops the writer. After a delay it opens another one and repeats the batch from
 * its start, unless `last` is this batch. Any other exception is a bug of the plugin and fails the job.
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
 * Returns a row type with any columns, for {@link SinkSpec.input}: those with these names, or all of them.
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
