/** Traces of the stack in terms of the plugin's own sources, by the source map that the build puts before the program. */

/** The part of a source map that is needed: https://tc39.es/ecma426. */
interface SourceMap {
  readonly sources: readonly string[];
  readonly mappings: string;
}

/** A location in the program: line, column, and its source file; counted from 0. */
interface Place {
  readonly column: number;
  readonly source: number;
  readonly line: number;
  readonly sourceColumn: number;
}

/** What the build writes into the program's first line. */
declare global {
  // eslint-disable-next-line no-var
  var millstreamSourceMap: SourceMap | undefined;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FRAME = /^(.*?)\(?([^()\s]+):(\d+):(\d+)\)?$/;

/** Name, message and trace of an error; of anything else that was thrown, what it is. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const head = `${error.name}: ${error.message}`;
  const frames = mapStack(error.stack ?? "");
  const cause = error.cause === undefined ? "" : `\ncaused by ${describeError(error.cause)}`;
  return [head, ...frames].join("\n") + cause;
}

/** A stack frame, as the engine passes it to programs that format their own traces. */
interface CallSite {
  getFunctionName(): string | null;
  getFileName(): string | null;
  getLineNumber(): number;
  getColumnNumber(): number;
}

/** Formats the trace of an error: the engine calls it while `Error.prepareStackTrace` is this function. */
export function traceOf(_: unknown, sites: readonly CallSite[]): string {
  const lines = sites.map((site) => {
    const name = site.getFunctionName() || "<anonymous>";
    return `    at ${name} (${site.getFileName()}:${site.getLineNumber()}:${site.getColumnNumber()})`;
  });
  return `${mapStack(lines.join("\n")).join("\n")}\n`;
}

/** The location of a function as the last line of a message, if the engine knows it. */
export function placeOf(function_: Function): string {
  const { fileName, lineNumber, columnNumber } = function_ as { fileName?: string; lineNumber?: number; columnNumber?: number };
  if (fileName === undefined || lineNumber === undefined) return "";
  const [line] = mapStack(`    at ${function_.name || "<anonymous>"} (${fileName}:${lineNumber}:${columnNumber ?? 1})`);
  return line === undefined ? "" : `\n${line}`;
}

/** The mappings that were decoded last, as locations for each line of the program. */
let read: { readonly mappings: string; readonly places: Place[][] } | undefined;

/**
 * The lines of a trace, with source locations. `mappings`: the source map, if not the program's; `columnOf`: the
 * column in the program's line for a column of the trace.
 */
export function mapStack(stack: string, mappings?: string, columnOf?: (line: number, column: number) => number): string[] {
  const lines = stack.split("\n").filter((line) => line.trimStart().startsWith("at "));
  const map = globalThis.millstreamSourceMap;
  if (map === undefined) return lines;
  const own = mappings ?? map.mappings;
  if (read?.mappings !== own) read = { mappings: own, places: decodeMappings(own) };
  const { places } = read;
  return lines.flatMap((line) => {
    const frame = FRAME.exec(line);
    if (frame === null) return [line];
    const [, before, , lineNumber, column] = frame;
    // The program begins behind the line with the map.
    const at = columnOf ? columnOf(Number(lineNumber), Number(column)) : Number(column);
    const place = find(places[Number(lineNumber) - 2] ?? [], at - 1);
    const source = place && map.sources[place.source];
    // Sources without a name are the SDK's, whose functions say nothing to the author of a plugin.
    if (place === undefined || !source) return [];
    return [`    ${before!.trim()} (${source}:${place.line + 1}:${place.sourceColumn + 1})`];
  });
}

/** The last location of a line that begins at this column or before. */
function find(line: readonly Place[], column: number): Place | undefined {
  return line.findLast((place) => place.column <= column) ?? line[0];
}

/** The locations of each line. */
function decodeMappings(mappings: string): Place[][] {
  let [source, line, sourceColumn] = [0, 0, 0];
  return mappings.split(";").map((segments) => {
    let column = 0;
    const places: Place[] = [];
    for (const segment of segments === "" ? [] : segments.split(",")) {
      const [columns, sources, lines, sourceColumns] = decodeSegment(segment);
      column += columns!;
      if (sources === undefined) continue;
      source += sources;
      line += lines!;
      sourceColumn += sourceColumns!;
      places.push({ column, source, line, sourceColumn });
    }
    return places;
  });
}

/** The numbers of a segment: base 64, five bits a digit, the lowest ones first, the sign in the lowest bit. */
function decodeSegment(segment: string): number[] {
  const numbers: number[] = [];
  let [value, shift] = [0, 0];
  for (const character of segment) {
    const digit = DIGITS.indexOf(character);
    value |= (digit & 31) << shift;
    shift += 5;
    if ((digit & 32) !== 0) continue;
    numbers.push((value & 1) === 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}
