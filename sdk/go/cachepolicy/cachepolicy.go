// Package cachepolicy is the hook that says how an answer may be kept. It can narrow what the
// collection is configured to, never widen it.
package cachepolicy

import (
	"time"

	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

// Mode is whether the cache takes part.
type Mode uint32

const (
	// AsConfigured : as the collection's mode says.
	AsConfigured Mode = iota
	// Bypass : read from the shard, keep nothing.
	Bypass
)

// Decision is how to keep the answer of one read. The zero value changes nothing.
type Decision struct {
	Mode Mode
	// TTL is the longest time to serve it, in whole milliseconds. 0: the collection's.
	TTL time.Duration
	// Stale is how long after that it may be served while a new one is fetched.
	Stale time.Duration
	// Vary are the positions of inputs that the answer differs by.
	Vary []uint32
	// Tags are the names by which the invalidate hook can purge it.
	Tags []string
}

var decide func(*tidegate.Request) (Decision, error)

// Export makes f the policy's cache-policy hook, with these inputs. Called once, in an init function.
func Export(f func(*tidegate.Request) (Decision, error), inputs ...tidegate.Input) {
	plugin.Register("cache-policy", inputs)
	decide = f
}

// The time in milliseconds, within what the gateway can be told.
func milliseconds(time time.Duration) uint32 {
	const most = 1<<32 - 1
	return uint32(min(max(time.Milliseconds(), 0), most))
}
