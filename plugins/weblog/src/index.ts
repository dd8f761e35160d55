/** Lines of access logs in the Common and the Combined Log Format, as Apache and nginx write them. */

import { integer, nullable, Rejection, row, text, timestamp, transform } from "millstream-sdk";
import { normalise } from "./path.ts";
import { parseTime } from "./time.ts";

const Line = row({ value: text });

const Request = row({
  ip: text,
  user: nullable(text),
  time: timestamp,
  method: nullable(text),
  /** As the client sent it. */
  path: nullable(text),
  /** The path without query and fragment, normalized. */
  route: nullable(text),
  protocol: nullable(text),
  status: integer,
  bytes: nullable(integer),
  referrer: nullable(text),
  user_agent: nullable(text),
});

const QUOTED = String.raw`"((?:[^"\\]|\\.)*)"`;
/** Address, identity, user, time, request, status, bytes; and in the Combined Log Format referrer and user agent. */
const LINE = new RegExp(
  String.raw`^(\S+) \S+ (.+?) \[([^\]]*)\] ${QUOTED} (\S+) (\S+)(?: ${QUOTED} ${QUOTED})?\s*$`,
);
const REQUEST = /^([A-Za-z_-]+) (.*?)(?: (HTTP\/\d(?:\.\d)?))?$/;

export default transform({ input: Line, output: Request }, ({ value }) => {
  const parts = LINE.exec(value);
  if (parts === null) return new Rejection(`not an access log line: ${complaint(value)}`);
  const [, ip, user, when, request, status, bytes, referrer, agent] = parts as unknown as string[];
  const time = parseTime(when!);
  if (time === null) return new Rejection(`\`${when}\` is not a time such as \`10/Oct/2000:13:55:36 -0700\``);
  if (!/^[1-5]\d\d$/.test(status!)) return new Rejection(`\`${status}\` is not a status`);
  if (!/^(?:\d{1,15}|-)$/.test(bytes!)) return new Rejection(`\`${bytes}\` is not a number of bytes`);
  const asked = unescaped(request!);
  const words = asked === null ? [] : REQUEST.exec(asked);
  if (words === null) return new Rejection(`\`${asked}\` is not a request such as \`GET /path HTTP/1.1\``);
  const [, method, path, protocol] = words;
  return {
    ip: ip!,
    user: user === "-" ? null : user!,
    time,
    method: method?.toUpperCase() ?? null,
    path: path ?? null,
    route: path === undefined ? null : normalise(path),
    protocol: protocol ?? null,
    status: Number(status),
    bytes: bytes === "-" ? null : Number(bytes),
    referrer: unescaped(referrer),
    user_agent: unescaped(agent),
  };
});

/** Returns a quoted string without the servers' escapes; `null` for `-` and for an empty string. */
function unescaped(quoted: string | undefined): string | null {
  if (quoted === undefined || quoted === "-" || quoted === "") return null;
  if (!quoted.includes("\\")) return quoted;
  const bytes = quoted.replace(/(?:\\x[0-9A-Fa-f]{2})+/g, (escapes) => {
    try {
      return decodeURIComponent(escapes.replaceAll("\\x", "%"));
    } catch {
      return "\ufffd";
    }
  });
  const names: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", v: "\v" };
  return bytes.replace(/\\(.)/g, (_, character: string) => names[character] ?? character);
}

/** Says why a line is not an access log line. */
function complaint(line: string): string {
  if (line.trim() === "") return "it is empty";
  if (!/\[[^\]]*\]/.test(line)) return "it has no time in brackets";
  if (!/\] "/.test(line)) return "no request in quotes follows the time";
  return "expected status, bytes and, optionally, referrer and user agent in quotes after the request";
}
