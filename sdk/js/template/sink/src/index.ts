/** A Millstream plugin of world `sink`: writes rows to an external system. */

import { config, configError, float64, internalError, net, row, sink, text } from "millstream-sdk";

/** An input row. */
const Entry = row({ name: text, amount: float64 });

/** The sink's `config`. */
const Config = {
  /** Address of the server, `host:port`. The job must grant the same address. */
  address: config.string(),
};

/** Maximum time to wait for a reply of the server. */
const TIMEOUT_MS = 5_000;
/** Maximum length of a line from the server. A longer line is an error. */
const LINE_BYTES_MAX = 1 << 10;
/** Size at which buffered rows are sent, in characters. */
const SENT_MAX = 1 << 16;

/** A connection to the server. The server replies `LAST n`, or `LOST` if a later start has taken over the sink. */
class Server {
  readonly #lines: net.Lines;

  constructor(address: string) {
    this.#lines = new net.Lines(new net.Connection(address, TIMEOUT_MS), LINE_BYTES_MAX);
  }

  send(text: string): void {
    this.#lines.connection.write(text, TIMEOUT_MS);
  }

  /** Sends a line. Returns the last batch that the server has stored. */
  ask(line: string): number | null {
    this.send(`${line}\n`);
    const reply = this.#lines.nextText(TIMEOUT_MS);
    // A retry would take over the sink again, so this error must stop the job.
    if (reply === "LOST") throw configError("a later start of the job has taken over the sink");
    const last = /^LAST (\d+)$/.exec(reply)?.[1];
    if (last === undefined) throw internalError(`the server replied \`${reply}\``);
    return Number(last) || null;
  }
}

/** Writes entries to a server. The server stores the entries of a batch and the batch ID atomically. */
export default sink({ input: Entry, promise: "exactly-once", config: Config }, {
  committed: ({ address }, identity) => new Server(address).ask(`LAST ${identity.jobId}/${identity.sink}`),
  open({ address }, { identity, generation }) {
    const server = new Server(address);
    let buffer = "";
    return {
      // From now on, the server rejects writers with a smaller generation.
      last: server.ask(`OPEN ${identity.jobId}/${identity.sink} ${generation}`),
      begin(batch) {
        buffer = `BEGIN ${batch}\n`;
      },
      write(rows) {
        for (const [index, { name, amount }] of rows.entries()) {
          if (/\s/.test(name)) {
            rows.refuse(index, "a name is one word");
            continue;
          }
          buffer += `ROW ${name} ${amount}\n`;
          if (buffer.length >= SENT_MAX) {
            server.send(buffer);
            buffer = "";
          }
        }
      },
      commit(batch) {
        server.send(buffer);
        // The error may be transient: the host calls `committed` again and then retries.
        if (server.ask(`COMMIT ${batch}`) !== batch) throw internalError("the server has not kept the batch");
      },
    };
  },
});
