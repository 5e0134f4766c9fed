import type { Change, Input, Policy } from "./index.js";

/** What the pretended gateway knows. Its hash is not the gateway's: `tidegate plugin test` has the real one. */
export interface World {
  config?: object;
  shards?: readonly string[];
  regions?: Readonly<Record<string, string>>;
  directories?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Asks a hook, and gives its answer as the gateway gets it. Throws PolicyError where it is refused. */
export type Ask = (inputs?: Partial<Record<Input, string>>, op?: "read" | "write") => any;

/** A loaded policy: one function for each hook it has. */
export interface Loaded {
  manifest: any;
  lines: { level: string; message: string }[];
  counters: Map<string, bigint>;
  classify: Ask;
  route: Ask;
  cachePolicy: Ask;
  invalidate(...changes: (Partial<Change> & Pick<Change, "collection" | "kind">)[]): any[];
}

/** Loads a policy as the gateway does: describe, configure, self-test. Throws where it is refused. */
export function load(policy: Policy<any>, world?: World): Loaded;
