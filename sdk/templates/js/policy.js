// {{name}}: say here what it decides.
import {
  policy,
  // {{#classify}}
  PolicyError,
  // {{/classify}}
  // {{#route}}
  hashKey,
  // {{/route}}
} from "@tidegate/policy";

export default policy({
  // The operator's `config`, parsed, and what it must look like, come here:
  //   configSchema: { type: "object", properties: { ... }, additionalProperties: false },
  //   configure(config) { return ...; },
  // What `configure` returns is the second argument of every `decide`.
  // {{#classify}}

  classify: {
    // What `decide` sees, in this order; nothing else may influence its answer.
    inputs: ["claim:tenant"],
    decide({ inputs: [tenant] }) {
      if (tenant === null) throw new PolicyError("no-match", "the token has no claim `tenant`");
      return { tenant };
    },
  },
  // {{/classify}}
  // {{#route}}

  route: {
    // What `decide` sees, in this order; nothing else may influence its answer.
    inputs: ["shard-key"],
    // Reads and writes of one key must go to the same shard.
    decide({ inputs: [key] }) {
      return key === null ? { all: true } : { hash: hashKey(key) };
    },
  },
  // {{/route}}
  // {{#cache-policy}}

  cachePolicy: {
    // What `decide` sees, in this order; nothing else may influence its answer.
    inputs: ["class", "query:category_id"],
    decide({ inputs: [className, category] }) {
      if (className === "admin") return { mode: "bypass" };
      return { tags: category === null ? [] : [`category:${category}`] };
    },
  },
  // {{/cache-policy}}
  // {{#invalidate}}

  invalidate: {
    // The columns of the changed rows that `decide` sees.
    columns: ["category_id"],
    decide(changes) {
      const categories = changes.flatMap((change) => [change.old?.category_id, change.new?.category_id]);
      return categories.filter((category) => category != null).map((category) => ({ verb: "purge", tag: `category:${category}` }));
    },
  },
  // {{/invalidate}}
});
