/** A typed config, the context of a call, and rejected rows. */

import { config, counter, float64, int64, log, nullable, Rejection, row, text, timestamp, transform } from "millstream-sdk";

const Payment = row({ amount: int64, kind: nullable(text) });

const Accepted = row({
  amount: int64,
  scaled: float64,
  label: text,
  batch: int64,
  time: timestamp,
  watermark: nullable(timestamp),
});

const Config = {
  at_least: config.int64(),
  rate: config.number({ default: 1 }),
  label: config.string({ default: "ok" }),
  strict: config.boolean({ default: false }),
  kinds: config.list(config.string(), { default: [] }),
};

/** Rejects rows according to its config. */
export default transform(
  { input: Payment, output: Accepted, config: Config },
  ({ amount, kind }, { config: { at_least, rate, label, strict, kinds }, context }) => {
    counter.add("seen", 1);
    log.debug(`amount ${amount}`);
    if (amount < at_least) throw new Rejection(`${amount} is below ${at_least}`);
    if (kind === null) {
      if (strict) return new Rejection("it has no kind");
    } else if (kinds.length > 0 && !kinds.includes(kind)) {
      throw new Rejection(`\`${kind}\` is not one of ${kinds.join(", ")}`);
    }
    if (amount === 0n) return null;
    const { batch, time, watermark } = context;
    return { amount, scaled: Number(amount) * rate, label, batch: BigInt(batch), time, watermark };
  },
);
