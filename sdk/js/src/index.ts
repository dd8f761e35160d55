/**
 * Writes Millstream plugins in TypeScript or JavaScript: a function on rows becomes a WebAssembly component.
 *
 * ```ts
 * import { row, text, transform } from "millstream-sdk";
 *
 * const Line = row({ value: text });
 * const Word = row({ word: text });
 *
 * export default transform({ input: Line, output: Word }, (line) => line.value.split(" ").map((word) => ({ word })));
 * ```
 */

import "./console.ts";

export * from "./aggregate.ts";
export { Batch, Bits, type Output } from "./batch.ts";
export {
  binary,
  bool,
  type Cell,
  date,
  decimal,
  float64,
  fromDate,
  int64,
  integer,
  nested,
  nullable,
  text,
  timestamp,
  type Timestamp,
  toDate,
} from "./cell.ts";
export * from "./cogroup.ts";
export type { Config, ConfigField, ConfigFields, ConfigSpec } from "./config.ts";
export * as config from "./config.ts";
export * as counter from "./counter.ts";
export { configError, type ErrorKind, inputError, internalError, PluginError, Rejection } from "./error.ts";
export * as files from "./files.ts";
export * as http from "./http.ts";
export * as log from "./log.ts";
export { type Migration, migration, type OldStates } from "./migrate.ts";
export * as net from "./net.ts";
export { keyed, type KeyedType, type Out, type OutputType } from "./out.ts";
export { type Cells, type Row, row, type RowOf, RowType } from "./row.ts";
export {
  type AnyRow,
  columns,
  Departures,
  type Identity,
  type Owner,
  sink,
  type SinkFunctions,
  type SinkPlugin,
  type SinkPromise,
  type SinkSpec,
  type Writer,
} from "./sink.ts";
export { Arrivals, type Polled, type Reader, source, type SourceFunctions, type SourcePlugin, type SourceSpec } from "./source.ts";
export { type Context, position, Stage } from "./stage.ts";
export type { Timers } from "./timers.ts";
export * from "./transform.ts";
export type { Column, Description, Field, Rejected, Type } from "./types.ts";
export {
  type Groups,
  type Migrate,
  type NewState,
  update,
  type Update,
  type UpdateCall,
  type Updated,
  type UpdatePlugin,
  type UpdateSpec,
} from "./update.ts";
export { decodeOne as decodeText, encodeOne as encodeText } from "./utf8.ts";
