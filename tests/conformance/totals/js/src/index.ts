/** A state for each key: kept, removed, timed out, with timers; and rejected rows of a key. */

import { int64, keyed, nullable, Rejection, row, text, timestamp, update } from "millstream-sdk";

const Payment = row({ amount: int64, note: nullable(text) });
const Total = row({ total: int64, count: int64, note: nullable(text), since: timestamp });
const Told = row({
  why: text,
  total: int64,
  count: int64,
  note: nullable(text),
  since: timestamp,
  alarm: nullable(timestamp),
});

const SECOND = 1_000_000n;

/** Keeps a total of each key. */
export default update(
  { input: Payment, state: Total, output: keyed(Told), timers: true },
  (payments, old, { context, timers, out }) => {
    const total = { total: 0n, count: 0n, note: null as string | null, since: context.time, ...old };
    const tell = (why: string, alarm: bigint | null = null) => out.push({ why, ...total, alarm });
    let closed = false;
    for (const { amount, note } of payments) {
      total.total += amount;
      total.count += 1n;
      total.note = note ?? total.note;
      tell("row");
      if (note === "bad") throw new Rejection(`a bad note after ${old?.count ?? 0} payments`);
      if (note === "close") closed = true;
      if (note === "alarm") timers.set(context.time + 2n * SECOND);
      if (note === "calm") timers.cancel(context.time + SECOND);
    }
    for (const at of timers.due()) tell("alarm", at);
    if (context.timedOut) tell("timeout");
    else if (payments.length === 0 && !timers.isDue()) tell("call");
    return closed ? null : total;
  },
);
