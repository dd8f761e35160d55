/** Calls at a time, in world `update`. */

import { uint32 } from "./batch.ts";
import type { Timestamp } from "./cell.ts";
import { host } from "./host.ts";

/**
 * Requests calls for a key at a time: event time if the stage has `time`, otherwise processing time. A key has one
 * timer per time. A timer waits until it is due or cancelled, even if the key's state is removed.
 */
export class Timers {
  readonly #ends: Uint32Array;
  readonly #times: BigInt64Array;
  #group = 0;
  #asked: { at: Timestamp; isSet: boolean }[] = [];

  constructor(ends: Uint8Array, times: Uint8Array) {
    this.#ends = uint32(ends);
    this.#times = new BigInt64Array(times.slice().buffer);
  }

  /** The timers of this call. */
  static ofCall(): Timers {
    const due = host().timers?.due();
    return due === undefined ? new Timers(new Uint8Array(0), new Uint8Array(0)) : new Timers(due.ends, due.times);
  }

  /**
   * The due times of this key, the earliest first. They are why a key without rows is called. Each is returned in one
   * call only.
   */
  due(): Timestamp[] {
    const start = this.#group === 0 ? 0 : (this.#ends[this.#group - 1] ?? 0);
    return Array.from(this.#times.subarray(start, this.#ends[this.#group] ?? 0));
  }

  /** Whether a timer is due. */
  isDue(): boolean {
    return this.due().length > 0;
  }

  /**
   * Requests a call for this key, with rows or without, in the first batch after this one that has reached this time.
   */
  set(at: Timestamp): void {
    this.#ask(at, true);
  }

  /** Cancels a timer that `set` requested in this call or an earlier one. */
  cancel(at: Timestamp): void {
    this.#ask(at, false);
  }

  #ask(at: Timestamp, isSet: boolean): void {
    if (this === NO_TIMERS) throw new TypeError("a plugin with timers says `timers: true` beside its `state`");
    if (BigInt.asIntN(64, at) !== at) throw new RangeError(`the time ${at} is beyond 64 bits`);
    this.#asked.push({ at, isSet });
  }

  /** The calls of a group begin. */
  begin(group: number): void {
    this.#group = group;
  }

  /** The function has returned; `done`: it did not reject its rows. */
  end(done: boolean): void {
    if (this.#asked.length === 0) return;
    for (const { at, isSet } of done ? this.#asked : []) {
      if (isSet) host().timers?.set(this.#group, at);
      else host().timers?.cancel(this.#group, at);
    }
    this.#asked = [];
  }
}

/** For plugins that use none. */
export const NO_TIMERS: Timers = new Timers(new Uint8Array(0), new Uint8Array(0));
