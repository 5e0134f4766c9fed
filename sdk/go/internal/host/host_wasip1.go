// Package host is what the gateway offers policies.
package host

import (
	"unsafe"

	"github.com/tidegate/tidegate/sdk/go/internal/abi"
)

// Where imports write what they return. Not on a stack: those move while the gateway calls
// cabi_realloc.
var returned [3]uint32

func data(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

//go:wasmimport tidegate:policy/host-topology@0.1.0 shard-count
func shardCount() uint32

//go:wasmimport tidegate:policy/host-topology@0.1.0 shard-named
func shardNamed(name unsafe.Pointer, length uint32, into unsafe.Pointer)

//go:wasmimport tidegate:policy/host-topology@0.1.0 shard-for-hash
func shardForHash(hash uint64) uint32

//go:wasmimport tidegate:policy/host-topology@0.1.0 shards-in-region
func shardsInRegion(region unsafe.Pointer, length uint32, into unsafe.Pointer)

//go:wasmimport tidegate:policy/host-topology@0.1.0 hash-key
func hashKey(text unsafe.Pointer, length uint32) uint64

//go:wasmimport tidegate:policy/host-directory@0.1.0 lookup
func lookup(directory unsafe.Pointer, directoryLength uint32, key unsafe.Pointer, keyLength uint32, into unsafe.Pointer)

//go:wasmimport tidegate:policy/host-log@0.1.0 log
func log(level uint32, message unsafe.Pointer, length uint32)

//go:wasmimport tidegate:policy/host-metrics@0.1.0 add
func add(name unsafe.Pointer, length uint32, amount uint64)

// ShardCount is host-topology.shard-count.
func ShardCount() uint32 { return shardCount() }

// ShardNamed is host-topology.shard-named.
func ShardNamed(name string) (uint32, bool) {
	shardNamed(data(name), uint32(len(name)), unsafe.Pointer(&returned))
	return returned[1], returned[0]&0xff == 1
}

// ShardForHash is host-topology.shard-for-hash.
func ShardForHash(hash uint64) uint32 { return shardForHash(hash) }

// ShardsInRegion is host-topology.shards-in-region.
func ShardsInRegion(region string) []uint32 {
	shardsInRegion(data(region), uint32(len(region)), unsafe.Pointer(&returned))
	shards := append([]uint32(nil), abi.Words(returned[0], returned[1], 1)...)
	abi.Done()
	return shards
}

// HashKey is host-topology.hash-key.
func HashKey(text string) uint64 { return hashKey(data(text), uint32(len(text))) }

// Lookup is host-directory.lookup.
func Lookup(directory, key string) (string, bool) {
	lookup(data(directory), uint32(len(directory)), data(key), uint32(len(key)), unsafe.Pointer(&returned))
	if returned[0]&0xff == 0 {
		return "", false
	}
	value := abi.Text(returned[1], returned[2])
	abi.Done()
	return value, true
}

// Log is host-log.log.
func Log(level uint32, message string) { log(level, data(message), uint32(len(message))) }

// Count is host-metrics.add.
func Count(name string, amount uint64) { add(data(name), uint32(len(name)), amount) }
