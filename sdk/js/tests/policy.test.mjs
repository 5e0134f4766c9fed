// What authors write, and what the gateway gets to see of it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PolicyError, bucketOf, count, hashKey, log, lookup, onlyKeys, policy } from "../index.js";
import { load } from "../testing.js";
import { toHalves } from "../index.js";

const router = (decide, inputs = ["shard-key"]) => policy({ route: { inputs, decide } });
const refused = (code, detail) => (error) => error instanceof PolicyError && error.code === code && detail.test(error.message);

test("a manifest lists hooks, inputs in their order, and positions of secrets", () => {
  const { manifest } = load(policy({
    name: "n", version: "1.2.3", configSchema: { type: "object" },
    classify: { inputs: ["header:x-api-key", "claim:a:b", "path"], secret: ["header:x-api-key"], decide: () => ({ tenant: "t" }) },
    invalidate: { columns: ["id", "price"], secret: ["price"], decide: () => [] },
  }));
  assert.deepEqual(manifest, {
    name: "n", version: "1.2.3", configSchema: '{"type":"object"}',
    hooks: [
      { hook: "classify", inputs: [{ tag: "header", val: "x-api-key" }, { tag: "claim", val: "a:b" }, { tag: "path" }], secret: [0] },
      { hook: "invalidate", inputs: [{ tag: "column", val: "id" }, { tag: "column", val: "price" }], secret: [1] },
    ],
  });
});

test("a definition that cannot work is refused with what to change", () => {
  assert.throws(() => load(undefined), /export default policy/);
  assert.throws(() => load({}), /no hook; there are: classify, route/);
  assert.throws(() => load({ rout: {} }), /no part named `rout`/);
  assert.throws(() => load(router(() => ({ all: true }), ["cookie:x"])), /no input `cookie:x`; there are: method/);
  assert.throws(() => load(policy({ route: { inputs: ["path"], secret: ["method"], decide() {} } })), /route.secret: `method`/);
});

test("a 64-bit hash crosses whole", () => {
  const { route } = load(router(({ inputs: [key] }) => ({ hash: BigInt(key) })));
  for (const [text, halves] of [
    ["0", [0, 0]], ["4294967295", [-1, 0]], ["9007199254740993", [1, 2097152]], ["18446744073709551615", [-1, -1]], ["9223372036854775808", [0, -2147483648]],
  ]) {
    assert.deepEqual(route({ "shard-key": text }), { tag: "hash", val: halves });
    assert.deepEqual(toHalves(text), halves);
  }
});

test("a bucket is the hash modulo the number of buckets, small or large", () => {
  load(router(() => ({ all: true })));
  for (const key of ["", "1", "42", "Grüße", "x".repeat(300)]) {
    for (const buckets of [1, 2, 3, 1000, 65536, 2 ** 21, 2 ** 21 + 1, 4294967295]) {
      assert.equal(bucketOf(key, buckets), Number(hashKey(key) % BigInt(buckets)), `${key} in ${buckets}`);
    }
  }
});

test("shards are named or numbered, and an unknown name is a refusal", () => {
  const { route } = load(router(({ inputs: [key] }) => ({ shards: [key, 7] })), { shards: ["east", "west"] });
  assert.deepEqual(route({ "shard-key": "west" }), { tag: "shards", val: [1, 7] });
  assert.throws(() => route({ "shard-key": "north" }), refused("not-ready", /no shard `north`/));
});

test("configure gets the parsed configuration, and its state reaches the hook", () => {
  const tiers = policy({
    configure: (config) => ({ tier: config.tier.toUpperCase() }),
    classify: { inputs: [], decide: (_, { tier }) => ({ tenant: "t", class: tier }) },
  });
  assert.deepEqual(load(tiers, { config: { tier: "gold" } }).classify(), { tenant: "t", class: "GOLD" });
  assert.throws(() => load(tiers, { config: {} }), refused("not-ready", /undefined/));
});

