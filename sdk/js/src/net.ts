/**
 * TCP connections and UDP datagrams to addresses that the job grants: `grant = { tcp = ["host:port"] }` and `udp =
 * ["host:port"]`. Worlds `source` and `sink` only.
 *
 * Each call waits at most for its timeout and can then be repeated. In tests, the test defines the servers.
 */

import { host, type NetHost } from "./host.ts";
import { decodeOne, encodeOne } from "./utf8.ts";

/**
 * - `timeout`: the operation did not finish within the timeout. No data is lost: repeat the call.
 * - `closed`: the peer has closed the connection.
 * - `failed`: any other failure: not granted, connection refused, unknown host.
 */
export type FaultKind = "timeout" | "closed" | "failed";

/** A failed operation. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message?: string) {
    super(message ?? WORDS[kind]);
    this.kind = kind;
  }

  /** Returns whether an exception is a fault of this kind. */
  static is(error: unknown, kind: FaultKind): error is Fault {
    return error instanceof Fault && error.kind === kind;
  }
}

const WORDS = {
  timeout: "timed out",
  closed: "the other side has closed the connection",
  failed: "the operation failed",
};

/** A TCP connection. */
export class Connection {
  readonly #socket: number;

  /** Connects to an address, for example `example.com:514` or `[::1]:514`. Throws a {@link Fault}. */
  constructor(address: string, timeoutMs: number) {
    this.#socket = callHost((net) => net.connect(...parts(address), millis(timeoutMs)));
  }

  /**
   * Reads the available bytes: at least one, at most `bytesMax`. Waits for the first one. Throws a {@link Fault}.
   */
  read(bytesMax: number, timeoutMs: number): Uint8Array {
    return callHost((net) => net.read(this.#socket, bytesMax, millis(timeoutMs)));
  }

  /** Writes all bytes. After a `timeout`, some of them may have been sent. Throws a {@link Fault}. */
  write(data: Uint8Array | string, timeoutMs: number): void {
    callHost((net) => net.write(this.#socket, bytes(data), millis(timeoutMs)));
  }

  /** Closes the connection. Does nothing if it is closed. */
  close(): void {
    callHost((net) => net.close(this.#socket));
  }
}

const READ_BYTES = 1 << 16;
const NEWLINE = 10;
const RETURN = 13;

/** Complete lines from a connection, however they are sent. */
export class Lines {
  /** The connection, for writing. */
  readonly connection: Connection;
  readonly #lineBytesMax: number;
  #buffer = new Uint8Array(0);
  /** Start of the next line. `#searched` is the index up to which it is searched for its end. */
  #start = 0;
  #searched = 0;

  constructor(connection: Connection, lineBytesMax: number) {
    this.connection = connection;
    this.#lineBytesMax = lineBytesMax;
  }

  /**
   * Returns the next line without its end (`\n` or `\r\n`). Waits at most `timeoutMs` for more bytes. A partial line is
   * kept for the next call. If the connection ends within a line, that line is dropped. Throws a {@link Fault}.
   */
  next(timeoutMs: number): Uint8Array {
    for (let waitMs = timeoutMs; ; ) {
      const at = this.#buffer.indexOf(NEWLINE, this.#searched);
      if (at >= 0) {
        const end = at > this.#start && this.#buffer[at - 1] === RETURN ? at - 1 : at;
        const line = this.#buffer.subarray(this.#start, end);
        this.#start = this.#searched = at + 1;
        return line;
      }
      this.#searched = this.#buffer.length;
      if (this.#searched - this.#start > this.#lineBytesMax) {
        throw new Fault("failed", `a line of more than ${this.#lineBytesMax} bytes`);
      }
      const more = this.connection.read(READ_BYTES, waitMs);
      const rest = this.#buffer.subarray(this.#start);
      this.#buffer = new Uint8Array(rest.length + more.length);
      this.#buffer.set(rest);
      this.#buffer.set(more, rest.length);
      this.#searched -= this.#start;
      this.#start = 0;
      // There is no clock here, so only the first wait uses the timeout.
      waitMs = 0;
    }
  }

  /** Returns the next line as a string. A line that is not UTF-8 throws a `URIError` and is lost. */
  nextText(timeoutMs: number): string {
    return decodeOne(this.next(timeoutMs));
  }
}

/** A received datagram. */
export interface Datagram {
  /** Address of the sender, for example `127.0.0.1:5514`. */
  readonly sender: string;
  /** Payload. */
  readonly data: Uint8Array;
}

/** A UDP socket. */
export class Datagrams {
  readonly #socket: number;

  /**
   * Listens on an address of this machine, for example `0.0.0.0:514`. Port 0 is any free port. Throws a {@link Fault}.
   */
  constructor(address: string) {
    this.#socket = callHost((net) => net.bind(...parts(address)));
  }

  /** Receives the next datagram, truncated to `bytesMax`. Throws a {@link Fault}. */
  receive(bytesMax: number, timeoutMs: number): Datagram {
    return callHost((net) => net.receive(this.#socket, bytesMax, millis(timeoutMs)));
  }

  /** Sends a datagram to an address. Throws a {@link Fault}. */
  send(address: string, data: Uint8Array | string): void {
    callHost((net) => net.send(this.#socket, ...parts(address), bytes(data)));
  }

  /** Closes the socket. Does nothing if it is closed. */
  close(): void {
    callHost((net) => net.close(this.#socket));
  }
}

/** Calls the host. Throws its faults as {@link Fault}. */
function callHost<T>(call: (net: NetHost) => T): T {
  const { net } = host();
  if (net === undefined) throw new Fault("failed", "only plugins of worlds source and sink have connections and datagrams");
  try {
    return call(net);
  } catch (error) {
    if (error instanceof Fault) throw error;
    // The host's own fault is in `payload`.
    const fault = ((error as { payload?: unknown }).payload ?? error) as { tag?: FaultKind; val?: string };
    if (fault.tag === undefined || !(fault.tag in WORDS)) throw error;
    throw new Fault(fault.tag, fault.val);
  }
}

/** Splits an address into host and port. */
function parts(address: string): [string, number] {
  const found = /^(.+):(\d{1,5})$/.exec(address);
  const port = Number(found?.[2]);
  if (found === null || port > 65535) throw new Fault("failed", `\`${address}\` is not an address; write it as \`example.com:514\``);
  return [found[1]!, port];
}

function millis(time: number): number {
  return Math.min(Math.max(Math.trunc(time), 0), 0xffff_ffff);
}

function bytes(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? encodeOne(data) : data;
}
