/** A Millstream plugin of world `sink`: rows that leave for elsewhere. */

import { config, configError, float64, internalError, net, row, sink, text } from "millstream-sdk";

/** A row that the plugin reads. */
const Entry = row({ name: text, amount: float64 });

/** The sink's `config`. */
const Config = {
  /** The server: `host:port`, as the job grants it. */
  address: config.string(),
};

/** How long the server may take to answer. */
const TIMEOUT_MS = 5_000;
/** A line of the server that is longer is none. */
const LINE_BYTES_MAX = 1 << 10;
/** Characters that are sent at a time. */
const SENT_MAX = 1 << 16;

/** A connection to the server, which answers `LAST n`, or `LOST` to those who have lost the sink. */
class Server {
  readonly #lines: net.Lines;

  constructor(address: string) {
    this.#lines = new net.Lines(new net.Connection(address, TIMEOUT_MS), LINE_BYTES_MAX);
  }

  send(text: string): void {
    this.#lines.connection.write(text, TIMEOUT_MS);
  }

  /** Says something, and hears of the last batch that is there. */
  ask(line: string): number | null {
    this.send(`${line}\n`);
    const answer = this.#lines.nextText(TIMEOUT_MS);
    // It would only take the sink back.
    if (answer === "LOST") throw configError("a later start of the job has taken the sink over");
    const last = /^LAST (\d+)$/.exec(answer)?.[1];
    if (last === undefined) throw internalError(`the server says \`${answer}\``);
    return Number(last) || null;
  }
}

/** Writes entries to a server that keeps them, and the id of the batch that they came with, together. */
export default sink({ input: Entry, promise: "exactly-once", config: Config }, {
  committed: ({ address }, of) => new Server(address).ask(`LAST ${of.jobId}/${of.sink}`),
  open({ address }, { identity: of, generation }) {
    const server = new Server(address);
    let buffer = "";
    return {
      // From now on the server takes nothing from those who came with a smaller number.
      last: server.ask(`OPEN ${of.jobId}/${of.sink} ${generation}`),
      begin(batch) {
        buffer = `BEGIN ${batch}\n`;
      },
      write(rows) {
        for (const [place, { name, amount }] of rows.entries()) {
          if (/\s/.test(name)) {
            rows.refuse(place, "a name is one word");
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
        // What is not as it should be passes, perhaps: the host asks again what is there, and tries again.
        if (server.ask(`COMMIT ${batch}`) !== batch) throw internalError("the server has not kept the batch");
      },
    };
  },
});
