//go:build !wasip1

// Package policytest stands in for a gateway in `go test`. Its hashes are not the gateway's: what a
// policy answers for real is tested with `tidegate plugin test`.
package policytest

import (
	"testing"

	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/internal/host"
)

// Gateway is what a policy under test sees.
type Gateway = host.State

// Use makes a gateway the one that packages topology, directory, log and metrics speak to, until the
// test ends. What was logged and counted is in the gateway returned.
func Use(t testing.TB, gateway Gateway) *Gateway {
	before := host.Current
	host.Current = gateway
	t.Cleanup(func() { host.Current = before })
	return &host.Current
}

// Ask is a read with these inputs, by position; nil is absent.
func Ask(inputs ...any) *tidegate.Request {
	request := &tidegate.Request{Inputs: make([]tidegate.Value, len(inputs))}
	for i, input := range inputs {
		if text, present := input.(string); present {
			request.Inputs[i] = tidegate.Value{Text: text, Present: true}
		}
	}
	return request
}
