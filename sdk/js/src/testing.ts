/**
 * Runs plugins in Node, without a host. Rows are objects.
 *
 * `int64` and `timestamp` are bigints; input rows may also have numbers. The log goes to standard error, `counter` does
 * nothing, and `files` reads from `testdata/`.
 */

import { bit, bitmap, bytesOf } from "./batch.ts";
import type { AggregatePlugin } from "./aggregate.ts";
import type { CogroupPlugin } from "./cogroup.ts";
import { setHost } from "./host.ts";
import type { RowType } from "./row.ts";
import type { SinkPlugin } from "./sink.ts";
import type { SourcePlugin } from "./source.ts";
import { type CallContext, Stage } from "./stage.ts";
import { TestHttp, type TestRequest, type TestResponse } from "./testing_net.ts";
import { testHost, type TestRow, toBatch, toBigint, toRows } from "./testing_rows.ts";
import { SinkTest } from "./testing_sink.ts";
import { SourceTest } from "./testing_source.ts";
import type { TransformPlugin } from "./transform.ts";
import type { Description, Field, Rejected, Type } from "./types.ts";
import type { UpdatePlugin } from "./update.ts";
import { isWritten } from "./written.ts";

/** Result of a run. */
export interface Run {
  /** The output rows. */
  readonly rows: TestRow[];
  /**
   * The rejected rows: index in the input rows, and reason. For worlds `update` and `cogroup`, the input rows are sorted
   * by key. For `cogroup`, the rows of the second input are counted after those of the first.
   */
  readonly rejected: Rejected[];
}

const TYPES = ["bool", "int64", "float64", "text", "binary", "timestamp"];

/** Parses columns, for example `"user text, amount int64, tags list<text>"`. */
function fieldsOf(columns: string): Field[] {
  // Types may contain commas.
  let depth = 0;
  const written = [""];
  for (const letter of columns) {
    depth += Number("<(".includes(letter)) - Number(">)".includes(letter));
    if (letter === "," && depth === 0) written.push("");
    else written[written.length - 1] += letter;
  }
  return written.filter((column) => column.trim() !== "").map((column) => {
    const [, name, type] = /^(\S+)\s+(.+)$/s.exec(column.trim()) ?? [];
    if (name === undefined || type === undefined) {
      throw new TypeError(`\`${column}\` is not a name and type; write it as \`amount int64\``);
    }
    if (!TYPES.includes(type) && !isWritten(type)) {
      throw new TypeError(`\`${type}\` is not a type; types are ${TYPES.join(", ")}, date, decimal(…), list<…> and struct<…>`);
    }
    return { name, type: type as Type, nullable: true };
  });
}

/** A plugin under test and the settings of its stage. */
class Test<P extends { create(stage: Stage): { describe(stage: Stage): Description } }> {
  protected readonly plugin: P;
  #config = "{}";
  readonly #inputs: Field[][] = [];
  protected keyFields: Field[] = [];
  readonly #http = new TestHttp();
  #batch = 0;
  #watermark: bigint | null = null;
  protected due: bigint[][] = [];
  protected timerChanges: { group: number; at: bigint; isSet: boolean }[] = [];

  constructor(plugin: P) {
    this.plugin = plugin;
  }

  /** Sets the stage's config. */
  config(config: unknown): this {
    this.#config = JSON.stringify(config);
    return this;
  }

  /** Sets the stage's key columns, for example `"user text, day int64"`. */
  key(columns: string): this {
    this.keyFields = fieldsOf(columns);
    return this;
  }

  /** Sets the columns of the stage's input. Only plugins that accept any columns need it. In world `cogroup`, call it per input. */
  input(columns: string): this {
    this.#inputs.push(fieldsOf(columns));
    return this;
  }

  /** Sets the watermark of the following runs, as in a stage with event time. Timers then use it. */
  watermark(watermark: bigint): this {
    this.#watermark = watermark;
    return this;
  }

  /** Defines an HTTP server at an address such as `https://example.com`, which responds to requests. */
  http(address: string, respond: (request: TestRequest) => TestResponse): this {
    this.#http.servers.set(address, respond);
    return this;
  }

