// Package topology is about the gateway's shards. Grant: `topology`, given unless taken away.
package topology

import "github.com/tidegate/tidegate/sdk/go/internal/host"

// ShardCount is how many shards there are; their numbers are below.
func ShardCount() uint32 { return host.ShardCount() }

// ShardNamed is the number of the shard with this name. Names stay when the configuration changes,
// numbers do not.
func ShardNamed(name string) (number uint32, found bool) { return host.ShardNamed(name) }

// ShardForHash is the shard that wins rendezvous hashing of this number, of all shards.
func ShardForHash(hash uint64) uint32 { return host.ShardForHash(hash) }

// ShardsInRegion are the shards of a region; none for an unknown one.
func ShardsInRegion(region string) []uint32 { return host.ShardsInRegion(region) }

// HashKey is the hash (XXH3-64) that the built-in routing takes of a shard key's text.
func HashKey(text string) uint64 { return host.HashKey(text) }
