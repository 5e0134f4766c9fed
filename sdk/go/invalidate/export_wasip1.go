package invalidate

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/lift"
	"github.com/tidegate/tidegate/sdk/go/internal/lower"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

//go:wasmexport tidegate:policy/invalidate@0.1.0#invalidate
func export(_, _, batchAt, batchLength uint32) uint32 {
	defer plugin.Report()
	actions, err := invalidate(changesOf(batchAt, batchLength))
	abi.Answer()
	if err != nil {
		lower.Refusal(1, err, plugin.OfHook)
		return abi.Address()
	}
	words := make([]uint32, 0, 6*len(actions))
	for _, action := range actions {
		firstAt, firstLength := abi.Held(action.Target.first)
		secondAt, secondLength := abi.Held(action.Target.second)
		words = append(words, uint32(action.Verb), action.Target.kind, firstAt, firstLength, secondAt, secondLength)
	}
	abi.PutList(1, words, 6)
	return abi.Address()
}

func changesOf(at, length uint32) []Change {
	changes := make([]Change, length)
	words := abi.Words(at, length, 9)
	for i := range changes {
		row := words[i*9 : i*9+9]
		changes[i] = Change{
			Collection: abi.Text(row[0], row[1]),
			Key:        abi.Text(row[2], row[3]),
			Kind:       Kind(row[4]),
			Old:        lift.Values(row[5], row[6]),
			New:        lift.Values(row[7], row[8]),
		}
	}
	abi.Done()
	return changes
}
