/** Servers that a test defines. A plugin's call cannot wait for Node's own sockets. */

import type { NetHost } from "./host.ts";
import type { HttpHost } from "./http.ts";
import { decodeOne, encodeOne } from "./utf8.ts";

/** A server's response to received data. `null` closes the connection. */
export type Answer = string | Uint8Array | null;

/** An HTTP request. */
export interface TestRequest {
  readonly method: string;
  readonly path: string;
  /** Names are lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The response of an HTTP server: a status, or more. `null`: no response. */
export type TestResponse =
  | number
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string | Uint8Array }
  | null;

/** HTTP servers by their address, for example `http://example.com:8080`. */
export class TestHttp {
  readonly servers = new Map<string, (request: TestRequest) => TestResponse>();

  readonly ask: HttpHost = ({ method, scheme, authority, path, headers, body }) => {
    const respond = this.servers.get(`${scheme}://${authority}`);
    if (respond === undefined) throw "no such server";
    const named = Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value]));
    const reply = respond({ method, path, headers: named, body: body === null ? "" : decodeOne(body) });
    if (reply === null) throw "connection terminated";
    const response = typeof reply === "number" ? { status: reply } : reply;
    return { status: response.status, headers: Object.entries(response.headers ?? {}), body: bytes(response.body ?? "") };
  };
}

interface TestSocket {
  readonly respond: (received: string) => Answer;
  unread: Uint8Array;
  isClosed: boolean;
}

/** Connections and datagrams. */
export class TestSockets implements NetHost {
  readonly servers = new Map<string, (received: string) => Answer>();
  readonly datagrams = new Map<string, Uint8Array[]>();
  readonly #open = new Map<number, TestSocket | Uint8Array[]>();
  #last = 0;

  connect(host: string, port: number): number {
    const respond = this.servers.get(`${host}:${port}`);
    if (respond === undefined) throw { tag: "failed", val: `no server at ${host}:${port}` };
    return this.#keep({ respond, unread: new Uint8Array(0), isClosed: false });
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
    const reply = own.respond(decodeOne(data));
    if (reply === null) own.isClosed = true;
    else own.unread = Uint8Array.of(...own.unread, ...bytes(reply));
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

/** Returns bytes; a string is encoded in UTF-8. */
export function bytes(data: Uint8Array | string): Uint8Array {
  return typeof data === "string" ? encodeOne(data) : data;
}
