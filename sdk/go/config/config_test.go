package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// What encoding/json makes of a text, in this package's types.
func reference(text string) (any, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil || decoder.More() {
		return nil, false
	}
	return numbered(value), true
}

func numbered(value any) any {
	switch value := value.(type) {
	case json.Number:
		return Number(value)
	case []any:
		for i := range value {
			value[i] = numbered(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = numbered(value[key])
		}
	}
	return value
}

func TestJSONIsReadAsTheStandardLibraryReadsIt(t *testing.T) {
	texts := []string{
		`{}`, ` [ ] `, `{"a":1,"b":[true,false,null],"c":{"d":"e"}}`, "\t\r\n 7 ", `-0`, `01`, `1.5e+3`, `1.`, `.5`, `-`,
		`1e`, `"\u00e9\ud83d\ude80\"\\\/\b\f\n\r\t"`, `"\ud83d"x`, `"\u12"`, `"\u00zz"`, `"\x"`, `"open`, "\"\n\"", `"Grüße"`,
		`{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{1:2}`, `tru`, `nul`, ``, ` `, `{} {}`, `"\u000g"`, `"\u00AB"`,
	}
	for _, text := range texts {
		got, err := parse(text)
		want, valid := reference(text)
		if (err == nil) != valid || (valid && !reflect.DeepEqual(got, want)) {
			t.Errorf("%q: %#v (%v), the standard library says %#v (valid: %v)", text, got, err, want, valid)
		}
	}
}

func TestRepeatedKeysAndDeepNestingAreRefused(t *testing.T) {
	for _, text := range []string{`{"a":1,"a":2}`, strings.Repeat("[", 33) + strings.Repeat("]", 33)} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := parse(strings.Repeat("[", 32) + strings.Repeat("]", 32)); err != nil {
		t.Error(err)
	}
}

func TestValuesThatFitAreTaken(t *testing.T) {
	c := Read([]byte(`{"n":7,"b":true,"t":"x","l":["a","b"],"m":{"k":"v"}}`))
	n, _ := c.Whole("n", 1, 7)
	b, _ := c.Bool("b")
	text, _ := c.Text("t")
	list, _ := c.Texts("l")
	texts, _ := c.TextMap("m")
	if _, present := c.Text("absent"); present {
		t.Error("an absent key was present")
	}
	if err := c.Done(); err != nil {
		t.Fatal(err)
	}
	if n != 7 || !b || text != "x" || !reflect.DeepEqual(list, []string{"a", "b"}) || texts["k"] != "v" {
		t.Error(n, b, text, list, texts)
	}
}

func TestWhatDoesNotFitIsToldByItsKey(t *testing.T) {
	cases := []struct {
		config string
		read   func(*Object)
		says   string
	}{
		{`{"n":8}`, func(c *Object) { c.Whole("n", 1, 7) }, "n must be a whole number from 1 to 7"},
		{`{"n":1.5}`, func(c *Object) { c.Whole("n", 1, 7) }, "n must be a whole number from 1 to 7"},
		{`{"n":"1"}`, func(c *Object) { c.Whole("n", 1, 7) }, "n must be a whole number from 1 to 7"},
		{`{"t":1}`, func(c *Object) { c.Text("t") }, "t must be a string"},
		{`{"l":[1]}`, func(c *Object) { c.Texts("l") }, "l must be a list of strings"},
		{`{"m":{"k":1}}`, func(c *Object) { c.TextMap("m") }, "m must be an object of strings"},
		{`{"x":1}`, func(c *Object) {}, `"x" is unknown`},
		{`[]`, func(c *Object) {}, "must be an object"},
		{`{`, func(c *Object) {}, "no JSON"},
	}
	for _, test := range cases {
		c := Read([]byte(test.config))
		test.read(c)
		if err := c.Done(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v does not say %q", test.config, err, test.says)
		}
	}
}
