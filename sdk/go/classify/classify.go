// Package classify is the hook that says whose request it is. It is asked first; the other hooks get
// its answer as tenant and class.
package classify

import (
	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

// Classification is whose request it is.
type Classification struct {
	// Tenant is the tenant's name, as the operator's `[tenants.known.NAME]` has it.
	Tenant string
	// Class is the class's name, as `[tenants.classes.NAME]` has it. Empty: the tenant's own.
	Class string
}

var classify func(*tidegate.Request) (Classification, error)

// Export makes f the policy's classify hook, with these inputs. Called once, in an init function.
func Export(f func(*tidegate.Request) (Classification, error), inputs ...tidegate.Input) {
	plugin.Register("classify", inputs)
	classify = f
}
