/** Timers of world `update`. */

import { uint32 } from "./batch.ts";
import type { Timestamp } from "./cell.ts";
import { host } from "./host.ts";

/**
 * The timers of one key: the key is called again at a given time. In a stage with `time`, a timer's time is event time;
 * otherwise it is processing time. A key has at most one timer per time. A timer stays until it is due or canceled, even
 * if the state is removed.
 */
export class Timers {
  readonly #ends: Uint32Array;
  readonly #times: BigInt64Array;
  #group = 0;
  #changes: { at: Timestamp; isSet: boolean }[] = [];

  constructor(ends: Uint8Array, times: Uint8Array) {
    this.#ends = uint32(ends);
    this.#times = new BigInt64Array(times.slice().buffer);
  }

  /** Returns the timers of this call. */
  static ofCall(): Timers {
    const due = host().timers?.due();
    return due === undefined ? new Timers(new Uint8Array(0), new Uint8Array(0)) : new Timers(due.ends, due.times);
  }

  /**
   * Returns the times that were set and have been reached, earliest first. If the key has no rows, these are the reason
   * for the call. Each timer is due once.
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
   * Sets a timer: the key is called, with or without rows, in the first batch after this one that has reached the time.
   */
  set(at: Timestamp): void {
    this.#ask(at, true);
  }

  /** Cancels a timer that `set` set in this call or an earlier one. */
  cancel(at: Timestamp): void {
    this.#ask(at, false);
  }

  #ask(at: Timestamp, isSet: boolean): void {
    if (this === NO_TIMERS) throw new TypeError("a plugin with timers needs `timers: true` next to `state`");
    if (BigInt.asIntN(64, at) !== at) throw new RangeError(`the time ${at} is beyond 64 bits`);
    this.#changes.push({ at, isSet });
  }

  /** Selects the group for the following calls. */
  begin(group: number): void {
    this.#group = group;
  }

  /** Ends the function's call. Passes its changes to the host if `done`: it did not reject its rows. */
  end(done: boolean): void {
    if (this.#changes.length === 0) return;
    for (const { at, isSet } of done ? this.#changes : []) {
      if (isSet) host().timers?.set(this.#group, at);
      else host().timers?.cancel(this.#group, at);
    }
    this.#changes = [];
  }
}

/** For plugins without timers. */
export const NO_TIMERS: Timers = new Timers(new Uint8Array(0), new Uint8Array(0));
