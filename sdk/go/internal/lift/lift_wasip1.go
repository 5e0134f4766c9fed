// Package lift makes Go values of what the arguments of hooks have in common.
package lift

import (
	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
)

// Request is a hook's question.
func Request(tenant, class, op, collection, inputsAt, inputsLength uint32) *tidegate.Request {
	request := &tidegate.Request{Tenant: tenant, Class: class, Op: tidegate.Op(op), Collection: collection}
	request.Inputs = Values(inputsAt, inputsLength)
	abi.Done()
	return request
}

// Values are a list of optional texts.
func Values(at, length uint32) []tidegate.Value {
	values := make([]tidegate.Value, length)
	words := abi.Words(at, length, 3)
	for i := range values {
		if option := words[i*3 : i*3+3]; option[0]&0xff == 1 {
			values[i] = tidegate.Value{Text: abi.Text(option[1], option[2]), Present: true}
		}
	}
	return values
}
