// The gateway's side of the SDK, as a built policy sees it. What a policy does not use is not imported.
export { log } from "tidegate:policy/host-log@0.1.0";
export { add } from "tidegate:policy/host-metrics@0.1.0";
export { shardCount, shardNamed, shardForHash, shardsInRegion, hashKey } from "tidegate:policy/host-topology@0.1.0";
export { lookup } from "tidegate:policy/host-directory@0.1.0";
