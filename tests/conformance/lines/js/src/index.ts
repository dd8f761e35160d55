/** Reads lines from servers, and datagrams. */

import {
  type Arrivals,
  config,
  configError,
  decodeText,
  int64,
  internalError,
  log,
  net,
  nullable,
  type Polled,
  type Reader,
  row,
  type Row,
  source,
  text,
} from "millstream-sdk";

const TIMEOUT_MS = 2000;
const LINE_BYTES_MAX = 1000;

const Config = { addresses: config.list(config.string()) };

const Line = row({ seq: int64, text, half: nullable(int64) });
type Line = Row<typeof Line>;

function lineOf(seq: bigint, text: string): Line {
  return { seq, text, half: seq % 2n === 0n ? seq / 2n : null };
}

class LineReader implements Reader<Line> {
  #next: bigint;
  readonly #lines: net.Lines;

  constructor(address: string, position: Uint8Array | null) {
    this.#next = position === null ? 0n : BigInt(decodeText(position));
    const connection = new net.Connection(address, TIMEOUT_MS);
    connection.write(`FROM ${this.#next}\n`, TIMEOUT_MS);
    log.info(`${address} is opened at ${this.#next}`);
    this.#lines = new net.Lines(connection, LINE_BYTES_MAX);
  }

  poll(rows: Arrivals<Line>, waitMs: number): Polled {
    while (rows.left > 0) {
      let line;
      try {
        line = this.#lines.next(waitMs);
      } catch (error) {
        if (net.Fault.is(error, "timeout") || (net.Fault.is(error, "closed") && rows.length > 0)) break;
        throw error;
      }
      const parsed = parse(line);
      if (parsed === "END") return { ended: true, position: String(this.#next) };
      if (parsed === undefined) rows.refuse(line, "expected a number and a message");
      else this.#take(rows, parsed);
      this.#next += 1n;
      waitMs = 0;
    }
    return rows.length > 0 ? { position: String(this.#next) } : {};
  }

  #take(rows: Arrivals<Line>, { seq, text }: Line): void {
    if (seq !== this.#next) throw internalError(`got line ${seq} instead of line ${this.#next}`);
    if (text === "wrong config") throw configError("the config does not fit");
    if (text === "mistake") throw new RangeError("cannot read `mistake`");
    rows.push(lineOf(seq, text));
  }

  durable(position: Uint8Array): void {
    this.#notify("ACK", position);
  }

  published(position: Uint8Array): void {
    this.#notify("DONE", position);
  }

  #notify(word: string, position: Uint8Array): void {
    this.#lines.connection.write(`${word} ${decodeText(position)}\n`, TIMEOUT_MS);
  }
}

function parse(line: Uint8Array): Line | "END" | undefined {
  let text;
  try {
    text = decodeText(line);
  } catch {
    return undefined;
  }
  if (text === "END") return "END";
  const found = /^(-?\d+) (.*)$/s.exec(text);
  return found === null ? undefined : lineOf(BigInt(found[1]!), found[2]!);
}

class DatagramReader implements Reader<Line> {
  readonly #datagrams: net.Datagrams;

  constructor(address: string) {
    this.#datagrams = new net.Datagrams(address);
  }

  poll(rows: Arrivals<Line>, waitMs: number): Polled {
    try {
      const { data } = this.#datagrams.receive(4, waitMs);
      rows.push(lineOf(BigInt(data.length), decodeText(data)));
      return {};
    } catch (error) {
      if (net.Fault.is(error, "timeout")) return { pauseMs: 1 };
      throw error;
    }
  }
}

export default source({ output: Line, config: Config }, {
  check({ addresses }) {
    if (addresses.length === 0) throw configError("`addresses` is empty");
  },
  partitions: ({ addresses }) => addresses,
  open(_config, partition, position) {
    if (partition.startsWith("udp:")) return new DatagramReader(partition.slice(4));
    return new LineReader(partition, position);
  },
});
