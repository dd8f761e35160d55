/** Counters (Spark's accumulators), summed over all calls of a stage and shown with the job's metrics. */

import { host } from "./host.ts";

/**
 * Adds to a counter, which starts at 0. Names match `[a-z][a-z0-9_]{0,63}`; other names are ignored. In tests, it does
 * nothing.
 */
export function add(counter: string, amount: number): void {
  if (!Number.isSafeInteger(amount) || amount < 0) throw new RangeError(`a counter cannot count ${amount}`);
  host().count(counter, amount);
}
