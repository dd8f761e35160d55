/** A Millstream plugin of world `source`: reads rows from an external system. */

import { config, decodeText, int64, net, row, source, text } from "millstream-sdk";

/** An output row. */
const Line = row({ number: int64, text });

/** The source's `config`. */
const Config = {
  /** Address of the server, `host:port`. The job must grant the same address. */
  address: config.string(),
};

/** Maximum time to wait for a reply of the server. */
const TIMEOUT_MS = 10_000;
/** Maximum length of a line. A longer line is an error. */
const LINE_BYTES_MAX = 1 << 20;

/** Reads lines from a server. After `FROM n`, the server sends its lines from number n on. */
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
            // Return the rows first. The next poll receives the same error and has no rows to lose.
            if (net.Fault.is(error, "closed") && rows.length > 0) break;
            // The error is transient: the host opens the partition again after a delay.
            throw error;
          }
          try {
            rows.push({ number: next, text: decodeText(line) });
          } catch {
            rows.refuse(line, "it is not valid UTF-8");
          }
          next += 1n;
          // Wait only for the first line.
          waitMs = 0;
        }
        return { position: String(next) };
      },
    };
  },
});
