package classify

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/lift"
	"github.com/tidegate/tidegate/sdk/go/internal/lower"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

//go:wasmexport tidegate:policy/classify@0.1.0#classify
func export(tenant, class, op, collection, inputsAt, inputsLength uint32) uint32 {
	defer plugin.Report()
	who, err := classify(lift.Request(tenant, class, op, collection, inputsAt, inputsLength))
	abi.Answer()
	if err != nil {
		lower.Refusal(1, err, plugin.OfHook)
		return abi.Address()
	}
	abi.PutText(1, who.Tenant)
	if who.Class != "" {
		abi.Put(3, 1)
		abi.PutText(4, who.Class)
	}
	return abi.Address()
}
