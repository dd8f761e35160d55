/**
 * Connections over TCP, and datagrams over UDP, to where the job lets the plugin go: `grant = { tcp = ["host:port"] }` and
 * `udp = ["host:port"]`. Worlds `source` and `sink` only.
 *
 * Every wait ends with its time; what was not there by then can be waited for again. In tests the sockets are what the test has
 * made up.
 */

import { host, type NetHost } from "./host.ts";
import { decodeOne, encodeOne } from "./utf8.ts";

/**
 * - `timeout`: nothing was received or sent within the time. Nothing is lost: it can be retried.
 * - `closed`: the other side has closed the connection.
 * - `failed`: anything else: not granted, connection refused, unknown host.
 */
export type FaultKind = "timeout" | "closed" | "failed";

/** Why something could not be done. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message?: string) {
    super(message ?? WORDS[kind]);
    this.kind = kind;
  }

  /** Whether an exception is a fault of this kind. */
  static is(error: unknown, kind: FaultKind): error is Fault {
    return error instanceof Fault && error.kind === kind;
  }
}

const WORDS = {
  timeout: "nothing came within the time",
  closed: "the other side has closed the connection",
  failed: "it could not be done",
};

/** A connection over TCP. */
export class Connection {
  readonly #socket: number;

  /** Connects to an address as `example.com:514` or `[::1]:514`. Throws a {@link Fault}. */
  constructor(address: string, timeoutMs: number) {
    this.#socket = asked((net) => net.connect(...parts(address), millis(timeoutMs)));
  }

  /**
   * Returns available data: at least one byte, and at most the maximum. Waits for the first. Throws a {@link Fault}.
   */
  read(bytesMax: number, timeoutMs: number): Uint8Array {
    return asked((net) => net.read(this.#socket, bytesMax, millis(timeoutMs)));
  }

  /** Writes all of these bytes. After a `timeout` some of them may have been sent. Throws a {@link Fault}. */
  write(data: Uint8Array | string, timeoutMs: number): void {
    asked((net) => net.write(this.#socket, bytes(data), millis(timeoutMs)));
  }

  /** Closes it; again does nothing. */
  close(): void {
    asked((net) => net.close(this.#socket));
  }
}

const READ_BYTES = 1 << 16;
const NEWLINE = 10;
const RETURN = 13;

/** Complete lines from a connection, however they are sent. */
export class Lines {
  /** The connection, to write to it. */
  readonly connection: Connection;
  readonly #lineBytesMax: number;
  #buffer = new Uint8Array(0);
  /** The start of the next line, and the position before which there is no line end. */
  #start = 0;
  #searched = 0;

  constructor(connection: Connection, lineBytesMax: number) {
    this.connection = connection;
    this.#lineBytesMax = lineBytesMax;
  }

  /**
   * Returns the next line without its end (`\n` or `\r\n`), and waits for it no longer than the timeout. A part of a
   * line that has arrived by then is kept for the next call; a part before the end of the connection is not a line.
   * Throws a {@link Fault}.
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
      // There is no clock here: only the first wait is a long one.
      waitMs = 0;
    }
  }

  /** The same as text; a line that is not UTF-8 throws a `URIError`, and is lost. */
  nextText(timeoutMs: number): string {
    return decodeOne(this.next(timeoutMs));
  }
}

/** A datagram that came. */
export interface Datagram {
  /** Who sent it: `127.0.0.1:5514`. */
  readonly sender: string;
  /** What it holds. */
  readonly data: Uint8Array;
}

/** A socket for datagrams over UDP. */
export class Datagrams {
  readonly #socket: number;

  /**
   * Listens at an address of this machine, for example `0.0.0.0:514`; port 0 selects any free port. Throws a {@link
   * Fault}.
   */
  constructor(address: string) {
    this.#socket = asked((net) => net.bind(...parts(address)));
  }

  /** Returns the next datagram, truncated to the maximum. Throws a {@link Fault}. */
  receive(bytesMax: number, timeoutMs: number): Datagram {
    return asked((net) => net.receive(this.#socket, bytesMax, millis(timeoutMs)));
  }

  /** Sends a datagram to an address. Throws a {@link Fault}. */
  send(address: string, data: Uint8Array | string): void {
    asked((net) => net.send(this.#socket, ...parts(address), bytes(data)));
  }

  /** Closes it; again does nothing. */
  close(): void {
    asked((net) => net.close(this.#socket));
  }
}

/** Calls the host, and throws its faults as ours. */
function asked<T>(ask: (net: NetHost) => T): T {
  const { net } = host();
  if (net === undefined) throw new Fault("failed", "only plugins of worlds source and sink have connections and datagrams");
  try {
    return ask(net);
  } catch (error) {
    if (error instanceof Fault) throw error;
    // The host's own words are in `payload`.
    const fault = ((error as { payload?: unknown }).payload ?? error) as { tag?: FaultKind; val?: string };
    if (fault.tag === undefined || !(fault.tag in WORDS)) throw error;
    throw new Fault(fault.tag, fault.val);
  }
}

/** Host and port. */
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
