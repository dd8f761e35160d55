/** Posts rows as messages to the webhook of a chat. */

import {
  type AnyRow,
  columns,
  config,
  type Config as ConfigOf,
  configError,
  decodeText,
  type Departures,
  http,
  inputError,
  internalError,
  sink,
  type Writer,
} from "millstream-sdk";
import { cut, digest, lines, MARKUPS, namesOf, partsOf, partsOfAll } from "./line.ts";

const Config = {
  /** Where messages go. Who knows it can post there. */
  url: config.string(),
  /** A line for each row, with `{column}` for a value; all columns if left out. */
  template: config.optional(config.string()),
  /** What the text is called in the JSON that is posted. */
  field: config.string({ default: "text" }),
  markup: config.oneOf(MARKUPS, { default: "slack" }),
  rows_per_message: config.whole({ default: 20 }),
  message_chars_max: config.whole({ default: 3000 }),
  value_chars_max: config.whole({ default: 300 }),
  timeout_seconds: config.number({ default: 10 }),
};
type Config = ConfigOf<typeof Config>;

/** A longer answer is of no use. */
const ANSWER_BYTES_MAX = 1 << 16;
/** How much of an answer a reason shows. */
const ANSWER_CHARS_MAX = 200;

/** Answers that pass: too slow, too early, too many. So do those from 500 on. */
const PASSING = [408, 425, 429];
/** Answers about the address, and not about the message. */
const GONE = [401, 403, 404, 405, 410];

/** A row of the message that is being made. */
interface Entry {
  readonly place: number;
  readonly line: string;
}

/** Writes the messages of batches, each at once: only while it is written can rows be refused. */
class Webhook implements Writer<AnyRow> {
  readonly #config: Config;
  readonly #line: (row: AnyRow) => string;
  /** What begins the keys of messages. */
  readonly #of: string;
  #batch = 0;
  /** Messages of the batch so far. */
  #messages = 0;

  constructor(config: Config, line: (row: AnyRow) => string, of: string) {
    this.#config = config;
    this.#line = line;
    this.#of = of;
  }

  begin(batch: number): void {
    this.#batch = batch;
    this.#messages = 0;
  }

  write(rows: Departures<AnyRow>): void {
    const { rows_per_message, message_chars_max } = this.#config;
    let entries: Entry[] = [];
    let length = 0;
    for (const [place, row] of rows.entries()) {
      const line = cut(this.#line(row), message_chars_max);
      if (entries.length === rows_per_message || (entries.length > 0 && length + line.length > message_chars_max)) {
        this.#post(entries, rows);
        [entries, length] = [[], 0];
      }
      entries.push({ place, line });
      length += line.length + 1;
    }
    if (entries.length > 0) this.#post(entries, rows);
  }

  /** All of it is posted by then. */
  commit(): void {}

  /** Posts a message. One that is refused comes once more row by row, so that it is known which row it was. */
  #post(entries: readonly Entry[], rows: Departures<AnyRow>): void {
    this.#messages += 1;
    const body = this.#body(entries.map(({ line }) => line).join("\n"));
    // A job that was changed may have other rows there when the batch comes again, which must not be taken for those that were posted.
    const key = `${this.#of}/${this.#batch}/${this.#messages}-${digest(body)}`;
    const reason = this.#ask(body, key);
    if (reason === undefined) return;
    for (const [number, { place, line }] of entries.entries()) {
      const own = entries.length === 1 ? reason : this.#ask(this.#body(line), `${key}.${number + 1}`);
      if (own !== undefined) rows.refuse(place, own);
    }
  }

  #body(text: string): string {
    return JSON.stringify({ [this.#config.field]: text });
  }

  /** Why a message is refused; `undefined`: it is taken. Throws what passes, and what is wrong with the address. */
  #ask(body: string, key: string): string | undefined {
    const { url, timeout_seconds } = this.#config;
    const answer = http.request(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "millstream-webhook" },
      body,
      timeoutMs: timeout_seconds * 1000,
      bodyBytesMax: ANSWER_BYTES_MAX,
    });
    const { status } = answer;
    if (status >= 200 && status < 300) return undefined;
    const after = answer.headers["retry-after"];
    const again = after === undefined ? "" : ` (Retry-After: ${cut(after, 40)})`;
    if (status >= 500 || PASSING.includes(status)) throw internalError(`the webhook replied with ${status}${again}`);
    if (status < 400 || GONE.includes(status)) throw configError(`the webhook replied with ${status}; check \`url\``);
    return `the webhook replied with ${status}: ${cut(words(answer.body), ANSWER_CHARS_MAX)}`;
  }
}

function words(body: Uint8Array): string {
  try {
    return decodeText(body).trim();
  } catch {
    return `${body.length} bytes`;
  }
}

/** The template, or why it is none. */
function partsOfConfig({ template }: Config): string[] | undefined {
  try {
    return template === undefined ? undefined : partsOf(template);
  } catch (reason) {
    throw configError(String(reason));
  }
}

function positive(config: Config, ...names: ("rows_per_message" | "message_chars_max" | "value_chars_max" | "timeout_seconds")[]): void {
  for (const name of names) {
    if (!(config[name] > 0)) throw configError(`\`${name}\` is ${config[name]}, and must be more than 0`);
  }
}

export default sink(
  {
    promise: "at-least-once",
    config: Config,
    input(own: Config, given) {
      const names = namesOf(partsOfConfig(own) ?? []);
      if (own.template !== undefined && names.length === 0) throw inputError("`template` has no column, as in `{name}`");
      const type = columns(given, own.template === undefined ? undefined : names);
      // Says what cannot be shown.
      lines([], type.fields, own.markup, 1);
      return type;
    },
  },
  {
    check(own) {
      // It may be a secret, so it is not shown.
      if (!/^https?:\/\/[^/?#@\s]+(?:[/?]\S*)?$/i.test(own.url)) throw configError("`url` is not an HTTP or HTTPS URL");
      if (own.field === "") throw configError("`field` is empty");
      positive(own, "rows_per_message", "message_chars_max", "value_chars_max", "timeout_seconds");
      partsOfConfig(own);
    },
    open(own, { identity }, input) {
      const parts = partsOfConfig(own) ?? partsOfAll(input.map(({ name }) => name));
      const line = lines(parts, input, own.markup, own.value_chars_max);
      return new Webhook(own, line, `${identity.jobId}/${identity.sink}`);
    },
  },
);
