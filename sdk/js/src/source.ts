/** World `source`: reads rows from an external system. */

import { Batch } from "./batch.ts";
import type { RowWriter } from "./compile.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { missingReturn, returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Description } from "./types.ts";
import { encodeOne } from "./utf8.ts";

/** Settings of a source. */
export interface SourceSpec<O, S> {
  /** The output columns. */
  readonly output: RowType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The functions of a source. */
export interface SourceFunctions<O, C> {
  /**
   * Called when a job is loaded. Throws a {@link configError} if the config could be read but is invalid. It has no
   * network access.
   */
  check?(config: C): void;
  /**
   * Returns the names of the partitions, which must be stable. Called when the job starts, and periodically. Each
   * partition is read in order, independently, and has its own position. Without this function, there is one partition
   * without a name.
   */
  partitions?(config: C): readonly string[];
  /** Opens a partition at the position of an earlier poll, or with `null` at its start. */
  open(config: C, partition: string, position: Uint8Array | null): Reader<O>;
}

/** Reads one partition. */
export interface Reader<O> {
  /**
   * Reads the next rows. Waits for them at most `waitMs` milliseconds. Calls come one after another, and only when the
   * job can process more rows.
   */
  poll(rows: Arrivals<O>, waitMs: number): Polled;
  /**
   * Notifies the source that the rows up to this position are durable and may be acknowledged. Later positions include
   * earlier ones. After `open`, the host repeats the last call, which may have been lost.
   */
  durable?(position: Uint8Array): void;
  /** Notifies the source that a checkpoint with this position is published. No earlier one is ever opened again. */
  published?(position: Uint8Array): void;
}

/**
 * Result of a poll besides its rows. With `{}`, the host polls again immediately. Return it also after a poll that waited
 * and had no rows: the next one waits again.
 */
export interface Polled {
  /** Position after all rows of the poll, in a format of the plugin. Missing: unchanged. */
  readonly position?: Uint8Array | string;
  /** There are no rows now. The host polls again after this number of milliseconds or earlier. */
  readonly pauseMs?: number;
  /** The partition has ended. */
  readonly ended?: boolean;
}

/** Received data that is not a row. It goes to the source's rejected rows. */
export interface Refused {
  /** The received data, or its start. */
  readonly data: Uint8Array;
  /** The reason as text. */
  readonly reason: string;
}

/** Collects what a poll received: rows and rejected data. */
export class Arrivals<O> {
  readonly #writer: RowWriter<O>;
  readonly #max: number;
  readonly #refused: Refused[] = [];

  constructor(writer: RowWriter<O>, max: number) {
    this.#writer = writer;
    this.#max = max;
  }

  /** Appends a row. More rows than the host requested fail the poll, so check `left` first. */
  push(row: O): void {
    this.#writer.push(row);
  }

  /** Rejects received data that is not a row. It counts as a row. */
  refuse(data: Uint8Array | string, reason: string): void {
    this.#refused.push({ data: bytes(data), reason });
  }

  /** Number of rows and rejected data so far. */
  get length(): number {
    return this.#writer.rows() + this.#refused.length;
  }

  /** Number of rows that this poll may still add. */
  get left(): number {
    return Math.max(this.#max - this.length, 0);
  }

  /** Returns the rows as columns, and the rejected data. */
  finish(): { readonly rows: Batch; readonly refused: readonly Refused[] } {
    return { rows: new Batch(this.#writer.rows(), this.#writer.finish()), refused: this.#refused };
  }
}

/** Result of a poll, for hosts and tests. */
export interface Poll {
  readonly rows: Batch;
  readonly refused: readonly Refused[];
  readonly position: Uint8Array | null;
  readonly pauseMs: number;
  readonly ended: boolean;
}

/** A source with its config. */
export interface Source {
  describe(): Description;
  partitions(): readonly string[];
  open(partition: string, position: Uint8Array | null): SourcePartition;
}

/** An open partition. */
export interface SourcePartition {
  poll(rowsMax: number, waitMs: number): Poll;
  durable(position: Uint8Array): void;
  published(position: Uint8Array): void;
}

/** A plugin; the default export of its module. */
export interface SourcePlugin {
  readonly world: "source";
  /** Reads the config. */
  create(stage: Stage): Source;
}

/**
 * Turns functions into a plugin of world `source`.
 *
 * The host stores the rows of a poll and the position after them atomically. So each row arrives exactly once if the source can
 * resume at a position. A `configError` fails the job. An {@link internalError} or a `net.Fault` is treated as transient: the
 * host drops the reader and after a delay opens another one at the position of the last poll. Any other exception is a bug of
 * the plugin and fails the job.
 */
export function source<O, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: SourceSpec<O, S>,
  functions: SourceFunctions<O, Config<S>>,
): SourcePlugin {
  return {
    world: "source",
    create(stage) {
      const config = readConfig(spec.config, stage) as Config<S>;
      return {
        describe() {
          functions.check?.(config);
          return { output: spec.output.fields, doc: spec.doc, configSchema: configSchema(spec.config) };
        },
        partitions() {
          if (functions.partitions === undefined) return [""];
          return returnedBy(functions.partitions, "partitions", functions.partitions(config));
        },
        open: (partition, position) => reading(spec.output, functions, config, partition, position),
      };
    },
  };
}

function reading<O, C>(
  output: RowType<O>,
  functions: SourceFunctions<O, C>,
  config: C,
  partition: string,
  position: Uint8Array | null,
): SourcePartition {
  const reader = returnedBy(functions.open, "open", functions.open(config, partition, position));
  return {
    poll(rowsMax, waitMs) {
      const rows = new Arrivals(output.writer(), rowsMax);
      const polled = reader.poll(rows, waitMs) as Polled | undefined | null;
      if (polled === undefined || polled === null) throw missingReturn(reader.poll, "poll", polled, "Write `return {}`.");
      const { position, pauseMs, ended } = polled;
      return { ...rows.finish(), position: position === undefined ? null : bytes(position), pauseMs: pauseMs ?? 0, ended: ended ?? false };
    },
    durable: (position) => reader.durable?.(position),
    published: (position) => reader.published?.(position),
  };
}

function bytes(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? encodeOne(data) : data;
}
