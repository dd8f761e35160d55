/** Rows as objects. */

import { bit, type Batch } from "./batch.ts";
import type { Cell } from "./cell.ts";
import { inputError } from "./error.ts";
import { compileReader, compileWriter, type RowReader, type RowWriter } from "./compile.ts";
import type { Column, Field, Rejected } from "./types.ts";

/** Cells by column name. */
export type Cells = Readonly<Record<string, Cell<unknown>>>;

/** A row type, which has the columns of a row. Created with {@link row}. */
export class RowType<T> {
  readonly fields: readonly (Field & { readonly cell: Cell<unknown> })[];
  /** Always missing: it only has the type of the rows. */
  declare readonly row?: T;
  readonly #reader: (columns: readonly unknown[]) => RowReader<T>;
  readonly #writer: () => RowWriter<T>;

  constructor(cells: Cells) {
    this.fields = Object.entries(cells).map(([name, cell]) => ({ name, type: cell.type, nullable: cell.nullable, cell }));
    // Compiled here, not at first use: modules run when a component is built, and the component keeps the result.
    this.#reader = compileReader<T>(this.fields);
    this.#writer = compileWriter<T>(this.fields);
  }

  /** Returns a reader of the rows of a batch, after checking its columns. */
  reader(batch: Batch): RowReader<T> {
    return this.#reader(this.fields.flatMap(({ name, cell }, index) => views(batch, name, cell, index)));
  }

  /** Returns a writer that builds columns from rows. */
  writer(): RowWriter<T> {
    return this.#writer();
  }

  /** Returns the rows that cannot be read, in order, with reasons: a null in a column that is not nullable, or a number that is too large. */
  missing(batch: Batch): Rejected[] {
    const rejected: Rejected[] = [];
    this.fields.forEach(({ name, cell }, index) => {
      const column = batch.columns[index];
      if (column === undefined) return;
      if (column.validity && !cell.nullable) nulls(column, batch.rows, name, rejected);
      if (cell.kind === "integer") unsafe(column, batch.rows, name, rejected);
    });
    rejected.sort((a, b) => a.row - b.row);
    return rejected.filter(({ row }, i) => i === 0 || rejected[i - 1]!.row !== row);
  }
}

/** The type of the rows of a row type: `Row<typeof Line>`. */
export type Row<R> = R extends RowType<infer T> ? T : never;

/** The row of a record of cells. Inferred, so that editors and errors show its fields. */
export type RowOf<C extends Cells> = { -readonly [K in keyof C]: C[K] extends Cell<infer T> ? T : never } extends infer T
  ? { [K in keyof T]: T[K] }
  : never;

/** Declares the columns of a row by name: `row({ value: text, n: nullable(int64) })`. */
export function row<const C extends Cells>(cells: C): RowType<RowOf<C>> {
  return new RowType<RowOf<C>>(cells);
}

/** Returns a column's data for the compiled reader: values, offsets or `null`, validity or `null`. */
function views(batch: Batch, name: string, cell: Cell<unknown>, index: number): unknown[] {
  const column = batch.columns[index];
  if (column === undefined) throw inputError(`column \`${name}\` (number ${index}): it is missing`);
  try {
    const validity = cell.nullable && column.validity ? batch.validity(index) : null;
    switch (cell.kind) {
      case "bool":
        return [batch.bool(index).bytes, null, validity];
      case "int64":
        return [batch.int64(index), null, validity];
      case "integer":
        return [words(batch.int64(index)), null, validity];
      case "float64":
        return [batch.float64(index), null, validity];
      case "text":
      case "nested": {
        const { text, offsets } = batch.text(index);
        return [text, offsets, validity];
      }
      case "binary":
        return [column.data, batch.offsets(index), validity];
    }
  } catch (error) {
    throw inputError(`column \`${name}\` (number ${index}): ${error instanceof Error ? error.message : error}`);
  }
}

function words(values: BigInt64Array): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.length * 2);
}

function nulls(column: Column, rows: number, name: string, rejected: Rejected[]): void {
  const validity = column.validity!;
  for (let row = 0; row < rows; row++) {
    // Skips a byte without nulls at once. Most bytes have none.
    if ((row & 7) === 0 && validity[row >> 3] === 0xff) row += 7;
    else if (!bit(validity, row)) rejected.push({ row, reason: `column \`${name}\` is null` });
  }
}

function unsafe(column: Column, rows: number, name: string, rejected: Rejected[]): void {
  const values = new BigInt64Array(column.data.slice(0, rows * 8).buffer);
  const high = words(values);
  for (let row = 0; row < rows; row++) {
    const top = high[2 * row + 1]!;
    if (top < 0x20_0000 && top >= -0x20_0000 && !(top === -0x20_0000 && high[2 * row] === 0)) continue;
    if (column.validity && !bit(column.validity, row)) continue;
    const reason = `column \`${name}\` is ${values[row]}, which is beyond what a number holds exactly`;
    rejected.push({ row, reason });
  }
}
