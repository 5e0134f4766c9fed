// Package invalidate is the hook that says what else a change makes outdated: what only the application
// knows, besides the rows and lists that the gateway purges anyway.
package invalidate

import (
	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

// Kind is what happened to a row.
type Kind uint8

const (
	Insert Kind = iota
	Update
	Delete
	// Truncate : all rows of the table are gone, or too many changed to name them.
	Truncate
)

// Change is one changed row.
type Change struct {
	// Collection is the collection's name.
	Collection string
	// Key is the row's key as it stands in a path. Empty for Truncate.
	Key  string
	Kind Kind
	// Old and New are the declared columns before and after; empty where there was or is no row.
	Old, New []tidegate.Value
}

// Verb is how urgent it is.
type Verb uint32

const (
	// Purge : it must not be served again.
	Purge Verb = iota
	// SoftPurge : it may be served while a new one is fetched.
	SoftPurge
	// Refresh : as Purge; the gateway may fetch it again before somebody asks.
	Refresh
)

// Target is what is outdated.
type Target struct {
	kind          uint32
	first, second string
}

// Row is one row, by its key as in a path.
func Row(collection, key string) Target { return Target{0, collection, key} }

// Tag is every answer with this tag, of any collection.
func Tag(tag string) Target { return Target{1, tag, ""} }

// Query is one list query, by its query string.
func Query(collection, query string) Target { return Target{2, collection, query} }

// Lists are all list queries of a collection.
func Lists(collection string) Target { return Target{3, collection, ""} }

// Collection is every row and list of a collection.
func Collection(collection string) Target { return Target{4, collection, ""} }

// Action is one thing to purge.
type Action struct {
	Verb   Verb
	Target Target
}

var invalidate func(changes []Change) ([]Action, error)

// Export makes f the policy's invalidate hook, with these columns. The changes are of one transaction
// and one tenant. Called once, in an init function.
func Export(f func(changes []Change) ([]Action, error), columns ...tidegate.Input) {
	plugin.Register("invalidate", columns)
	invalidate = f
}
