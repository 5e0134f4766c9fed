"""{{name}}: say here what it decides."""

from tidegate_policy import (
    # {{#classify}}
    Classification,
    Classifier,
    PolicyError,
    # {{/classify}}
    # {{#route}}
    ALL,
    Hash,
    Router,
    # {{/route}}
    # {{#cache-policy}}
    CachePolicy,
    Decision,
    # {{/cache-policy}}
    # {{#invalidate}}
    Invalidator,
    purge,
    # {{/invalidate}}
    export,
)
# {{#route}}
from tidegate_policy.topology import hash_key
# {{/route}}

# The operator's `config`, parsed, and what it must look like, go into a class as
#     config_schema = {"type": "object", "properties": {...}, "additionalProperties": False}
#     def configure(self, config): ...
# {{#classify}}


class TheClassifier(Classifier):
    # What `classify` sees, in this order; nothing else may influence its answer.
    inputs = ["claim:tenant"]

    def classify(self, request):
        tenant = request.inputs[0]
        if tenant is None:
            raise PolicyError("no-match", "the token has no claim `tenant`")
        return Classification(tenant)
# {{/classify}}
# {{#route}}


class TheRouter(Router):
    # What `route` sees, in this order; nothing else may influence its answer.
    inputs = ["shard-key"]

    # Reads and writes of one key must go to the same shard.
    def route(self, request):
        key = request.inputs[0]
        return ALL if key is None else Hash(hash_key(key))
# {{/route}}
# {{#cache-policy}}


class TheCachePolicy(CachePolicy):
    # What `decide` sees, in this order; nothing else may influence its answer.
    inputs = ["class", "query:category_id"]

    def decide(self, request):
        class_name, category = request.inputs
        if class_name == "admin":
            return Decision(mode="bypass")
        return Decision(tags=[] if category is None else [f"category:{category}"])
# {{/cache-policy}}
# {{#invalidate}}


class TheInvalidator(Invalidator):
    # The columns of the changed rows that `invalidate` sees.
    columns = ["category_id"]

    def invalidate(self, changes):
        rows = [row for change in changes for row in (change.old, change.new) if row is not None]
        return [purge(tag=f"category:{row['category_id']}") for row in rows if row["category_id"] is not None]
# {{/invalidate}}


export(
    # {{#classify}}
    TheClassifier,
    # {{/classify}}
    # {{#route}}
    TheRouter,
    # {{/route}}
    # {{#cache-policy}}
    TheCachePolicy,
    # {{/cache-policy}}
    # {{#invalidate}}
    TheInvalidator,
    # {{/invalidate}}
)
