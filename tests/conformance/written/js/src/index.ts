/** Dates, decimals, structs and lists: in a key, in rows, in a state and in the output. */

import { date, decimal, keyed, nested, nullable, Rejection, row, update } from "millstream-sdk";

interface Item {
  readonly id: number | bigint | null;
  readonly sku: string | null;
}

const texts = nested<(string | null)[]>("list<text>");
const item = nested<Item>("struct<id: int64, sku: text>");

const Day = row({ day: date });
const Sale = row({ price: nullable(decimal(12, 2)), tags: texts, item: nullable(item) });
const Total = row({ total: decimal(12, 2), seen: texts, "last item": nullable(item), since: date });
const Told = row({ total: decimal(20, 2), seen: texts, last: nullable(item), since: nullable(date) });

/** Keeps a total of each day. */
export default update({ key: Day, input: Sale, state: Total, output: keyed(Told) }, (sales, old, { key, out }) => {
  let cents = old === null ? 0n : centsOf(old.total);
  const seen = old === null ? [] : [...old.seen];
  let last = old === null ? null : old["last item"];
  let closed = false;
  for (const sale of sales) {
    if (sale.price === "13.00") closed = true;
    if (sale.price === "14.00") throw new Rejection(`${sale.price} on ${key.day}`);
    cents += sale.price === null ? 0n : centsOf(sale.price);
    seen.push(...sale.tags);
    last = sale.item ?? last;
  }
  const total = written(cents);
  out.push({ total, seen, last, since: cents === 0n ? null : key.day });
  return closed ? null : { total, seen, "last item": last, since: key.day };
});

function centsOf(price: string): bigint {
  return BigInt(price.replace(".", ""));
}

function written(cents: bigint): string {
  const digits = `${cents < 0n ? -cents : cents}`.padStart(3, "0");
  return `${cents < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