test("without configure a configuration is refused, unless there is a schema for it", () => {
  const decide = (_, state) => ({ tenant: state.name ?? "none" });
  const plain = policy({ classify: { inputs: [], decide } });
  assert.equal(load(plain).classify().tenant, "none");
  assert.throws(() => load(plain, { config: { name: "x" } }), refused("not-ready", /takes no configuration/));
  assert.equal(load({ ...plain, configSchema: {} }, { config: { name: "x" } }).classify().tenant, "x");
});

test("unknown keys of a configuration are told with the known ones", () => {
  assert.throws(() => onlyKeys({ a: 1, c: 1 }, ["a", "b"]), refused("not-ready", /unknown key `c`; there are: a, b/));
  onlyKeys({ a: 1 }, ["a"]);
});

test("a failed self-test refuses the version", () => {
  const failing = policy({ selfTest() { throw new Error("case 3"); }, route: { inputs: [], decide: () => ({ all: true }) } });
  assert.throws(() => load(failing), refused("other", /case 3/));
});

test("an exception in a hook is logged and goes on, a PolicyError is an answer", () => {
  const { route, lines } = load(router(({ inputs: [key] }) => {
    if (key === null) throw new PolicyError("bad-input", "no key");
    throw new TypeError("a bug");
  }));
  assert.throws(() => route(), refused("bad-input", /no key/));
  assert.equal(lines.length, 0);
  assert.throws(() => route({ "shard-key": "1" }), TypeError);
  assert.match(lines[0].message, /a bug/);
});

test("a request gives inputs by position and by declared name only", () => {
  const { route } = load(router((request) => ({ shards: [request.input("shard-key"), request.inputs[1]] }), ["shard-key", "header:to"]));
  assert.deepEqual(route({ "shard-key": "b", "header:to": "a" }).val, [1, 0]);
  const nosy = load(router((request) => request.input("path")));
  assert.throws(() => nosy.route(), /`path` is not declared/);
});

test("a decision has defaults, and varies by names", () => {
  const decide = ({ inputs: [, accept] }) => (accept ? { vary: ["header:accept"], ttlMs: 5, tags: ["t"] } : {});
  const { cachePolicy } = load(policy({ cachePolicy: { inputs: ["class", "header:accept"], decide } }));
  assert.deepEqual(cachePolicy(), { mode: "as-configured", ttlMs: null, staleMs: 0, vary: [], tags: [] });
  assert.deepEqual(cachePolicy({ "header:accept": "a" }), { mode: "as-configured", ttlMs: 5, staleMs: 0, vary: [1], tags: ["t"] });
});

test("changes have columns by name, and actions are what vectors call them", () => {
  const seen = [];
  const decide = (changes) => {
    seen.push(...changes);
    return [{ tag: "a" }, { verb: "refresh", row: { collection: "p", key: "1" } }, { verb: "soft-purge", lists: "p" }];
  };
  const { invalidate } = load(policy({ invalidate: { columns: ["category_id"], decide } }));
  const actions = invalidate({ collection: "p", kind: "insert", key: "1", new: { category_id: "2" } }, { collection: "p", kind: "truncate" });
  assert.deepEqual(actions, [
    { verb: "purge", target: { tag: "tag", val: "a" } },
    { verb: "refresh", target: { tag: "row", val: { collection: "p", key: "1" } } },
    { verb: "soft-purge", target: { tag: "lists", val: "p" } },
  ]);
  assert.deepEqual(seen[0], { collection: "p", key: "1", kind: "insert", old: null, new: { category_id: "2" } });
  assert.deepEqual([seen[1].old, seen[1].new], [null, null]);
});

test("the gateway's log, counters and directories are at hand", () => {
  const { classify, lines, counters } = load(
    policy({ classify: { inputs: ["header:h"], decide({ inputs: [h] }) { log.warn("w"); count("asked", 3); return { tenant: lookup("hosts", h) }; } } }),
    { directories: { hosts: { a: "acme" } } },
  );
  assert.equal(classify({ "header:h": "a" }).tenant, "acme");
  assert.deepEqual([lines, counters.get("asked")], [[{ level: "warn", message: "w" }], 3n]);
});
