package plugin

import (
	"errors"
	"testing"
)

// What is logged of a panic with this cause, and whether it went on.
func panicking(cause any) (logged string, wentOn bool) {
	LogError = func(message string) { logged = message }
	defer func() {
		LogError = nil
		wentOn = recover() != nil
	}()
	defer Report()
	if cause != nil {
		panic(cause)
	}
	return
}

func TestAPanicIsLoggedAndGoesOn(t *testing.T) {
	for want, cause := range map[string]any{
		"panic: text":     "text",
		"panic: an error": errors.New("an error"),
		"panic: a value that is neither text nor an error": 7,
	} {
		if logged, wentOn := panicking(cause); logged != want || !wentOn {
			t.Errorf("%v: %q, went on: %v", cause, logged, wentOn)
		}
	}
	if logged, wentOn := panicking(nil); logged != "" || wentOn {
		t.Error("something was made of no panic")
	}
}

func TestAHookIsExportedOnce(t *testing.T) {
	Hooks = nil
	Register("route", nil)
	Register("classify", []Input{{Kind: 4, Name: "tenant"}})
	defer func() {
		if recover() == nil || len(Hooks) != 2 || Hooks[1].Inputs[0].Name != "tenant" {
			t.Error(Hooks)
		}
	}()
	Register("route", nil)
}
