// Package metrics is for counters of the policy's own. Grant: `metrics`, given unless taken away.
package metrics

import "github.com/tidegate/tidegate/sdk/go/internal/host"

// Add adds to `tidegate_policy_custom_total{plugin, name}`. Remembered answers are not asked for, so not
// counted.
func Add(name string, amount uint64) { host.Count(name, amount) }
