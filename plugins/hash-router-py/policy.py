"""Places rows by the hash of their shard key, exactly as the gateway does without a policy; or in buckets, so that
a new shard takes over whole buckets."""

from tidegate_policy import ALL, Hash, PolicyError, Request, Router, export, only_keys
from tidegate_policy.topology import hash_key, shard_count, shard_for_hash

MAX_BUCKETS = 65536


class HashRouter(Router):
    inputs = ["shard-key"]
    config_schema = {
        "type": "object",
        "properties": {"buckets": {"type": "integer", "minimum": 1, "maximum": MAX_BUCKETS}},
        "additionalProperties": False,
    }
    buckets: int | None = None

    def configure(self, config):
        only_keys(config, ["buckets"])
        buckets = config.get("buckets")
        # A bool is an int in Python.
        if buckets is not None and (type(buckets) is not int or not 1 <= buckets <= MAX_BUCKETS):
            raise PolicyError("not-ready", f"config: `buckets` is a whole number from 1 to {MAX_BUCKETS}")
        self.buckets = buckets

    def route(self, request):
        key = request.inputs[0]
        if key is None:
            return ALL
        hash = hash_key(key)
        return Hash(hash if self.buckets is None else hash_key(str(hash % self.buckets)))

    def self_test(self):
        keys = ["", "1", "42", "a\x1fb"]
        for key in keys:
            target = self.route(Request("read", [key], self.inputs))
            if shard_for_hash(target.value) >= shard_count():
                raise PolicyError("other", f"the gateway placed {key!r} on a shard that does not exist")
        return len(keys)


export(HashRouter)
