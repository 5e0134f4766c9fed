// Package plugin holds what the policy has told about itself: package tidegate and the packages of the
// hooks write it, the exported functions read it.
package plugin

import "errors"

// Input is one declared input of a hook. Authors make them with the functions of package tidegate.
type Input struct {
	// Kind is the case of the WIT variant `input`.
	Kind uint32
	// Name is the name of a header field, query parameter, claim, column or other kind.
	Name string
	// Secret inputs never appear in logs, recordings or samples.
	Secret bool
}

// Hook is a hook that the policy implements.
type Hook struct {
	Name   string
	Inputs []Input
}

// Hooks are those implemented, in the order of their registration.
var Hooks []Hook

// Register adds a hook. Once for each.
func Register(name string, inputs []Input) {
	for _, hook := range Hooks {
		if hook.Name == name {
			panic("tidegate: the hook " + name + " is exported twice")
		}
	}
	Hooks = append(Hooks, Hook{Name: name, Inputs: inputs})
}

// Code is the WIT enum `error-code`.
type Code uint8

// Error is a refusal with a code.
type Error struct {
	Code Code
	// Detail is for the operator's log, never for clients.
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// The code of errors that have none, by where they come from.
const (
	OfLifecycle Code = 2
	OfHook      Code = 3
)

// Refusal is any error as a refusal, with this code where it has none.
func Refusal(err error, otherwise Code) *Error {
	var refusal *Error
	if errors.As(err, &refusal) {
		otherwise = refusal.Code
	}
	return &Error{otherwise, err.Error()}
}

// LogError writes into the gateway's log. Package log sets it: a policy that does not import that package
// needs no grant for it.
var LogError func(message string)

// Report logs a panic, and lets it go on: the gateway sees a trap. Deferred by the exported functions.
func Report() {
	cause := recover()
	if cause == nil {
		return
	}
	if LogError != nil {
		LogError("panic: " + text(cause))
	}
	panic(cause)
}

func text(cause any) string {
	switch cause := cause.(type) {
	case error:
		return cause.Error()
	case string:
		return cause
	}
	return "a value that is neither text nor an error"
}
