/** The imports of a component, as componentize-qjs names them. */

declare module "millstream:plugin/log@0.1.3" {
  export function write(level: string, message: string): void;
}

declare module "millstream:plugin/metrics@0.1.3" {
  export function add(counter: string, amount: number): void;
}

declare module "millstream:plugin/files@0.1.3" {
  export function size(name: string): number;
  export function read(name: string, offset: number, length: number): Uint8Array;
}

declare module "millstream:plugin/stage@0.1.3" {
  import type { WireSchema } from "../types.ts";
  export function input(): WireSchema;
  export function key(): WireSchema;
  export function inputs(): WireSchema[];
}

declare module "millstream:plugin/timers@0.1.3" {
  export function set(group: number, at: number): void;
  export function cancel(group: number, at: number): void;
  export function due(): { ends: Uint8Array; times: Uint8Array };
}

declare module "millstream:plugin/net@0.1.3" {
  export function connect(host: string, port: number, timeoutMs: number): number;
  export function read(socket: number, bytesMax: number, timeoutMs: number): Uint8Array;
  export function write(socket: number, data: Uint8Array, timeoutMs: number): void;
  export function bind(host: string, port: number): number;
  export function receive(socket: number, bytesMax: number, timeoutMs: number): { sender: string; data: Uint8Array };
  export function send(socket: number, host: string, port: number, data: Uint8Array): void;
  export function close(socket: number): void;
}

declare module "wasi:random/random@0.2.12" {
  export function getRandomBytes(length: number): Uint8Array;
}
