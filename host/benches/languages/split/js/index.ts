/** Splits lines into words. */

import { row, text, transform } from "millstream-sdk";

const Line = row({ value: text });
const Word = row({ word: text });

export default transform({ input: Line, output: Word }, (line, { out }) => {
  for (const word of line.value.split(" ")) out.push({ word });
});
