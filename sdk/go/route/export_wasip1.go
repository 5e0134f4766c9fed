package route

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/lift"
	"github.com/tidegate/tidegate/sdk/go/internal/lower"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

//go:wasmexport tidegate:policy/route@0.1.0#route
func export(tenant, class, op, collection, inputsAt, inputsLength uint32) uint32 {
	defer plugin.Report()
	targets, err := route(lift.Request(tenant, class, op, collection, inputsAt, inputsLength))
	abi.Answer()
	if err != nil {
		lower.Refusal(2, err, plugin.OfHook)
		return abi.Address()
	}
	abi.Put(2, uint32(targets.kind))
	switch targets.kind {
	case hash:
		abi.PutWide(4, targets.hash)
	case shards:
		abi.PutList(4, targets.shards, 1)
	}
	return abi.Address()
}
