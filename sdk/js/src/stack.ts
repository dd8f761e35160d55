/** Stack traces with locations in the plugin's sources, from the source map that the build puts before the program. */

/** The required part of a source map: https://tc39.es/ecma426. */
interface SourceMap {
  readonly sources: readonly string[];
  readonly mappings: string;
}

/** A location in the program: line, column, and its source file; counted from 0. */
interface Location {
  readonly column: number;
  readonly source: number;
  readonly line: number;
  readonly sourceColumn: number;
}

/** Set in the program's first line, which the build writes. */
declare global {
  // eslint-disable-next-line no-var
  var millstreamSourceMap: SourceMap | undefined;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FRAME = /^(.*?)\(?([^()\s]+):(\d+):(\d+)\)?$/;

/** Returns name, message and trace of an error. Formats any other thrown value. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const head = `${error.name}: ${error.message}`;
  const frames = mapStack(error.stack ?? "");
  const cause = error.cause === undefined ? "" : `\ncaused by ${describeError(error.cause)}`;
  return [head, ...frames].join("\n") + cause;
}

/** A stack frame, as the engine passes it to `Error.prepareStackTrace`. */
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

/** The mappings decoded last, as locations for each line of the program. */
let read: { readonly mappings: string; readonly locations: Location[][] } | undefined;

/**
 * The lines of a trace, with source locations. `mappings`: the source map, if not the program's; `columnOf`: the
 * column in the program's line for a column of the trace.
 */
export function mapStack(stack: string, mappings?: string, columnOf?: (line: number, column: number) => number): string[] {
  const lines = stack.split("\n").filter((line) => line.trimStart().startsWith("at "));
  const map = globalThis.millstreamSourceMap;
  if (map === undefined) return lines;
  const own = mappings ?? map.mappings;
  if (read?.mappings !== own) read = { mappings: own, locations: decodeMappings(own) };
  const { locations } = read;
  return lines.flatMap((line) => {
    const frame = FRAME.exec(line);
    if (frame === null) return [line];
    const [, before, , lineNumber, column] = frame;
    // The program starts after the line with the map.
    const at = columnOf ? columnOf(Number(lineNumber), Number(column)) : Number(column);
    const location = find(locations[Number(lineNumber) - 2] ?? [], at - 1);
    const source = location && map.sources[location.source];
    // Sources without a name are the SDK's, which do not help the author of a plugin.
    if (location === undefined || !source) return [];
    return [`    ${before!.trim()} (${source}:${location.line + 1}:${location.sourceColumn + 1})`];
  });
}

/** Returns the last location of a line that starts at this column or before. */
function find(line: readonly Location[], column: number): Location | undefined {
  return line.findLast((location) => location.column <= column) ?? line[0];
}

/** Decodes the locations of each line. */
function decodeMappings(mappings: string): Location[][] {
  let [source, line, sourceColumn] = [0, 0, 0];
  return mappings.split(";").map((segments) => {
    let column = 0;
    const locations: Location[] = [];
    for (const segment of segments === "" ? [] : segments.split(",")) {
      const [columns, sources, lines, sourceColumns] = decodeSegment(segment);
      column += columns!;
      if (sources === undefined) continue;
      source += sources;
      line += lines!;
      sourceColumn += sourceColumns!;
      locations.push({ column, source, line, sourceColumn });
    }
    return locations;
  });
}

/** Decodes the numbers of a segment: base 64, five bits per digit, lowest first, with the sign in the lowest bit. */
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
