/** A row as a line of a message. */

import { type AnyRow, type Field, inputError, toDate } from "millstream-sdk";

/** How a chat reads what it gets, and so what in a value it would take for more than text. */
export const MARKUPS = ["slack", "markdown", "none"] as const;
export type Markup = (typeof MARKUPS)[number];

/** What stands in the place of a null. */
const NONE = "-";
const DATE_MS_MAX = 8.64e15;

/** The parts of a template, texts and columns in turn: `["", "user", " paid ", "amount", ""]`. Throws a text where it is none. */
export function partsOf(template: string): string[] {
  const parts: string[] = [];
  let text = "";
  for (const [piece = ""] of template.matchAll(/\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+/g)) {
    if (piece === "{" || piece === "}") throw `\`template\`: a single \`${piece}\`; write \`${piece}${piece}\` for the character, \`{name}\` for a column`;
    if (piece === "{{" || piece === "}}") text += piece.charAt(0);
    else if (piece.startsWith("{")) {
      parts.push(text, piece.slice(1, -1).trim());
      text = "";
    } else text += piece;
  }
  return [...parts, text];
}

/** The columns that parts name, each once. */
export function namesOf(parts: readonly string[]): string[] {
  return [...new Set(parts.filter((_, at) => at % 2 === 1))];
}

/** The parts for rows of these columns, where a job has no template: `user: ada, amount: 3`. */
export function partsOfAll(names: readonly string[]): string[] {
  return [...names.flatMap((name, at) => [`${at === 0 ? "" : ", "}${name}: `, name]), ""];
}

/** What makes lines of rows with these columns. */
export function lines(parts: readonly string[], fields: readonly Field[], markup: Markup, charsMax: number): (row: AnyRow) => string {
  const times = new Set(fields.filter(({ type }) => type === "timestamp").map(({ name }) => name));
  const binary = fields.find(({ type }) => type === "binary");
  if (binary !== undefined) throw inputError(`column \`${binary.name}\` is binary, which no message shows: leave it out of \`template\``);
  const shown = (name: string, value: unknown): string => {
    if (value === null) return NONE;
    if (times.has(name)) return time(value as bigint);
    return typeof value === "string" ? escaped(cut(plain(value), charsMax), markup) : escaped(String(value), markup);
  };
  return (row) => parts.map((part, at) => (at % 2 === 0 ? part : shown(part, row[part]))).join("");
}

function time(value: bigint): string {
  const date = toDate(value);
  return Math.abs(date.getTime()) <= DATE_MS_MAX ? date.toISOString() : String(value);
}

/** One line: without ends of lines, other controls, and what turns the direction of text around. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu, " ");
}

/** At most so many characters. */
export function cut(text: string, charsMax: number): string {
  // No text has more characters than code units.
  if (text.length <= charsMax) return text;
  const characters = Array.from(text);
  return characters.length <= charsMax ? text : `${characters.slice(0, charsMax - 1).join("")}…`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/**
 * A value of which the chat makes nothing: no link, no mention of everybody. Slack calls people by `<!channel>` and `<@U1>`; where Markdown
 * is read, `@all` and `@everyone` call without more, so a character of no width stands behind the sign.
 */
export function escaped(text: string, markup: Markup): string {
  switch (markup) {
    case "slack":
      return text.replace(/[&<>]/g, (character) => ENTITIES[character]!);
    case "markdown":
      return text.replace(/[\\`*_~|[\]<>#]/g, "\\$&").replaceAll("@", "@\u200b");
    case "none":
      return text;
  }
}

/** 16 hexadecimal digits that other texts hardly share. */
export function digest(text: string): string {
  let [first, second] = [0x9e3779b9, 0x7f4a7c15];
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    first = Math.imul(first ^ unit, 0x85ebca6b);
    second = Math.imul(second ^ unit, 0x01000193);
  }
  return hexOf(first ^ (second >>> 15)) + hexOf(second ^ (first >>> 13));
}

/** Each bit of the number depends on all bits of what was hashed. */
function hexOf(hash: number): string {
  const once = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35);
  return ((twice ^ (twice >>> 16)) >>> 0).toString(16).padStart(8, "0");
}
