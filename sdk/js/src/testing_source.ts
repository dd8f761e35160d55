/** Sources under test, with servers that the test makes up: Node's own sockets cannot be waited for within a call. */

import { type NetHost, setHost } from "./host.ts";
import type { Polled, SourcePartition, SourcePlugin } from "./source.ts";
import { Stage } from "./stage.ts";
import { testHost, type TestRow, toRows } from "./testing_rows.ts";
import type { Description } from "./types.ts";
import { decodeOne, encodeOne } from "./utf8.ts";

/** What a server answers to what it is told; `null`: it closes the connection. */
export type Answer = string | Uint8Array | null;

/** What a poll gave. */
export interface TestPoll extends Required<Pick<Polled, "pauseMs" | "ended">> {
  readonly rows: TestRow[];
  /** What came and is no row. */
  readonly refused: readonly { readonly data: Uint8Array; readonly reason: string }[];
  /** Where to go on; `null`: where the partition stood before. */
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

  /** The next rows; throws where there are more than so many, as a host does. */
  poll(rowsMax = 16384, waitMs = 500): TestPoll {
    const { output } = this.#begin();
    const { rows, ...others } = this.#partition.poll(rowsMax, waitMs);
    const count = rows.rows + others.refused.length;
    if (count > rowsMax) throw new RangeError(`${count} rows, refused ones included, where at most ${rowsMax} were asked for`);
    return { rows: toRows(output, rows), ...others };
  }

  /** Tells it that the rows up to a position are safe. */
  durable(position: Uint8Array | string): void {
    this.#begin();
    this.#partition.durable(bytes(position));
  }

  /** Tells it that a checkpoint with a position is published. */
  published(position: Uint8Array | string): void {
    this.#begin();
    this.#partition.published(bytes(position));
  }
}

/** A plugin of world `source` under test. */
export class SourceTest {
  readonly #plugin: SourcePlugin;
  readonly #sockets = new TestSockets();
  #config = "{}";

  constructor(plugin: SourcePlugin) {
    this.#plugin = plugin;
  }

  /** The source's config. */
  config(config: unknown): this {
    this.#config = JSON.stringify(config);
    return this;
  }

  /** A server at an address, which answers what it is told. What it has answered can be read, and nothing else comes. */
  server(address: string, answer: (told: string) => Answer): this {
    this.#sockets.servers.set(address, answer);
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
    setHost({ ...testHost(), net: this.#sockets });
    return this.#plugin.create(new Stage(this.#config, [], []));
  }
}

interface TestSocket {
  readonly answer: (told: string) => Answer;
  unread: Uint8Array;
  isClosed: boolean;
}

class TestSockets implements NetHost {
  readonly servers = new Map<string, (told: string) => Answer>();
  readonly datagrams = new Map<string, Uint8Array[]>();
  readonly #open = new Map<number, TestSocket | Uint8Array[]>();
  #last = 0;

  connect(host: string, port: number): number {
    const answer = this.servers.get(`${host}:${port}`);
    if (answer === undefined) throw { tag: "failed", val: `there is no server at ${host}:${port}` };
    return this.#keep({ answer, unread: new Uint8Array(0), isClosed: false });
  }

  read(socket: number, bytesMax: number): Uint8Array {
    const own = this.#tcp(socket);
    if (own.unread.length === 0) throw { tag: own.isClosed ? "closed" : "timeout" };
    const data = own.unread.slice(0, bytesMax);
    own.unread = own.unread.slice(bytesMax);
    return data;
  }

  write(socket: number, data: Uint8Array): void {
    const own = this.#tcp(socket);
    if (own.isClosed) throw { tag: "closed" };
    const answer = own.answer(decodeOne(data));
    if (answer === null) own.isClosed = true;
    else own.unread = Uint8Array.of(...own.unread, ...bytes(answer));
  }

  bind(host: string, port: number): number {
    return this.#keep(this.datagrams.get(`${host}:${port}`) ?? []);
  }

  receive(socket: number, bytesMax: number): { sender: string; data: Uint8Array } {
    const own = this.#open.get(socket);
    const data = Array.isArray(own) ? own.shift() : undefined;
    if (data === undefined) throw { tag: "timeout" };
    return { sender: "127.0.0.1:1", data: data.slice(0, bytesMax) };
  }

  send(): void {}

  close(socket: number): void {
    this.#open.delete(socket);
  }

  #keep(socket: TestSocket | Uint8Array[]): number {
    this.#open.set(++this.#last, socket);
    return this.#last;
  }

  #tcp(socket: number): TestSocket {
    const own = this.#open.get(socket);
    if (own === undefined || Array.isArray(own)) throw { tag: "closed" };
    return own;
  }
}

function bytes(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? encodeOne(data) : data;
}
