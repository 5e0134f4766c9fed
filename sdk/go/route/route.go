// Package route is the hook that says which shards a request goes to. The shard of a row must be the
// same for reads and writes.
package route

import (
	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

type kind uint32

const (
	hash kind = iota
	shards
	allOfTenant
)

// Targets is where a request goes.
type Targets struct {
	kind   kind
	hash   uint64
	shards []uint32
}

// Hash is the shard that wins the gateway's rendezvous hashing of this number, of the tenant's.
// `Hash(topology.HashKey(shardKey))` is the built-in routing.
func Hash(number uint64) Targets { return Targets{kind: hash, hash: number} }

// Shards are these, by their numbers; at least one.
func Shards(numbers ...uint32) Targets { return Targets{kind: shards, shards: numbers} }

// AllOfTenant is every shard of the tenant: right for lists.
func AllOfTenant() Targets { return Targets{kind: allOfTenant} }

var route func(*tidegate.Request) (Targets, error)

// Export makes f the policy's route hook, with these inputs. Called once, in an init function.
func Export(f func(*tidegate.Request) (Targets, error), inputs ...tidegate.Input) {
	plugin.Register("route", inputs)
	route = f
}
