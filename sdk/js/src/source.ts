/** World `source`: rows from elsewhere. */

import { Batch } from "./batch.ts";
import type { RowWriter } from "./compile.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { missingReturn, returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { Description } from "./types.ts";
import { encodeOne } from "./utf8.ts";

/** What a source says of itself. */
export interface SourceSpec<O, S> {
  /** The columns of the rows that it returns. */
  readonly output: RowType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** What it is for; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The functions of a source. */
export interface SourceFunctions<O, C> {
  /**
   * Called when a job is loaded: throws a {@link configError} for a config that can be read but is invalid. There is
   * no network yet.
   */
  check?(config: C): void;
  /**
   * Returns the partitions, by stable names; called when the job starts, and periodically. Each is read in order,
   * independently, and keeps its own position. Without this function there is one, without a name.
   */
  partitions?(config: C): readonly string[];
  /** Opens a partition at the position of an earlier poll; `null`: at its beginning. */
  open(config: C, partition: string, position: Uint8Array | null): Reader<O>;
}

/** What reads one partition. */
export interface Reader<O> {
  /**
   * Reads the next rows, and waits for them no longer than this number of milliseconds. Calls are sequential, and
   * there are none while more rows cannot be processed.
   */
  poll(rows: Arrivals<O>, waitMs: number): Polled;
  /**
   * The rows up to this position are durable and may be acknowledged. Later positions include earlier ones. After
   * `open` the last call is repeated, as it may not have been received.
   */
  durable?(position: Uint8Array): void;
  /** A checkpoint with this position is published: no earlier one is ever opened again. */
  published?(position: Uint8Array): void;
}

/**
 * The result of a poll besides its rows. `{}`: there may be more immediately. Also return this after a poll that
 * waited without a row: the next one waits again.
 */
export interface Polled {
  /** The position after all of its rows, in a format of your own; unchanged if missing. */
  readonly position?: Uint8Array | string;
  /** There is nothing for now: the host polls again after this number of milliseconds, or sooner. */
  readonly pauseMs?: number;
  /** The partition has come to its end. */
  readonly ended?: boolean;
}

/** Received data that is not a row. It goes to the source's rejected rows. */
export interface Refused {
  /** What came, or the beginning of it. */
  readonly data: Uint8Array;
  /** Why, for a person to read. */
  readonly reason: string;
}

/** The result of a poll: rows, and data that is not a row. */
export class Arrivals<O> {
  readonly #writer: RowWriter<O>;
  readonly #max: number;
  readonly #refused: Refused[] = [];

  constructor(writer: RowWriter<O>, max: number) {
    this.#writer = writer;
    this.#max = max;
  }

  /** Appends a row. One more than requested fails the poll, so check `left` first. */
  push(row: O): void {
    this.#writer.push(row);
  }

  /** Rejects data that is not a row. It counts like a row. */
  refuse(data: Uint8Array | string, reason: string): void {
    this.#refused.push({ data: bytes(data), reason });
  }

  /** How many came so far. */
  get length(): number {
    return this.#writer.rows() + this.#refused.length;
  }

  /** How many more may come in this poll. */
  get left(): number {
    return Math.max(this.#max - this.length, 0);
  }

  /** What came. */
  finish(): { readonly rows: Batch; readonly refused: readonly Refused[] } {
    return { rows: new Batch(this.#writer.rows(), this.#writer.finish()), refused: this.#refused };
  }
}

/** What a poll gave, as hosts and tests see it. */
export interface Poll {
  readonly rows: Batch;
  readonly refused: readonly Refused[];
  readonly position: Uint8Array | null;
  readonly pauseMs: number;
  readonly ended: boolean;
}

/** A source of a config. */
export interface Source {
  describe(): Description;
  partitions(): readonly string[];
  open(partition: string, position: Uint8Array | null): SourcePartition;
}

/** A partition that is read. */
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
 * Makes functions a plugin of world `source`.
 *
 * The host keeps the rows of a poll and the position behind them together, so that each row comes exactly once where the source
 * can go on at a position. A `configError` ends the job. An {@link internalError} or a `net.Fault` is taken for something that
 * passes: the reader is thrown away, and after a while another one is opened where the last poll left off. Any other exception
 * is a mistake of the plugin, and ends the job as well.
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
