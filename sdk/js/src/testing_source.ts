/** Sources under test, with servers that the test makes up. */

import { setHost } from "./host.ts";
import type { Polled, SourcePartition, SourcePlugin } from "./source.ts";
import { Stage } from "./stage.ts";
import { type Answer, bytes, TestHttp, type TestRequest, type TestResponse, TestSockets } from "./testing_net.ts";
import { testHost, type TestRow, toRows } from "./testing_rows.ts";
import type { Description } from "./types.ts";

/** What a poll gave. */
export interface TestPoll extends Required<Pick<Polled, "pauseMs" | "ended">> {
  readonly rows: TestRow[];
  /** Received data that is not a row. */
  readonly refused: readonly { readonly data: Uint8Array; readonly reason: string }[];
  /** The position to resume at; `null`: unchanged. */
  readonly position: Uint8Array | null;
}

/** A partition that a source under test reads. */
export class PartitionTest {
  readonly #partition: SourcePartition;
  readonly #begin: () => Description;

  constructor(partition: SourcePartition, begin: () => Description) {
    this.#partition = partition;
    this.#begin = begin;
  }

  /** Returns the next rows; throws if there are more than the maximum, as a host does. */
  poll(rowsMax = 16384, waitMs = 500): TestPoll {
    const { output } = this.#begin();
    const { rows, ...others } = this.#partition.poll(rowsMax, waitMs);
    const count = rows.rows + others.refused.length;
    if (count > rowsMax) throw new RangeError(`${count} rows, including rejected ones, but at most ${rowsMax} were requested`);
    return { rows: toRows(output, rows), ...others };
  }

  /** Reports that the rows up to a position are durable. */
  durable(position: Uint8Array | string): void {
    this.#begin();
    this.#partition.durable(bytes(position));
  }

  /** Reports that a checkpoint with a position is published. */
  published(position: Uint8Array | string): void {
    this.#begin();
    this.#partition.published(bytes(position));
  }
}

/** A plugin of world `source` under test. */
export class SourceTest {
  readonly #plugin: SourcePlugin;
  readonly #sockets = new TestSockets();
  readonly #http = new TestHttp();
  #config = "{}";

  constructor(plugin: SourcePlugin) {
    this.#plugin = plugin;
  }

  /** The source's config. */
  config(config: unknown): this {
    this.#config = JSON.stringify(config);
    return this;
  }

  /** A server at an address, which responds to received data. Only its responses can be read. */
  server(address: string, answer: (told: string) => Answer): this {
    this.#sockets.servers.set(address, answer);
    return this;
  }

  /** An HTTP server at an address such as `https://example.com`, which responds to requests. */
  http(address: string, answer: (request: TestRequest) => TestResponse): this {
    this.#http.servers.set(address, answer);
    return this;
  }

  /** The datagrams that come to an address. */
  datagrams(address: string, ...data: readonly (string | Uint8Array)[]): this {
    this.#sockets.datagrams.set(address, data.map(bytes));
    return this;
  }

  /** What the plugin says of itself. */
  describe(): Description {
    return this.#source().describe();
  }

  /** The partitions that there are. */
  partitions(): readonly string[] {
    return this.#source().partitions();
  }

  /** Begins to read a partition, at a position of an earlier poll; `null`: at its beginning. */
  open(partition = "", position: Uint8Array | string | null = null): PartitionTest {
    this.describe();
    const opened = this.#source().open(partition, position === null ? null : bytes(position));
    return new PartitionTest(opened, () => this.describe());
  }

  #source() {
    setHost({ ...testHost(), net: this.#sockets, http: this.#http.ask });
    return this.#plugin.create(new Stage(this.#config, [], []));
  }
}
