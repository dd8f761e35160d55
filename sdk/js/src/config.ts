/** The stage's `config`: its fields, their checks when a job is loaded, and their types. */

import { configError, PluginError } from "./error.ts";
import type { Stage } from "./stage.ts";

/** A field of a config. */
export interface ConfigField<T> {
  /** JSON Schema of the field. */
  readonly schema: Readonly<Record<string, unknown>>;
  /** Whether the field is optional. */
  readonly optional: boolean;
  /** Value of the field if it is missing. */
  readonly fallback?: T;
  /** Checks a value. Throws if it is invalid. */
  parse(value: unknown): T;
}

/** The fields of a config, by name. */
export type ConfigFields = Readonly<Record<string, ConfigField<unknown>>>;

/** How a plugin reads its config: fields, or a function that takes the JSON value and throws if it is invalid. */
export type ConfigSpec<T> = ConfigFields | ((value: unknown) => T);

/** The type of a config: `Config<typeof fields>`. */
export type Config<S> = S extends (value: unknown) => infer T
  ? T
  : S extends ConfigFields
    ? { readonly [K in keyof S]: S[K] extends ConfigField<infer T> ? T : never }
    : undefined;

interface Options<T> {
  /** Default value, which makes the field optional. */
  readonly default?: T;
}

function field<T>(expected: string, schema: object, is: (value: unknown) => value is T, options?: Options<T>): ConfigField<T> {
  const parse = (value: unknown): T => {
    if (!is(value)) throw new TypeError(mismatch(value, expected));
    return value;
  };
  return withDefault({ schema: schema as Record<string, unknown>, optional: false, parse }, options);
}

function withDefault<T>(field: ConfigField<T>, options?: Options<T>): ConfigField<T> {
  if (options?.default === undefined) return field;
  const shown = typeof options.default === "bigint" ? Number(options.default) : options.default;
  return { ...field, optional: true, fallback: options.default, schema: { ...field.schema, default: shown } };
}

/** A number. */
export function number(options?: Options<number>): ConfigField<number> {
  const parse = (value: unknown): number => {
    if (typeof value !== "number" && typeof value !== "bigint") throw new TypeError(mismatch(value, "f64"));
    return Number(value);
  };
  return withDefault({ schema: { type: "number" }, optional: false, parse }, options);
}

/** A 64-bit integer without loss: a `bigint`. */
export function int64(options?: Options<bigint>): ConfigField<bigint> {
  const parse = (value: unknown): bigint => {
    const exact = typeof value === "bigint" || Number.isSafeInteger(value) ? BigInt(value as bigint | number) : undefined;
    if (exact === undefined || BigInt.asIntN(64, exact) !== exact) throw new TypeError(mismatch(value, "i64"));
    return exact;
  };
  return withDefault({ schema: { type: "integer" }, optional: false, parse }, options);
}

/** An integer up to 2^53 - 1. */
export function whole(options?: Options<number>): ConfigField<number> {
  return field("i64", { type: "integer" }, (value): value is number => Number.isSafeInteger(value), options);
}

/** A string. */
export function string(options?: Options<string>): ConfigField<string> {
  return field("a string", { type: "string" }, (value) => typeof value === "string", options);
}

/** `true` or `false`. */
export function boolean(options?: Options<boolean>): ConfigField<boolean> {
  return field("a boolean", { type: "boolean" }, (value) => typeof value === "boolean", options);
}

/** One of these strings. */
export function oneOf<const T extends string>(values: readonly T[], options?: Options<T>): ConfigField<T> {
  const parse = (value: unknown): T => {
    if (typeof value !== "string") throw new TypeError(mismatch(value, "a string"));
    const known = values.find((known) => known === value);
    if (known === undefined) throw new TypeError(`unknown variant \`${value}\`, ${expected(values)}`);
    return known;
  };
  return withDefault({ schema: { enum: values }, optional: false, parse }, options);
}

