/**
 * Tidegate policies in JavaScript and TypeScript. What the gateway does with each answer stands in `wit/`.
 *
 * A policy's answers must depend only on what it is asked and on its configuration: the gateway remembers
 * them, and runs several instances at once. There is no clock, randomness, file or network.
 */

/** A part of a request. Header names in any case. */
export type Input =
  | "method" | "path" | "collection" | "shard-key" | "tenant" | "class" | "region"
  | `header:${string}` | `query:${string}` | `claim:${string}`;

/**
 * Why a policy says no: no rule fits, an input has an unusable form, the configuration allows no answer, or
 * anything else. Every code has the same effect.
 */
export type ErrorCode = "no-match" | "bad-input" | "not-ready" | "other";

/** A policy says no. Thrown from `configure` it refuses the version, from a hook the request. */
export class PolicyError extends Error {
  /** @param detail For the operator's log, never for clients. */
  constructor(code: ErrorCode, detail?: string);
  readonly code: ErrorCode;
}

/** One question to a hook. */
export interface Request {
  readonly op: "read" | "write";
  /** The declared inputs, in the order of their declaration; null where the request has no such thing. */
  readonly inputs: readonly (string | null)[];
  /** A declared input by its name. */
  input(name: Input): string | null;
}

/** Whose request it is: names of the operator's configuration. Without a class: the tenant's own. */
export interface Classification {
  tenant: string;
  class?: string | null;
}

/**
 * Where a request goes: to the shard that wins this hash among the tenant's (`{ hash: hashKey(shardKey) }` is
 * the built-in routing), to these shards by name or number, or to all of the tenant's.
 */
export type Targets = { hash: bigint } | { shards: readonly (string | number)[] } | { all: true };

/** How the answer of a read is kept. It narrows what the collection is configured to. */
export interface Decision {
  /** `bypass`: read from the shard, keep nothing. */
  mode?: "as-configured" | "bypass";
  /** Longest time to serve it; null: the collection's. */
  ttlMs?: number | null;
  /** How long after that it may be served while a new one is fetched. */
  staleMs?: number;
  /** Declared inputs that the answer differs by. */
  vary?: readonly Input[];
  /** Names by which the `invalidate` hook purges it. */
  tags?: readonly string[];
}

/** One changed row. `old` is null for `insert`, `new` for `delete`, both for `truncate`. */
export interface Change {
  readonly collection: string;
  /** As it stands in a path: `42`, `42,7`. */
  readonly key: string;
  readonly kind: "insert" | "update" | "delete" | "truncate";
  /** The declared columns before the change. */
  readonly old: Readonly<Record<string, string | null>> | null;
  /** The declared columns after it. */
  readonly new: Readonly<Record<string, string | null>> | null;
}

/** What to purge. Without a verb: `purge`. */
export type Action = { verb?: "purge" | "soft-purge" | "refresh" } & (
  | { row: { collection: string; key: string } }
  | { tag: string }
  | { query: { collection: string; query: string } }
  | { lists: string }
  | { collection: string }
);

/** A hook: what it reads, at most 16 inputs, and how it answers. */
export interface Hook<State, Answer> {
  inputs: readonly Input[];
  /** Those whose values must not appear in logs, recordings or samples. */
  secret?: readonly Input[];
  decide(request: Request, state: State): Answer;
}

/** The hook for changes: the columns it reads, and how it answers. */
export interface Invalidator<State> {
  columns: readonly string[];
  secret?: readonly string[];
  decide(changes: readonly Change[], state: State): readonly Action[];
}

/** A policy: one hook or more. */
export interface Policy<State = unknown> {
  /** Shown to operators; by default as in package.json. */
  name?: string;
  /** Shown to operators; by default as in package.json. */
  version?: string;
  /** A JSON Schema (draft 2020-12) of the configuration: the gateway reports mistakes by their place. */
  configSchema?: object | string;
  /**
   * Makes of the operator's `config` (parsed; `{}` where there is none) what the hooks get as `state`. An
   * exception refuses the version. Without it: the configuration itself if there is a schema, else none is taken.
   */
  configure?(config: any): State;
  /** Checks the configured policy when it is loaded; returns how many cases it checked. */
  selfTest?(state: State): number;
  /** Whose request is it? */
  classify?: Hook<State, Classification>;
  /** Which shards does it go to? The same ones for reads and writes of a row. */
  route?: Hook<State, Targets>;
  /** How is the answer kept? */
  cachePolicy?: Hook<State, Decision>;
  /** What else does a change make outdated? */
  invalidate?: Invalidator<State>;
}

/** Declares a policy; a module exports it as its default. */
export function policy<State = unknown>(definition: Policy<State>): Policy<State>;

/** Refuses a configuration with keys that are not among these. */
export function onlyKeys(config: object, keys: readonly string[]): void;

/** How many shards there are. */
export function shardCount(): number;
/** The number of the shard of this name. */
export function shardNamed(name: string): number | null;
/** The shard, of all, that wins this hash. */
export function shardForHash(hash: bigint): number;
/** The numbers of the shards in a region. */
export function shardsInRegion(region: string): number[];
/** The hash that the built-in routing takes of a shard key. */
export function hashKey(text: string): bigint;
/** `hashKey(text) % buckets`, without big numbers. */
export function bucketOf(text: string, buckets: number): number;

/** The value of a key in a directory that the operator granted. Using it needs the grant `directory`. */
export function lookup(directory: string, key: string): string | null;

/** Adds to a counter of the policy's own: `[a-z0-9_]`, at most 16 of them. */
export function count(name: string, amount?: number | bigint): void;

/** Lines for the gateway's log, cut after 1024 bytes; at most 8 per call. */
export const log: {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
};
