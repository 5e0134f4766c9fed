// A gateway for unit tests: what `gateway.js` exports, answered from a plain object. Its hash is not the
// gateway's; `tidegate plugin test` runs a policy with the real one.
let world = { shards: ["a", "b"], regions: {}, directories: {} };

/** Sets what the fake gateway knows. */
export function pretend({ shards = ["a", "b"], regions = {}, directories = {} } = {}) {
  world = { shards, regions, directories };
}

export const lines = [];
export const counters = new Map();

export const log = (level, message) => void lines.push({ level, message });
export const add = (name, amount) => void counters.set(name, (counters.get(name) ?? 0n) + whole(amount));
export const shardCount = () => world.shards.length;
export const shardNamed = (name) => (world.shards.includes(name) ? world.shards.indexOf(name) : null);
export const shardForHash = (hash) => Number(whole(hash) % BigInt(world.shards.length));
export const shardsInRegion = (region) => world.shards.flatMap((name, id) => (world.regions[name] === region ? [id] : []));
export const lookup = (directory, key) => world.directories[directory]?.[key] ?? null;

/** FNV-1a of the UTF-16 units. */
export function hashKey(text) {
  let hash = 0xcbf29ce484222325n;
  for (let i = 0; i < text.length; i += 1) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(text.charCodeAt(i))) * 0x100000001b3n);
  }
  return [Number(BigInt.asIntN(32, hash)), Number(BigInt.asIntN(32, hash >> 32n))];
}

const whole = ([low, high]) => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
