/** Functions that a plugin can call outside of itself: the host's imports in a component, fakes in tests. */

import type { HttpHost } from "./http.ts";
import type { WireSchema } from "./types.ts";

export type Level = "debug" | "info" | "warn" | "error";

export interface Host {
  log(level: Level, message: string): void;
  count(counter: string, amount: number): void;
  /** Returns the content of a granted file. Throws a string if the job grants no file of this name. */
  file(name: string): Uint8Array;
  input(): WireSchema;
  inputs(): readonly WireSchema[];
  key(): WireSchema;
  /** World `update`: timers of the groups of this call. */
  readonly timers: TimersHost | undefined;
  /** Worlds `source` and `sink`: connections and datagrams. */
  readonly net: NetHost | undefined;
  /** HTTP requests, if the plugin's manifest requests them. */
  readonly http: HttpHost | undefined;
}

export interface TimersHost {
  set(group: number, at: bigint): void;
  cancel(group: number, at: bigint): void;
  due(): { readonly ends: Uint8Array; readonly times: Uint8Array };
}

/** Sockets by number. Methods throw a fault `{ tag, val }`, or an object with a fault as `payload`. */
export interface NetHost {
  connect(host: string, port: number, timeoutMs: number): number;
  read(socket: number, bytesMax: number, timeoutMs: number): Uint8Array;
  write(socket: number, data: Uint8Array, timeoutMs: number): void;
  bind(host: string, port: number): number;
  receive(socket: number, bytesMax: number, timeoutMs: number): { readonly sender: string; readonly data: Uint8Array };
  send(socket: number, host: string, port: number, data: Uint8Array): void;
  close(socket: number): void;
}

let current: Host | undefined;

/** Returns the host of this component or test. */
export function host(): Host {
  if (current === undefined) throw new Error("a plugin can ask the host only while it is called");
  return current;
}

export function setHost(host: Host): void {
  current = host;
}

/** Writes lines to the log. Does nothing without a host, while a plugin is built. */
export function writeLog(level: Level, message: string): void {
  for (const line of message.toWellFormed().split("\n")) current?.log(level, line);
}
