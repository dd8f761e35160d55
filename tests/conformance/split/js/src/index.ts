/** Several rows or none from one row, and rows that are removed again. */

import { integer, Rejection, row, text, transform } from "millstream-sdk";

const Line = row({ line: text });
const Word = row({ word: text, place: integer });

/** Splits lines into words. */
export default transform({ input: Line, output: Word }, function* ({ line }) {
  const words = line.split(" ").filter((word) => word !== "");
  for (const [place, word] of words.entries()) {
    if (word.startsWith("#")) return;
    if (word === "!") throw new Rejection(`word ${place} is not valid`);
    yield { word, place };
  }
});
