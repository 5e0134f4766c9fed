package tidegate

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

func TestErrorsAreRefusalsWithTheirCode(t *testing.T) {
	cases := []struct {
		err  error
		want Error
	}{
		{NoMatch("nobody"), Error{Code: CodeNoMatch, Detail: "nobody"}},
		{BadInput("odd"), Error{Code: CodeBadInput, Detail: "odd"}},
		{fmt.Errorf("the key: %w", NotReady("early")), Error{Code: CodeNotReady, Detail: "the key: early"}},
		{errors.New("plain"), Error{Code: CodeOther, Detail: "plain"}},
	}
	for _, test := range cases {
		if got := plugin.Refusal(test.err, plugin.OfHook); *got != test.want {
			t.Errorf("%v: %+v", test.err, *got)
		}
	}
}

func TestWithoutConfigureOnlyAnEmptyConfigurationIsTaken(t *testing.T) {
	Export(Policy{Name: "plain", Version: "1.0.0"})
	for config, fits := range map[string]bool{"{}": true, " { }\n": true, `{"a":1}`: false, "[]": false} {
		if err := configure(config); (err == nil) != fits {
			t.Errorf("%q: %v", config, err)
		}
	}
}

func TestConfigureSeesTheConfiguration(t *testing.T) {
	var seen string
	Export(Policy{Configure: func(config []byte) error { seen = string(config); return nil }})
	if err := configure(`{"a":1}`); err != nil || seen != `{"a":1}` {
		t.Error(err, seen)
	}
}

func TestSecretMarksACopy(t *testing.T) {
	plain := Header("x-api-key")
	if secret := Secret(plain); !secret.Secret || plain.Secret || secret.Name != "x-api-key" {
		t.Error(secret, plain)
	}
}
