// Places rows by the hash of their shard key, exactly as the gateway does without a policy; or in buckets, so
// that a new shard takes over whole buckets.
import { PolicyError, bucketOf, hashKey, onlyKeys, policy, shardCount, shardForHash } from "@tidegate/policy";

const MAX_BUCKETS = 65536;

export default policy({
  configSchema: {
    type: "object",
    properties: { buckets: { type: "integer", minimum: 1, maximum: MAX_BUCKETS } },
    additionalProperties: false,
  },

  configure(config) {
    onlyKeys(config, ["buckets"]);
    const { buckets = null } = config;
    if (buckets !== null && !(Number.isInteger(buckets) && buckets >= 1 && buckets <= MAX_BUCKETS)) {
      throw new PolicyError("not-ready", `config: \`buckets\` is a whole number from 1 to ${MAX_BUCKETS}`);
    }
    return { buckets };
  },

  route: {
    inputs: ["shard-key"],
    decide({ inputs: [key] }, { buckets }) {
      if (key === null) return { all: true };
      return { hash: hashKey(buckets === null ? key : String(bucketOf(key, buckets))) };
    },
  },

  selfTest(state) {
    const keys = ["", "1", "42", "a\u001fb"];
    for (const key of keys) {
      const { hash } = this.route.decide({ inputs: [key] }, state);
      if (shardForHash(hash) >= shardCount()) {
        throw new PolicyError("other", `the gateway placed ${JSON.stringify(key)} on a shard that does not exist`);
      }
    }
    return keys.length;
  },
});