/** An array whose items are such fields. */
export function list<T>(of: ConfigField<T>, options?: Options<readonly T[]>): ConfigField<readonly T[]> {
  const parse = (value: unknown): readonly T[] => {
    if (!Array.isArray(value)) throw new TypeError(mismatch(value, "a sequence"));
    return value.map((element, i) => within(`[${i}]`, () => of.parse(element)));
  };
  return withDefault({ schema: { type: "array", items: of.schema }, optional: false, parse }, options);
}

/** An object with these fields and no others. */
export function object<F extends ConfigFields>(fields: F): ConfigField<Config<F>> {
  return { schema: schemaOf(fields), optional: false, parse: (value) => parseFields(fields, value) as Config<F> };
}

/** The same field, optional: `undefined` if it is missing. */
export function optional<T>(field: ConfigField<T>): ConfigField<T | undefined> {
  return { schema: field.schema, optional: true, parse: (value) => field.parse(value) };
}

/** Reads the config of a stage. Without a spec, the config must be empty. */
export function readConfig(spec: ConfigSpec<unknown> | undefined, stage: Stage): unknown {
  if (spec === undefined) {
    stage.noConfig();
    return undefined;
  }
  const value = stage.config();
  try {
    return typeof spec === "function" ? spec(value) : parseFields(spec, value);
  } catch (error) {
    if (error instanceof PluginError) throw error;
    throw configError(error instanceof Error ? error.message : String(error));
  }
}

/** Returns the JSON Schema of a config, or an empty string if it is unknown. */
export function configSchema(spec: ConfigSpec<unknown> | undefined): string {
  return spec === undefined || typeof spec === "function" ? "" : JSON.stringify(schemaOf(spec));
}

function schemaOf(fields: ConfigFields): Record<string, unknown> {
  const entries = Object.entries(fields);
  const required = entries.filter(([, field]) => !field.optional).map(([name]) => name);
  return {
    type: "object",
    properties: Object.fromEntries(entries.map(([name, field]) => [name, field.schema])),
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: false,
  };
}

function parseFields(fields: ConfigFields, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(mismatch(value, "a map"));
  }
  const names = Object.keys(fields);
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(fields, name));
  if (unknown !== undefined) throw new TypeError(`unknown field \`${unknown}\`, ${expected(names)}`);
  const given = value as Record<string, unknown>;
  const parsed = Object.entries(fields).map(([name, field]) => {
    if (Object.hasOwn(given, name)) return [name, within(name, () => field.parse(given[name]))];
    if (!field.optional) throw new TypeError(`missing field \`${name}\``);
    return [name, field.fallback];
  });
  return Object.fromEntries(parsed);
}

/** An error of a value, with the value's path in the config. */
class PathError extends TypeError {
  readonly path: string;
  readonly problem: string;

  constructor(path: string, problem: string) {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
    this.problem = problem;
  }
}

/** Parses a value at a path segment: a field's name, or an index in brackets. */
function within<T>(segment: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const { path, problem } = error instanceof PathError ? error : { path: "", problem: error.message };
    throw new PathError(path === "" || path.startsWith("[") ? segment + path : `${segment}.${path}`, problem);
  }
}

function expected(names: readonly string[]): string {
  if (names.length === 0) return "there are no fields";
  const quoted = names.map((name) => `\`${name}\``);
  if (quoted.length <= 2) return `expected ${quoted.join(" or ")}`;
  return `expected one of ${quoted.join(", ")}`;
}

function mismatch(value: unknown, expected: string): string {
  return `invalid type: ${found(value)}, expected ${expected}`;
}

function found(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return `integer \`${value}\``;
    case "number":
      return Number.isInteger(value) ? `integer \`${value}\`` : `floating point \`${value}\``;
    case "string":
      return `string ${JSON.stringify(value)}`;
    case "boolean":
      return `boolean \`${value}\``;
    default:
      return value === null ? "null" : Array.isArray(value) ? "sequence" : "map";
  }
}
