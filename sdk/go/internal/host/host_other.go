//go:build !wasip1

// Package host is what the gateway offers policies. Outside a gateway, in `go test`, it is the State
// that package policytest sets.
package host

import (
	"hash/fnv"
	"slices"
)

// State stands in for a gateway.
type State struct {
	Shards      []string
	Regions     map[string]string
	Directories map[string]map[string]string
	Logged      []string
	Counted     map[string]uint64
}

// Current is the state in use.
var Current = State{Shards: []string{"only"}}

// ShardCount is how many shards there are.
func ShardCount() uint32 { return uint32(len(Current.Shards)) }

// ShardNamed is the position of a name.
func ShardNamed(name string) (uint32, bool) {
	at := slices.Index(Current.Shards, name)
	return uint32(max(at, 0)), at >= 0
}

// ShardForHash spreads hashes over the shards; not as a gateway does.
func ShardForHash(hash uint64) uint32 { return uint32(hash % uint64(len(Current.Shards))) }

// ShardsInRegion are the positions of the shards with this region.
func ShardsInRegion(region string) []uint32 {
	var found []uint32
	for at, name := range Current.Shards {
		if Current.Regions[name] == region {
			found = append(found, uint32(at))
		}
	}
	return found
}

// HashKey is some hash of the text; not the gateway's.
func HashKey(text string) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(text))
	return hash.Sum64()
}

// Lookup finds an entry of a directory.
func Lookup(directory, key string) (string, bool) {
	value, found := Current.Directories[directory][key]
	return value, found
}

// Log remembers the message.
func Log(_ uint32, message string) { Current.Logged = append(Current.Logged, message) }

// Count adds to a counter.
func Count(name string, amount uint64) {
	if Current.Counted == nil {
		Current.Counted = map[string]uint64{}
	}
	Current.Counted[name] += amount
}
