/** Writes entries to a server that stores each batch once. */

import {
  config,
  configError,
  type Departures,
  inputError,
  int64,
  internalError,
  log,
  net,
  nullable,
  row,
  type Row,
  sink,
  text,
  type Timestamp,
  type Writer,
} from "millstream-sdk";

const TIMEOUT_MS = 2000;
const LINE_BYTES_MAX = 1000;
const SENT_MAX = 1 << 16;

const Config = { address: config.string(), loose: config.boolean({ default: false }) };

const Entry = row({ seq: int64, text, half: nullable(int64) });
type Entry = Row<typeof Entry>;

class Entries implements Writer<Entry> {
  readonly last: number | null;
  readonly #lines: net.Lines;
  #buffer = "";

  constructor(lines: net.Lines, last: number | null) {
    this.#lines = lines;
    this.last = last;
  }

  begin(batch: number, time: Timestamp): void {
    this.#buffer = `BEGIN ${batch} ${time}\n`;
  }

  write(rows: Departures<Entry>): void {
    for (const [index, { seq, text, half }] of rows.entries()) {
      if (text === "wrong") rows.refuse(index, `entry ${seq} is wrong`);
      else if (text === "wrong config") throw configError("the config does not fit");
      else if (text === "wrong input") throw inputError("the rows do not fit");
      else if (text === "mistake") throw new RangeError("cannot write `mistake`");
      else this.#buffer += `ROW ${seq} ${half ?? "-"} ${text}\n`;
      if (this.#buffer.length > SENT_MAX) this.#send();
    }
  }

  commit(batch: number): void {
    this.#buffer += `COMMIT ${batch}\n`;
    this.#send();
    const answer = this.#lines.nextText(TIMEOUT_MS);
    if (answer !== "DONE") throw said(answer);
  }

  #send(): void {
    this.#lines.connection.write(this.#buffer, TIMEOUT_MS);
    this.#buffer = "";
  }
}

function connect(address: string): net.Lines {
  return new net.Lines(new net.Connection(address, TIMEOUT_MS), LINE_BYTES_MAX);
}

/** Returns the last stored batch, from the server's reply. */
function held(lines: net.Lines, question: string): number | null {
  lines.connection.write(question, TIMEOUT_MS);
  const answer = lines.nextText(TIMEOUT_MS);
  const batch = /^HELD (\d+)$/.exec(answer)?.[1];
  if (batch === undefined) throw said(answer);
  return Number(batch) || null;
}

function said(answer: string): Error {
  if (answer === "LOST") return configError("a later start of the job has taken over the sink");
  return internalError(`the server replied ${JSON.stringify(answer)}`);
}

export default sink(
  { input: Entry, config: Config, promise: ({ loose }) => (loose ? "at-least-once" : "exactly-once") },
  {
    check({ address }) {
      if (address === "") throw configError("`address` is empty");
    },
    committed: ({ address, loose }, { jobId, sink }) => (loose ? null : held(connect(address), `ASK ${jobId}/${sink}\n`)),
    open({ address, loose }, { identity: { job, jobId, sink }, generation }) {
      const lines = connect(address);
      if (loose) lines.connection.write("LOOSE\n", TIMEOUT_MS);
      const last = loose ? null : held(lines, `OPEN ${jobId}/${sink} ${generation}\n`);
      log.info(`${job}/${sink} is opened at ${last ?? 0}`);
      return new Entries(lines, last);
    },
  },
);
