// From a policy's definition to the exports of a component. Authors do not see this module.
import * as host from "#host";
import { PolicyError, toHalves } from "./index.js";

/** The hooks: their key in a definition, their interface, and how the manifest lists what they read. */
export const HOOKS = {
  classify: "classify",
  route: "route",
  cachePolicy: "cache-policy",
  invalidate: "invalidate",
};

const PLAIN_INPUTS = ["method", "path", "collection", "shard-key", "tenant", "class", "region"];
const NAMED_INPUTS = ["header", "query", "claim", "column"];

/** The hooks that a definition has, and whether all of it is well-formed. */
export function hooksOf(definition) {
  if (typeof definition !== "object" || definition === null) {
    throw new Error("the module's default export is no policy: write `export default policy({ ... })`");
  }
  const known = ["name", "version", "configSchema", "configure", "selfTest", ...Object.keys(HOOKS)];
  const unknown = Object.keys(definition).find((key) => !known.includes(key));
  if (unknown) throw new Error(`the policy has no part named \`${unknown}\`; there are: ${known.join(", ")}`);
  const hooks = Object.keys(HOOKS).filter((key) => definition[key] !== undefined);
  if (hooks.length === 0) throw new Error(`the policy has no hook; there are: ${Object.keys(HOOKS).join(", ")}`);
  for (const key of hooks) {
    const hook = definition[key];
    if (typeof hook.decide !== "function") throw new Error(`${key}.decide is no function`);
    namesOf(key, hook).forEach(toInput);
    const secret = hook.secret?.find((name) => !declared(key, hook).includes(name));
    if (secret !== undefined) throw new Error(`${key}.secret: \`${secret}\` is not among what the hook reads`);
  }
  return hooks;
}

/** What an author declared, in the author's own words. */
const declared = (key, hook) => (key === "invalidate" ? hook.columns : hook.inputs) ?? [];
/** The same as inputs: an invalidator names columns. */
const namesOf = (key, hook) => declared(key, hook).map((name) => (key === "invalidate" ? `column:${name}` : name));

function toInput(text) {
  if (PLAIN_INPUTS.includes(text)) return { tag: text };
  const colon = text.indexOf(":");
  const kind = text.slice(0, colon);
  if (colon > 0 && NAMED_INPUTS.includes(kind)) return { tag: kind, val: text.slice(colon + 1) };
  throw new Error(`no input \`${text}\`; there are: ${PLAIN_INPUTS.join(", ")}, ${NAMED_INPUTS.map((kind) => `${kind}:NAME`).join(", ")}`);
}

const refusal = (code, detail) => ({ code, detail: String(detail) });

/** What the policy made of its configuration. */
let state;

/** The exports of `lifecycle`. */
export function lifecycle(definition, defaults) {
  return {
    describe() {
      const hooks = hooksOf(definition);
      const schema = definition.configSchema ?? "";
      return {
        name: definition.name ?? defaults.name,
        version: definition.version ?? defaults.version,
        hooks: hooks.map((key) => ({
          hook: HOOKS[key],
          inputs: namesOf(key, definition[key]).map(toInput),
          secret: (definition[key].secret ?? []).map((name) => declared(key, definition[key]).indexOf(name)),
        })),
        configSchema: typeof schema === "string" ? schema : JSON.stringify(schema),
      };
    },
    configure(json) {
      state = refusing("not-ready", () => configured(definition, JSON.parse(json.trim() || "{}") ?? {}));
    },
    selfTest() {
      return refusing("other", () => definition.selfTest?.(state) ?? 0);
    },
  };
}

function configured(definition, config) {
  if (definition.configure) return definition.configure(config);
  if (definition.configSchema || Object.keys(config).length === 0) return config;
  throw new PolicyError("not-ready", "this policy takes no configuration: remove `config`");
}

/** For what happens once, when a version is loaded: every exception is a reason to refuse it. */
function refusing(code, call) {
  try {
    return call();
  } catch (error) {
    throw refusal(error instanceof PolicyError ? error.code : code, error?.message ?? error);
  }
}

/** For hooks: a PolicyError is an answer, anything else a bug, and traps. */
function answering(call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof PolicyError) throw refusal(error.code, error.message);
    host.log("error", `${error}\n${error?.stack ?? ""}`);
    throw error;
  }
}

/** One question, as authors see it. */
class Request {
  constructor(raw, names) {
    this.op = raw.op;
    this.inputs = raw.inputs;
    this.names = names;
  }
  /** The value of a declared input; null where the request has no such thing. */
  input(name) {
    const at = this.names.indexOf(name);
    if (at < 0) throw new Error(`the input \`${name}\` is not declared`);
    return this.inputs[at];
  }
}

/** The function that asks a hook of the definition for one request. */
function asking(definition, key, toAnswer) {
  const { decide } = definition[key];
  const names = declared(key, definition[key]);
  return (raw) => answering(() => toAnswer(decide.call(definition, new Request(raw, names), state), names));
}

// One function for each hook, so that a component holds and imports what its own hooks need.

/** The exports of `classify`. */
export const classify = (definition) => ({ classify: asking(definition, "classify", classification) });

/** The exports of `route`. */
export const route = (definition) => ({ route: asking(definition, "route", targets) });

/** The exports of `cache-policy`. */
export const cachePolicy = (definition) => ({ decide: asking(definition, "cachePolicy", decision) });

/** The exports of `invalidate`. */
export function invalidate(definition) {
  const { decide, columns } = definition.invalidate;
  const ask = (batch) => decide.call(definition, batch.map((change) => row(change, columns)), state);
  return { invalidate: (tenant, klass, batch) => answering(() => ask(batch).map(action)) };
}

const classification = ({ tenant, class: klass }) => ({ tenant, class: klass ?? null });

function targets(answer) {
  if (answer.hash !== undefined) return { tag: "hash", val: toHalves(answer.hash) };
  if (answer.shards !== undefined) return { tag: "shards", val: answer.shards.map(shard) };
  if (answer.all === true) return { tag: "all-of-tenant" };
  throw new Error("a router answers { hash }, { shards } or { all: true }");
}

function shard(nameOrId) {
  if (typeof nameOrId === "number") return nameOrId;
  const id = host.shardNamed(nameOrId);
  if (id === null) throw new PolicyError("not-ready", `there is no shard \`${nameOrId}\``);
  return id;
}

function decision({ mode = "as-configured", ttlMs = null, staleMs = 0, vary = [], tags = [] }, names) {
  const position = (name) => {
    const at = names.indexOf(name);
    if (at < 0) throw new Error(`vary: the input \`${name}\` is not declared`);
    return at;
  };
  return { mode, ttlMs, staleMs, vary: vary.map(position), tags };
}

function row({ collection, key, kind, old, new: after }, columns) {
  const named = (values) => (values.length === 0 ? null : Object.fromEntries(columns.map((name, i) => [name, values[i]])));
  return { collection, key, kind, old: named(old), new: named(after) };
}

const TARGETS = ["row", "tag", "query", "lists", "collection"];

function action(answer) {
  const tag = TARGETS.find((name) => answer[name] !== undefined);
  if (!tag) throw new Error(`an action names one of: ${TARGETS.join(", ")}`);
  return { verb: answer.verb ?? "purge", target: { tag, val: answer[tag] } };
}
