// Package tidegate is for writing Tidegate policies in Go. A policy describes itself with Export and
// each of its hooks with the Export of the hook's package (classify, route, cachepolicy, invalidate),
// both in an init function; main stays empty:
//
//	type router struct{}
//
//	func (*router) Route(q *tidegate.Request) (route.Targets, error) {
//		key, ok := q.Input(0)
//		if !ok {
//			return route.AllOfTenant(), nil
//		}
//		return route.Hash(topology.HashKey(key)), nil
//	}
//
//	func init() {
//		tidegate.Export(tidegate.Policy{Name: "my-router", Version: "0.1.0"})
//		route.Export(new(router).Route, tidegate.ShardKey())
//	}
//
//	func main() {}
//
// An answer must depend on nothing but the declared inputs, the operation, the collection and the
// configuration: the gateway remembers it. So keep nothing between calls and do not let an answer
// depend on the order of a map. There is no clock (it stands still), no randomness (always the same
// bytes), no file and no network. A panic is a trap: the gateway throws the instance away.
package tidegate

import "github.com/tidegate/tidegate/sdk/go/internal/plugin"

// Policy is what a policy tells about itself.
type Policy struct {
	// Name is shown to operators, 1 to 64 bytes.
	Name string
	// Version is shown to operators, 1 to 64 bytes; best a semantic version.
	Version string
	// ConfigSchema is the JSON Schema of the configuration. Empty: none.
	ConfigSchema string
	// Configure takes the operator's configuration as JSON text, before any hook is called; see package config.
	// An error refuses the version, so say which key is wrong. Nil: only `{}` is taken.
	Configure func(config []byte) error
	// SelfTest checks the configured policy and says how many cases it tried. Nil: none.
	SelfTest func() (cases int, err error)
}

var policy Policy

// Export describes the policy. Called once, in an init function.
func Export(p Policy) { policy = p }

// Op is what a request does.
type Op uint8

const (
	// Read reads rows.
	Read Op = iota
	// Write changes rows.
	Write
)

// Value is the text of an input, if the request has it.
type Value struct {
	Text    string
	Present bool
}

// Request is one question to a hook.
type Request struct {
	// Tenant is whose request it is, by number; 0 while it is being classified.
	Tenant uint32
	// Class is its class, by number; 0 while it is being classified.
	Class uint32
	// Op is what it does.
	Op Op
	// Collection is the one it addresses, by number.
	Collection uint32
	// Inputs are the declared inputs, in the order of their declaration.
	Inputs []Value
}

// Input is the text of the input declared at this position, and whether the request has it.
func (r *Request) Input(position int) (string, bool) {
	value := r.Inputs[position]
	return value.Text, value.Present
}

// Input is a part of a request that a hook wants to see.
type Input = plugin.Input

// Method is `GET`, `PATCH`, ...
func Method() Input { return Input{Kind: 0} }

// Path is the path, still percent-encoded.
func Path() Input { return Input{Kind: 1} }

// Header is the value of a header field; several are joined by `, `.
func Header(name string) Input { return Input{Kind: 2, Name: name} }

// Query is the first value of a query parameter, percent-decoded.
func Query(name string) Input { return Input{Kind: 3, Name: name} }

// Claim is the text of a claim of the verified token.
func Claim(name string) Input { return Input{Kind: 4, Name: name} }

// Collection is the collection's name.
func Collection() Input { return Input{Kind: 5} }

// ShardKey is the canonical text of the shard key of the row addressed.
func ShardKey() Input { return Input{Kind: 6} }

// Column is the text of a column of a changed row; for invalidate only.
func Column(name string) Input { return Input{Kind: 7, Name: name} }

// Tenant is the tenant's name.
func Tenant() Input { return Input{Kind: 8} }

// Class is the class's name.
func Class() Input { return Input{Kind: 9} }

// Region is the tenant's home region.
func Region() Input { return Input{Kind: 10} }

// Other is a kind that a later gateway adds, as `kind:name`.
func Other(name string) Input { return Input{Kind: 11, Name: name} }

// Secret marks an input whose values must not appear in logs, recordings or samples.
func Secret(input Input) Input {
	input.Secret = true
	return input
}

// Code is why a policy says no; every code has the same effect.
type Code = plugin.Code

const (
	// CodeNoMatch : no rule fits the request.
	CodeNoMatch Code = iota
	// CodeBadInput : an input has a form the policy cannot use.
	CodeBadInput
	// CodeNotReady : the configuration does not allow an answer.
	CodeNotReady
	// CodeOther : anything else.
	CodeOther
)

// Error is a refusal with a code. Other errors are refusals too: of Configure and SelfTest with
// CodeNotReady, of hooks with CodeOther.
type Error = plugin.Error

// NoMatch refuses: no rule fits the request.
func NoMatch(detail string) error { return &Error{Code: CodeNoMatch, Detail: detail} }

// BadInput refuses: an input has a form the policy cannot use.
func BadInput(detail string) error { return &Error{Code: CodeBadInput, Detail: detail} }

// NotReady refuses: the configuration does not allow an answer.
func NotReady(detail string) error { return &Error{Code: CodeNotReady, Detail: detail} }
