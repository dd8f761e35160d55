/**
 * Runs before the plugin's modules. It keeps data of the build machine out of the component, and data of one call out of
 * the next.
 *
 * A component is a snapshot of QuickJS after the plugin's modules have run. Until the first call, clocks return 1970 and
 * `Math.random` always starts with the same seed. From then on, clocks return the batch time, and `Math.random` takes a
 * new seed from the host, which is the same when the batch is replayed.
 */

import { hostConsole } from "../console.ts";
import { traceOf } from "../stack.ts";

let isCalled = false;
let randomBytes: ((length: number) => Uint8Array) | undefined;
/** The state of xoshiro128++; `undefined` until a call requests the first number. */
let seed: Int32Array | undefined = Int32Array.of(0x6d696c6c, 0x73747265, 0x616d2073, 0x64);

/** Starts a call. */
export function beginCall(random: (length: number) => Uint8Array): void {
  if (!isCalled) Object.assign(Error, { prepareStackTrace: undefined });
  isCalled = true;
  randomBytes = random;
  seed = undefined;
}

const SystemDate = Date;

function VirtualDate(this: unknown, ...values: unknown[]): unknown {
  if (new.target === undefined) return new SystemDate(now()).toString();
  const date = values.length === 0 ? [now()] : values;
  return Reflect.construct(SystemDate, date, new.target === (VirtualDate as unknown) ? SystemDate : new.target);
}

function now(): number {
  return isCalled ? SystemDate.now() : 0;
}

Object.defineProperties(VirtualDate, Object.getOwnPropertyDescriptors(SystemDate));
Object.defineProperty(VirtualDate, "now", { value: now, writable: true, configurable: true });
Object.defineProperty(SystemDate.prototype, "constructor", { value: VirtualDate, writable: true, configurable: true });
Object.defineProperty(VirtualDate, "name", { value: "Date", configurable: true });

/** xoshiro128++ by Blackman and Vigna, with 53 bits per number. */
function random(): number {
  seed ??= new Int32Array(randomBytes!(16).slice().buffer);
  const high = next(seed) >>> 5;
  const low = next(seed) >>> 6;
  return (high * 0x400_0000 + low) / 0x20_0000_0000_0000;
}

function next(s: Int32Array): number {
  const sum = (s[0]! + s[3]!) | 0;
  const result = (((sum << 7) | (sum >>> 25)) + s[0]!) | 0;
  const t = s[1]! << 9;
  s[2]! ^= s[0]!;
  s[3]! ^= s[1]!;
  s[1]! ^= s[2]!;
  s[0]! ^= s[3]!;
  s[2]! ^= t;
  s[3] = (s[3]! << 11) | (s[3]! >>> 21);
  return result;
}

const define = (object: object, name: string, value: unknown) =>
  Object.defineProperty(object, name, { value, writable: true, configurable: true, enumerable: false });

define(globalThis, "Date", VirtualDate);
define(Math, "random", random);
define(globalThis, "performance", { now, timeOrigin: 0 });
define(globalThis, "console", hostConsole);

// An error while modules run fails the build, which prints its trace. So the trace must show the author's sources. In calls,
// this is done only for errors that fail the call.
Object.assign(Error, { prepareStackTrace: traceOf });
