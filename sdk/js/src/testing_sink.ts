/** Sinks under test, with servers that the test defines. */

import { setHost } from "./host.ts";
import type { SinkDescription, SinkPlugin, SinkWriter } from "./sink.ts";
import { Stage } from "./stage.ts";
import { type Answer, TestHttp, type TestRequest, type TestResponse, TestSockets } from "./testing_net.ts";
import { testHost, type TestRow, toBatch } from "./testing_rows.ts";
import type { Field, Rejected } from "./types.ts";

/** The open sink of a test. */
export class WriterTest {
  /** The last stored batch when it was opened, or `null`. */
  readonly last: number | null;
  readonly #writer: SinkWriter;
  readonly #begin: () => readonly Field[];

  constructor(writer: SinkWriter, begin: () => readonly Field[]) {
    this.last = writer.last;
    this.#writer = writer;
    this.#begin = begin;
  }

  /** Writes a batch and commits it. Returns the rejected rows. */
  batch(batch: number, rows: readonly TestRow[]): Rejected[] {
    const refused = this.begun(batch, rows);
    this.#writer.commit(batch);
    return refused;
  }

  /** Writes a batch without committing it, as before a failure. */
  begun(batch: number, rows: readonly TestRow[]): Rejected[] {
    const fields = this.#begin();
    this.#writer.begin(batch, BigInt(batch) * 1_000_000n);
    return this.#writer.write(toBatch(fields, rows));
  }
}

/** A plugin of world `sink` under test: sink `out` of a job `test`. */
export class SinkTest {
  readonly #plugin: SinkPlugin;
  readonly #sockets = new TestSockets();
  readonly #http = new TestHttp();
  readonly #fieldsOf: (columns: string) => Field[];
  #config = "{}";
  #input: readonly Field[] = [];

  constructor(plugin: SinkPlugin, fieldsOf: (columns: string) => Field[]) {
    this.#plugin = plugin;
    this.#fieldsOf = fieldsOf;
  }

  /** Sets the sink's config. */
  config(config: unknown): this {
    this.#config = JSON.stringify(config);
    return this;
  }

  /**
   * Sets the columns of the sink's input, for example `"user text, amount int64"`. Only sinks that accept any columns
   * need it.
   */
  input(columns: string): this {
    this.#input = this.#fieldsOf(columns);
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

  /** Returns the plugin's description. */
  describe(): SinkDescription {
    return this.#sink().describe(this.#input);
  }

  /** Returns the last stored batch of the job with this ID. */
  committed(jobId: string): number | null {
    return this.#sink().committed(identity(jobId));
  }

  /** Opens the sink for the job with this ID and this start number. */
  open(jobId = "job", generation = 1): WriterTest {
    const { input } = this.describe();
    const writer = this.#sink().open(input, { identity: identity(jobId), generation });
    return new WriterTest(writer, () => {
      this.#sink();
      return input;
    });
  }

  #sink() {
    setHost({ ...testHost(), net: this.#sockets, http: this.#http.ask });
    return this.#plugin.create(new Stage(this.#config, [], []));
  }
}

function identity(jobId: string) {
  return { job: "test", jobId, sink: "out" };
}
