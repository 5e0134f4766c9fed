// Package directory reads tables of which the gateway keeps a copy. Grant: `directory`, never given
// unless named.
package directory

import "github.com/tidegate/tidegate/sdk/go/internal/host"

// Lookup is the value of a key in a directory; not found where either is unknown.
func Lookup(directory, key string) (value string, found bool) { return host.Lookup(directory, key) }
