/** Values that may differ in each run: random numbers, the clock, and numbers above 2^53. */

import { int64, Rejection, row, text, transform } from "millstream-sdk";

const Turn = row({ who: text, stake: int64 });
const Throw = row({ who: text, amount: int64, at: text });

export default transform({ input: Turn, output: Throw }, (turn) => {
  if (turn.stake < 0n) throw new Rejection(`${turn.who} cannot stake ${turn.stake}`);
  const die = BigInt(Math.floor(Math.random() * 6) + 1);
  return { who: turn.who, amount: turn.stake * die + (1n << 60n), at: new Date().toISOString() };
});
