/** Computes a number from two columns. */

import { float64, row, transform } from "millstream-sdk";

const Pair = row({ a: float64, b: float64 });
const Scaled = row({ out: float64 });

export default transform({ input: Pair, output: Scaled }, (pair) => ({ out: pair.a * 2.5 + pair.b }));
