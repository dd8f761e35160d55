/** Sources under test, with servers that the test defines. */

import { setHost } from "./host.ts";
import type { Polled, SourcePartition, SourcePlugin } from "./source.ts";
import { Stage } from "./stage.ts";
import { type Answer, bytes, TestHttp, type TestRequest, type TestResponse, TestSockets } from "./testing_net.ts";
import { testHost, type TestRow, toRows } from "./testing_rows.ts";
import type { Description } from "./types.ts";

/** Result of a poll. */
export interface TestPoll extends Required<Pick<Polled, "pauseMs" | "ended">> {
  readonly rows: TestRow[];
  /** The rejected data. */
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

  /** Polls for the next rows. As in a host, more rows than the maximum are an error. */
  poll(rowsMax = 16384, waitMs = 500): TestPoll {
    const { output } = this.#begin();
    const { rows, ...others } = this.#partition.poll(rowsMax, waitMs);
    const count = rows.rows + others.refused.length;
    if (count > rowsMax) throw new RangeError(`${count} rows, including rejected ones, but at most ${rowsMax} were requested`);
    return { rows: toRows(output, rows), ...others };
  }

  /** Notifies the source that the rows up to a position are durable. */
  durable(position: Uint8Array | string): void {
    this.#begin();
    this.#partition.durable(bytes(position));
  }

  /** Notifies the source that a checkpoint with a position is published. */
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

  /** Sets the source's config. */
  config(config: unknown): this {
    this.#config = JSON.stringify(config);
    return this;
  }

  /** Defines a server at an address, which responds to received data. Only its responses can be read. */
  server(address: string, respond: (received: string) => Answer): this {
    this.#sockets.servers.set(address, respond);
    return this;
  }

  /** Defines an HTTP server at an address such as `https://example.com`, which responds to requests. */
  http(address: string, respond: (request: TestRequest) => TestResponse): this {
    this.#http.servers.set(address, respond);
    return this;
  }

  /** Sets the datagrams that an address receives. */
  datagrams(address: string, ...data: readonly (string | Uint8Array)[]): this {
    this.#sockets.datagrams.set(address, data.map(bytes));
    return this;
  }

  /** Returns the plugin's description. */
  describe(): Description {
    return this.#source().describe();
  }

  /** Returns the partitions. */
  partitions(): readonly string[] {
    return this.#source().partitions();
  }

  /** Opens a partition at a position of an earlier poll, or with `null` at its start. */
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
