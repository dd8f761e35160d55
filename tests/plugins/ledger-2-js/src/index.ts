/** The plugin ledger-2 in TypeScript. */

import { int64, keyed, migration, nullable, row, type Row, text, update } from "millstream-sdk";

const Line = row({ n: int64 });
/** The account of a key in version 0.1. */
const Account = row({ rows: int64, digest: int64 });
const Book = row({ digest: int64, place: int64, taken_over: nullable(int64), note: text });
const Entry = row({ n: int64, place: int64, digest: int64 });
const CLOSES = 17n;

const fromAccount = migration(Account, ({ rows, digest }) => ({
  digest,
  place: rows,
  taken_over: rows,
  note: `${rows} rows before`,
}));

export default update(
  { input: Line, state: Book, output: keyed(Entry), migrations: [fromAccount] },
  (lines, old, { context, out }) => {
    let book: Row<typeof Book> | null = old;
    for (const { n } of lines) {
      const { digest, place, taken_over, note } = book ?? { digest: 0n, place: 0n, taken_over: null, note: "" };
      book = { digest: BigInt.asIntN(64, digest * 1_000_003n + n), place: place + 1n, taken_over, note };
      out.push({ n, place: book.place, digest: book.digest });
      if (n % CLOSES === 0n) book = null;
    }
    if (book && context.timedOut) out.push({ n: -1n, place: book.place, digest: book.digest });
    return book;
  },
);
