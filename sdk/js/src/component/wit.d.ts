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

declare module "wasi:random/random@0.2.12" {
  export function getRandomBytes(length: number): Uint8Array;
}
