import * as host from "#host";

/** A policy says no. Thrown from `configure` it refuses the version, from a hook the request. */
export class PolicyError extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    this.name = "PolicyError";
    this.code = code;
  }
}

/** Declares a policy; a module exports it as its default. */
export const policy = (definition) => definition;

/** Refuses a configuration with keys that are not among these. */
export function onlyKeys(config, keys) {
  const unknown = Object.keys(config).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    const known = keys.length === 0 ? "there are none" : `there are: ${keys.join(", ")}`;
    throw new PolicyError("not-ready", `config: unknown key \`${unknown}\`; ${known}`);
  }
}

// A 64-bit number crosses to the gateway as two 32-bit halves: see lib/u64.mjs.
export const toHalves = (value) => {
  const whole = BigInt(value);
  return [Number(BigInt.asIntN(32, whole)), Number(BigInt.asIntN(32, whole >> 32n))];
};
const fromHalves = ([low, high]) => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

export const shardCount = () => host.shardCount();
export const shardNamed = (name) => host.shardNamed(name);
export const shardForHash = (hash) => host.shardForHash(toHalves(hash));
export const shardsInRegion = (region) => host.shardsInRegion(region);
export const hashKey = (text) => fromHalves(host.hashKey(text));

/** The hash of a key, modulo a number of buckets. */
export function bucketOf(text, buckets) {
  const [low, high] = host.hashKey(text);
  // (high * 2^32 + low) mod n in doubles: each product stays below 2^53 for n up to 2^21.
  if (buckets <= 0x200000) return (((high >>> 0) % buckets) * (0x100000000 % buckets) + ((low >>> 0) % buckets)) % buckets;
  return Number(fromHalves([low, high]) % BigInt(buckets));
}

export const lookup = (directory, key) => host.lookup(directory, key);
export const count = (name, amount = 1) => host.add(name, toHalves(amount));
export const log = {
  debug: (message) => host.log("debug", message),
  info: (message) => host.log("info", message),
  warn: (message) => host.log("warn", message),
  error: (message) => host.log("error", message),
};
