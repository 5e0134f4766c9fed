// {{name}}: say here what it decides.
package main

import (
	tidegate "github.com/tidegate/tidegate/sdk/go"
	// {{#cache-policy}}
	"github.com/tidegate/tidegate/sdk/go/cachepolicy"
	// {{/cache-policy}}
	// {{#classify}}
	"github.com/tidegate/tidegate/sdk/go/classify"
	// {{/classify}}
	// {{#invalidate}}
	"github.com/tidegate/tidegate/sdk/go/invalidate"
	// {{/invalidate}}
	// {{#route}}
	"github.com/tidegate/tidegate/sdk/go/route"
	"github.com/tidegate/tidegate/sdk/go/topology"
	// {{/route}}
)
// {{#classify}}

func whose(request *tidegate.Request) (classify.Classification, error) {
	tenant, given := request.Input(0)
	if !given {
		return classify.Classification{}, tidegate.NoMatch("the token has no claim `tenant`")
	}
	return classify.Classification{Tenant: tenant}, nil
}
// {{/classify}}
// {{#route}}

// Reads and writes of one key must go to the same shard.
func where(request *tidegate.Request) (route.Targets, error) {
	key, addressed := request.Input(0)
	if !addressed {
		return route.AllOfTenant(), nil
	}
	return route.Hash(topology.HashKey(key)), nil
}
// {{/route}}
// {{#cache-policy}}

func howLong(request *tidegate.Request) (cachepolicy.Decision, error) {
	if class, _ := request.Input(0); class == "admin" {
		return cachepolicy.Decision{Mode: cachepolicy.Bypass}, nil
	}
	var decision cachepolicy.Decision
	if category, given := request.Input(1); given {
		decision.Tags = []string{"category:" + category}
	}
	return decision, nil
}
// {{/cache-policy}}
// {{#invalidate}}

func outdated(changes []invalidate.Change) ([]invalidate.Action, error) {
	var actions []invalidate.Action
	for _, change := range changes {
		for _, row := range [][]tidegate.Value{change.Old, change.New} {
			if len(row) > 0 && row[0].Present {
				tag := invalidate.Tag("category:" + row[0].Text)
				actions = append(actions, invalidate.Action{Verb: invalidate.Purge, Target: tag})
			}
		}
	}
	return actions, nil
}
// {{/invalidate}}

func init() {
	// ConfigSchema, Configure and SelfTest may be added; package config reads configurations.
	tidegate.Export(tidegate.Policy{Name: "{{name}}", Version: "0.1.0"})
	// What each hook sees, in this order; nothing else may influence its answer.
	// {{#classify}}
	classify.Export(whose, tidegate.Claim("tenant"))
	// {{/classify}}
	// {{#route}}
	route.Export(where, tidegate.ShardKey())
	// {{/route}}
	// {{#cache-policy}}
	cachepolicy.Export(howLong, tidegate.Class(), tidegate.Query("category_id"))
	// {{/cache-policy}}
	// {{#invalidate}}
	invalidate.Export(outdated, tidegate.Column("category_id"))
	// {{/invalidate}}
}

func main() {}
