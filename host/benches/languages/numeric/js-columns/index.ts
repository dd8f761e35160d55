/** Computes a number from two columns. */

import { float64, row, transform } from "millstream-sdk";

const Pair = row({ a: float64, b: float64 });
const Scaled = row({ out: float64 });

export default transform.columns({ input: Pair, output: Scaled }, ({ a, b }, { rows }) => {
  const out = new Float64Array(rows);
  for (let i = 0; i < rows; i++) out[i] = a[i]! * 2.5 + b[i]!;
  return { out };
});
