package tidegate

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/lower"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

//go:wasmexport tidegate:policy/lifecycle@0.1.0#describe
func exportDescribe() uint32 {
	defer plugin.Report()
	abi.Answer()
	var hooks []uint32
	for _, hook := range plugin.Hooks {
		hooks = append(hooks, describeHook(hook)...)
	}
	abi.PutText(0, policy.Name)
	abi.PutText(2, policy.Version)
	abi.PutList(4, hooks, 6)
	abi.PutText(6, policy.ConfigSchema)
	return abi.Address()
}

// The six words of a hook's inputs.
func describeHook(hook plugin.Hook) []uint32 {
	var inputs, secret []uint32
	for position, input := range hook.Inputs {
		at, length := abi.Held(input.Name)
		inputs = append(inputs, input.Kind, at, length)
		if input.Secret {
			secret = append(secret, uint32(position))
		}
	}
	nameAt, nameLength := abi.Held(hook.Name)
	inputsAt, inputsLength := abi.HeldList(inputs, 3)
	secretAt, secretLength := abi.HeldList(secret, 1)
	return []uint32{nameAt, nameLength, inputsAt, inputsLength, secretAt, secretLength}
}

//go:wasmexport tidegate:policy/lifecycle@0.1.0#configure
func exportConfigure(at, length uint32) uint32 {
	defer plugin.Report()
	config := abi.Text(at, length)
	abi.Done()
	err := configure(config)
	abi.Answer()
	if err != nil {
		lower.Refusal(1, err, plugin.OfLifecycle)
	}
	return abi.Address()
}

//go:wasmexport tidegate:policy/lifecycle@0.1.0#self-test
func exportSelfTest() uint32 {
	defer plugin.Report()
	cases, err := selfTest()
	abi.Answer()
	if err != nil {
		lower.Refusal(1, err, plugin.OfLifecycle)
		return abi.Address()
	}
	abi.Put(1, uint32(cases))
	return abi.Address()
}
