package cachepolicy

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/lift"
	"github.com/tidegate/tidegate/sdk/go/internal/lower"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

//go:wasmexport tidegate:policy/cache-policy@0.1.0#decide
func export(tenant, class, op, collection, inputsAt, inputsLength uint32) uint32 {
	defer plugin.Report()
	decision, err := decide(lift.Request(tenant, class, op, collection, inputsAt, inputsLength))
	abi.Answer()
	if err != nil {
		lower.Refusal(1, err, plugin.OfHook)
		return abi.Address()
	}
	abi.Put(1, uint32(decision.Mode))
	if decision.TTL > 0 {
		abi.Put(2, 1)
		abi.Put(3, milliseconds(decision.TTL))
	}
	abi.Put(4, milliseconds(decision.Stale))
	abi.PutList(5, decision.Vary, 1)
	tags := make([]uint32, 0, 2*len(decision.Tags))
	for _, tag := range decision.Tags {
		at, length := abi.Held(tag)
		tags = append(tags, at, length)
	}
	abi.PutList(7, tags, 2)
	return abi.Address()
}
