/** A Millstream plugin of world `source`: rows from elsewhere. */

import { config, decodeText, int64, net, row, source, text } from "millstream-sdk";

/** A row that the plugin returns. */
const Line = row({ number: int64, text });

/** The source's `config`. */
const Config = {
  /** The server: `host:port`, as the job grants it. */
  address: config.string(),
};

/** How long the server may take to answer. */
const TIMEOUT_MS = 10_000;
/** A line that is longer is none. */
const LINE_BYTES_MAX = 1 << 20;

/** Reads lines from a server, which is told `FROM n` and sends its lines from number n on. */
export default source({ output: Line, config: Config }, {
  open({ address }, _partition, position) {
    // The position of the partition is the number of the next line.
    let next = position === null ? 0n : BigInt(decodeText(position));
    const connection = new net.Connection(address, TIMEOUT_MS);
    connection.write(`FROM ${next}\n`, TIMEOUT_MS);
    const lines = new net.Lines(connection, LINE_BYTES_MAX);
    return {
      poll(rows, waitMs) {
        while (rows.left > 0) {
          let line;
          try {
            line = lines.next(waitMs);
          } catch (error) {
            if (net.Fault.is(error, "timeout")) break;
            // The next poll hears of it again, and has no rows that would be lost.
            if (net.Fault.is(error, "closed") && rows.length > 0) break;
            // Whatever it is, it passes: the host opens the partition again after a while.
            throw error;
          }
          try {
            rows.push({ number: next, text: decodeText(line) });
          } catch {
            rows.refuse(line, "it is no UTF-8");
          }
          next += 1n;
          // Only the first line is waited for.
          waitMs = 0;
        }
        return { position: String(next) };
      },
    };
  },
});
