// Says whose a request is, and which class it has: by its host, a header field, an API key or a claim of its
// token, in the order the operator lists them. An API key that is not listed is refused rather than ignored:
// nobody gets in by a weaker source with a wrong key.
import { PolicyError, onlyKeys, policy, type Request } from "@tidegate/policy";

const SOURCES = ["host", "header", "api-key", "claim"] as const;
type Source = (typeof SOURCES)[number];

interface State {
  sources: Source[];
  hostSuffix: string;
  apiKeys: Map<string, string>;
  classes: Map<string, string>;
  defaultClass: string | null;
}

const KEYS = ["sources", "host_suffix", "api_keys", "classes", "default_class"];
const NAMES = { type: "object", additionalProperties: { type: "string" } };

const wrong = (detail: string) => new PolicyError("not-ready", `config: ${detail}`);
const lower = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

function text(config: Record<string, unknown>, key: string): string | null {
  const value = config[key] ?? null;
  if (value !== null && typeof value !== "string") throw wrong(`${key} is a text`);
  return value;
}

function names(config: Record<string, unknown>, key: string): Map<string, string> | null {
  const value = config[key] ?? null;
  if (value === null) return null;
  const entries = typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : null;
  if (!entries?.every((entry): entry is [string, string] => typeof entry[1] === "string")) throw wrong(`${key} maps texts to texts`);
  return new Map(entries);
}

function sourcesOf(config: Record<string, unknown>): Source[] {
  const sources = config.sources;
  const known = `sources names at least one of ${SOURCES.join(", ")}`;
  if (!Array.isArray(sources) || sources.length === 0) throw wrong(known);
  const unknown = sources.find((source) => !SOURCES.includes(source));
  if (unknown !== undefined) throw wrong(`${known}, not ${JSON.stringify(unknown)}`);
  if (new Set(sources).size < sources.length) throw wrong("sources names one twice");
  return sources;
}

/** The tenant a source gives, if it gives one. */
function tenant(source: Source, request: Request, state: State): string | null {
  switch (source) {
    case "host":
      return tenantOfHost(request.input("header:host"), state.hostSuffix);
    case "header":
      return request.input("header:x-tenant");
    case "api-key":
      return tenantOfKey(request.input("header:x-api-key"), state.apiKeys);
    case "claim":
      return request.input("claim:tenant");
  }
}

function tenantOfHost(host: string | null, suffix: string): string | null {
  const name = lower(host?.replace(/:[0-9]*$/, "") ?? "");
  return name.endsWith(suffix) ? name.slice(0, name.length - suffix.length) : null;
}

function tenantOfKey(key: string | null, known: Map<string, string>): string | null {
  if (key === null) return null;
  const tenant = known.get(key);
  if (tenant === undefined) throw new PolicyError("no-match", "the API key is not a listed one");
  return tenant;
}

export default policy<State>({
  configSchema: {
    type: "object",
    properties: {
      sources: { type: "array", items: { enum: SOURCES }, minItems: 1, uniqueItems: true },
      host_suffix: { type: "string", minLength: 1 },
      api_keys: NAMES,
      classes: NAMES,
      default_class: { type: "string" },
    },
    required: ["sources"],
    additionalProperties: false,
  },

  configure(config) {
    onlyKeys(config, KEYS);
    const sources = sourcesOf(config);
    const hostSuffix = text(config, "host_suffix");
    const apiKeys = names(config, "api_keys");
    if (sources.includes("host") && !hostSuffix) throw wrong('the source host needs host_suffix, as ".example.com"');
    if (sources.includes("api-key") && !apiKeys) throw wrong('the source api-key needs api_keys, as {"KEY": "TENANT"}');
    return {
      sources,
      hostSuffix: lower(hostSuffix ?? ""),
      apiKeys: apiKeys ?? new Map(),
      classes: names(config, "classes") ?? new Map(),
      defaultClass: text(config, "default_class"),
    };
  },

  classify: {
    inputs: ["header:host", "header:x-tenant", "header:x-api-key", "claim:tenant", "claim:tier"],
    secret: ["header:x-api-key"],
    decide(request, state) {
      for (const source of state.sources) {
        const name = tenant(source, request, state);
        if (!name) continue;
        const tier = source === "claim" ? request.input("claim:tier") : null;
        return { tenant: name, class: tier ?? state.classes.get(name) ?? state.defaultClass };
      }
      throw new PolicyError("no-match", "none of the sources names a tenant");
    },
  },

  selfTest(state) {
    const nobody: Request = { op: "read", inputs: [], input: () => null };
    try {
      this.classify?.decide(nobody, state);
    } catch (error) {
      if (error instanceof PolicyError && error.code === "no-match") return 1;
    }
    throw new PolicyError("other", "a request without any of its sources belongs to nobody");
  },
});
