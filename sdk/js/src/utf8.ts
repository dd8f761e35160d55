/**
 * Converts many strings from and to UTF-8 at once.
 *
 * QuickJS is an interpreter, so a loop over bytes costs ten times as much as its own functions, and it has no TextDecoder.
 * Base64 is its fastest way between bytes and strings: bytes -> base64 -> a string with one character per byte, and back. This
 * is enough for ASCII. Only rows that are not ASCII also go through `decodeURIComponent`, one by one.
 */

declare function atob(base64: string): string;
declare function btoa(characters: string): string;

interface Base64 {
  toBase64(): string;
}

const base64 = Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };

/** Returns a string with one character per byte. */
const characters: (bytes: Uint8Array) => string =
  "toBase64" in Uint8Array.prototype
    ? (bytes) => atob((bytes as unknown as Base64).toBase64())
    : (bytes) => {
        const parts: string[] = [];
        for (let i = 0; i < bytes.length; i += 0x8000) {
          parts.push(String.fromCharCode.apply(null, bytes.subarray(i, i + 0x8000) as unknown as number[]));
        }
        return parts.join("");
      };

/** Returns the bytes of a string with one character per byte. */
const bytesOf: (characters: string) => Uint8Array<ArrayBuffer> = base64.fromBase64
  ? (characters) => base64.fromBase64!(btoa(characters))
  : (characters) => Uint8Array.from(characters, (character) => character.charCodeAt(0));

/** Concatenated strings: string i is `text.substring(offsets[i], offsets[i + 1])`. */
export interface Texts {
  readonly text: string;
  readonly offsets: Int32Array;
}

/** Decodes concatenated UTF-8 strings; `offsets` has the start of each in bytes, and the end of the last. */
export function decode(data: Uint8Array, offsets: Int32Array): Texts {
  const raw = characters(data);
  if (isAscii(data)) return { text: raw, offsets };
  const rows = offsets.length - 1;
  const decoded = new Int32Array(rows + 1);
  const parts: string[] = [];
  const notAscii = /[\x80-\xff]/g;
  // Rows up to the next byte that is not ASCII are copied as one piece.
  let next = -1;
  let taken = offsets[0]!;
  let length = 0;
  for (let row = 0; row < rows; row++) {
    const start = offsets[row]!;
    const end = offsets[row + 1]!;
    if (next < start) {
      notAscii.lastIndex = start;
      next = notAscii.test(raw) ? notAscii.lastIndex - 1 : raw.length;
    }
    decoded[row] = length;
    if (next >= end) {
      length += end - start;
      continue;
    }
    const text = decodeURIComponent(escape(raw.substring(start, end)));
    parts.push(raw.substring(taken, start), text);
    taken = end;
    length += text.length;
  }
  parts.push(raw.substring(taken, offsets[rows]));
  decoded[rows] = length;
  return { text: parts.join(""), offsets: decoded };
}

/** Decodes one string. */
export function decodeOne(data: Uint8Array): string {
  const raw = characters(data);
  return isAscii(data) ? raw : decodeURIComponent(escape(raw));
}

/** Encodes one string; unpaired surrogates become U+FFFD. */
export function encodeOne(text: string): Uint8Array<ArrayBuffer> {
  return bytesOf(toCharacters(text));
}

/** Encodes strings; unpaired surrogates become U+FFFD. */
export function encode(texts: readonly string[]): { data: Uint8Array; offsets: Uint8Array } {
  const offsets = new Int32Array(texts.length + 1);
  let joined = texts.join("");
  const first = bytesIfAscii(joined);
  if (first !== null) {
    let end = 0;
    for (let i = 0; i < texts.length; ) {
      end += texts[i]!.length;
      offsets[++i] = end;
    }
    return { data: first, offsets: new Uint8Array(offsets.buffer) };
  }
  // Each string separately: joining them could create a surrogate pair from unpaired halves.
  const raw = texts.map(toCharacters);
  let end = 0;
  for (let i = 0; i < raw.length; ) {
    end += raw[i]!.length;
    offsets[++i] = end;
  }
  joined = raw.join("");
  return { data: bytesOf(joined), offsets: new Uint8Array(offsets.buffer) };
}

/** Encodes a string in UTF-8. Returns a string with one character per byte. */
function toCharacters(text: string): string {
  return unescape(encodeURIComponent(text.toWellFormed()));
}

function bytesIfAscii(text: string): Uint8Array<ArrayBuffer> | null {
  let bytes;
  try {
    bytes = bytesOf(latin1(text));
  } catch {
    return null;
  }
  return isAscii(bytes) ? bytes : null;
}

/** Returns the string. Throws if it has characters above U+00FF. */
function latin1(text: string): string {
  if (!base64.fromBase64 && /[^\x00-\xff]/.test(text)) throw new RangeError("not Latin-1");
  return text;
}

function isAscii(bytes: Uint8Array): boolean {
  const words = bytes.byteLength >> 2;
  let all = 0;
  let i = 0;
  if ((bytes.byteOffset & 3) === 0) {
    const view = new Int32Array(bytes.buffer, bytes.byteOffset, words);
    for (const end = words & ~7; i < end; i += 8) {
      all |=
        view[i]! | view[i + 1]! | view[i + 2]! | view[i + 3]! | view[i + 4]! | view[i + 5]! | view[i + 6]! | view[i + 7]!;
    }
    i *= 4;
  }
  let rest = 0;
  for (; i < bytes.length; i++) rest |= bytes[i]!;
  return (all & 0x80808080) === 0 && (rest & 0x80) === 0;
}