  /** Returns the plugin's description. */
  describe(): Description {
    this.begin();
    const stage = new Stage(this.#config, this.#inputs, this.keyFields);
    return (this.plugin.create(stage) as ReturnType<P["create"]>).describe(stage);
  }

  /** Returns the stage of a call, whose inputs have the described columns. */
  protected stage(description: Description): Stage {
    return new Stage(this.#config, description.inputs ?? [description.input ?? []], this.keyFields);
  }

  /** Returns the context of the next run. The time of the first run is second 1, of the next one second 2, and so on. */
  protected nextContext(): CallContext {
    this.#batch += 1;
    return { batch: this.#batch, time: BigInt(this.#batch) * 1_000_000n, watermark: this.#watermark, timedOut: false };
  }

  protected begin(): void {
    setHost({
      ...testHost(),
      http: this.#http.ask,
      timers: {
        set: (group, at) => void this.timerChanges.push({ group, at, isSet: true }),
        cancel: (group, at) => void this.timerChanges.push({ group, at, isSet: false }),
        due: () => ({
          ends: bytesOf(ends(this.due)),
          times: bytesOf(BigInt64Array.from(this.due.flat())),
        }),
      },
    });
  }
}

/** A plugin of world `transform` under test. */
class TransformTest extends Test<TransformPlugin> {
  /** Processes one batch. */
  run(rows: readonly TestRow[]): Run {
    const description = this.describe();
    const plugin = this.plugin.create(this.stage(description));
    const output = plugin.process(this.nextContext(), toBatch(description.input ?? [], rows));
    return { rows: toRows(description.output, output.rows), rejected: [...output.rejected] };
  }
}

interface Keyed {
  readonly key: TestRow;
  readonly rows: TestRow[];
}

/** A plugin of world `update` under test. */
class UpdateTest extends Test<UpdatePlugin> {
  #states: { key: TestRow; state: TestRow }[] = [];
  #timers: { key: TestRow; at: bigint }[] = [];

  /**
   * Processes one batch of rows with key columns. Keys are in the order of their first rows, followed by keys without
   * rows whose timers are due. States and timers are kept for the next run.
   */
  run(rows: readonly TestRow[]): Run {
    return this.#call(byKey(this.keyFields, rows), false);
  }

  /** Makes the last call for a key that was idle for the stage's timeout. */
  timeOut(key: TestRow): Run {
    return this.#call([{ key: pick(this.keyFields, key), rows: [] }], true);
  }

  /** Returns the states, with the columns of key and state. */
  states(): TestRow[] {
    return this.#states.map(({ key, state }) => ({ ...key, ...state }));
  }

  /** Migrates states of another version, which had this row type. Returns the new states. */
  migrate<Old>(version: string, old: RowType<Old>, states: readonly TestRow[]): TestRow[] {
    if (!this.plugin.migrate) throw new TypeError("the plugin has no `migrations`");
    const made = this.plugin.migrate({ version, fields: old.fields, states: toBatch(old.fields, states) });
    return toRows(this.describe().state ?? [], made);
  }

  #takeDue(now: bigint, groups: Keyed[]): void {
    const due = this.#timers.filter(({ at }) => at <= now);
    this.#timers = this.#timers.filter(({ at }) => at > now);
    for (const { key } of due) {
      if (!groups.some((group) => isSame(group.key, key))) groups.push({ key, rows: [] });
    }
    const times = (key: TestRow) => due.filter((timer) => isSame(timer.key, key)).map(({ at }) => at);
    this.due = groups.map(({ key }) => times(key).sort((a, b) => (a < b ? -1 : 1)));
  }

  #call(groups: Keyed[], timedOut: boolean): Run {
    const description = this.describe();
    const stage = this.stage(description);
    const context = this.nextContext();
    this.#takeDue(context.watermark ?? context.time, groups);
    this.timerChanges = [];
    const old = groups.map(({ key }) => this.#states.find((known) => isSame(known.key, key))?.state);
    const updated = this.plugin.create(stage).update(stage, context, {
      keys: toBatch(this.keyFields, groups.map(({ key }) => key)),
      rows: toBatch(description.input ?? [], groups.flatMap(({ rows }) => rows)),
      ends: ends(groups.map(({ rows }) => rows)),
      states: toBatch(description.state ?? [], old.map((state) => state ?? {})),
      known: bitmap(old.map((state) => state !== undefined)),
      timedOut: bitmap(groups.map(() => timedOut)),
    });
    for (const { group, at, isSet } of this.timerChanges) {
      const { key } = groups[group]!;
      this.#timers = this.#timers.filter((timer) => timer.at !== at || !isSame(timer.key, key));
      if (isSet) this.#timers.push({ key, at });
    }
    const states = toRows(description.state ?? [], updated.states);
    this.#states = this.#states.filter((known) => !groups.some(({ key }) => isSame(known.key, key)));
    groups.forEach(({ key }, i) => {
      if (bit(updated.kept, i) && !timedOut) this.#states.push({ key, state: states[i]! });
    });
    return { rows: toRows(description.output, updated.output), rejected: [...updated.rejected] };
  }
}

/** A plugin of world `aggregate` under test. */
class AggregateTest extends Test<AggregatePlugin> {
  /**
   * Lifts all rows, combines those of each key from first to last, and lowers. If the plugin has an inverse, the run
   * also removes the first row of each key and adds it again with `combine`.
   */
  run(rows: readonly TestRow[]): Run {
    const description = this.describe();
    const plugin = this.plugin.create(this.stage(description));
    const context = this.nextContext();
    const state = description.state ?? [];
    const returned = byKey(this.keyFields, rows).map(({ key, rows }) => {
      const lifted = plugin.lift(context, toBatch(description.input ?? [], rows));
      const part = (row: number) => lifted.take([row], state);
      let whole = part(0);
      for (let row = 1; row < lifted.rows; row++) whole = plugin.combine(context, whole, part(row));
      if (plugin.inverse !== undefined && lifted.rows > 1) {
        whole = plugin.combine(context, part(0), plugin.inverse(context, whole, part(0)));
      }
      const lowered = plugin.lower(context, toBatch(this.keyFields, [key]), whole);
      return { ...key, ...toRows(description.output, lowered)[0] };
    });
    return { rows: returned, rejected: [] };
  }
}

/** A plugin of world `cogroup` under test. */
class CogroupTest extends Test<CogroupPlugin> {
  /**
   * Processes one batch: the rows of each input, with key columns. Keys are in the order of their first rows, those of
   * the first input first.
   */
  run(inputs: readonly (readonly TestRow[])[]): Run {
    const description = this.describe();
    const stage = this.stage(description);
    const grouped = inputs.map((rows) => byKey(this.keyFields, rows));
    const keys: TestRow[] = [];
    for (const { key } of grouped.flat()) {
      if (!keys.some((known) => isSame(known, key))) keys.push(key);
    }
    const batches = grouped.map((groups, input) => {
      const rows = keys.map((key) => groups.find((group) => isSame(group.key, key))?.rows ?? []);
      return { rows: toBatch(description.inputs?.[input] ?? [], rows.flat()), ends: ends(rows) };
    });
    const { rows, rejected } = this.plugin.create(stage).cogroup(stage, this.nextContext(), {
      keys: toBatch(this.keyFields, keys),
      inputs: batches,
    });
    let before = 0;
    const counted = rejected.flatMap((own, input) => {
      const from = before;
      before += batches[input]?.rows.rows ?? 0;
      return own.map(({ row, reason }) => ({ row: from + row, reason }));
    });
    return { rows: toRows(description.output, rows), rejected: counted };
  }
}

/** Tests a plugin of world `transform`. */
export function transform(plugin: TransformPlugin): TransformTest {
  return new TransformTest(plugin);
}

/** Tests a plugin of world `update`. */
export function update(plugin: UpdatePlugin): UpdateTest {
  return new UpdateTest(plugin);
}

/** Tests a plugin of world `aggregate`. */
export function aggregate(plugin: AggregatePlugin): AggregateTest {
  return new AggregateTest(plugin);
}

/** Tests a plugin of world `cogroup`. */
export function cogroup(plugin: CogroupPlugin): CogroupTest {
  return new CogroupTest(plugin);
}

/** Tests a plugin of world `source`. */
export function source(plugin: SourcePlugin): SourceTest {
  return new SourceTest(plugin);
}

/** Tests a plugin of world `sink`. */
export function sink(plugin: SinkPlugin): SinkTest {
  return new SinkTest(plugin, fieldsOf);
}

export type { TestRow } from "./testing_rows.ts";
export type { Answer, TestRequest, TestResponse } from "./testing_net.ts";
export type { SinkTest, WriterTest } from "./testing_sink.ts";
export type { PartitionTest, SourceTest, TestPoll } from "./testing_source.ts";
export type { AggregateTest, CogroupTest, TransformTest, UpdateTest };

/** Returns the columns of these fields. */
function pick(fields: readonly Field[], row: TestRow): TestRow {
  return Object.fromEntries(fields.map(({ name, type }) => [name, toBigint(type, row[name] ?? null)]));
}

/** Returns the rows of each key, with keys in the order of their first rows. */
function byKey(fields: readonly Field[], rows: readonly TestRow[]): Keyed[] {
  const groups: Keyed[] = [];
  for (const row of rows) {
    const key = pick(fields, row);
    const group = groups.find((group) => isSame(group.key, key));
    if (group === undefined) groups.push({ key, rows: [row] });
    else group.rows.push(row);
  }
  return groups;
}

function isSame(left: TestRow, right: TestRow): boolean {
  return Object.keys(left).every((name) => String(left[name]) === String(right[name]));
}

/** Returns the end of each group. */
function ends(groups: readonly (readonly unknown[])[]): Uint32Array {
  let end = 0;
  return Uint32Array.from(groups, (rows) => (end += rows.length));
}
