// Package config reads a policy's configuration: one JSON object, whose keys are taken one by one. Done
// tells what was wrong first, be it a value that does not fit or a key that nothing took.
//
//	c := config.Read(json)
//	r.buckets, _ = c.Whole("buckets", 1, 65536)
//	return c.Done()
//
// encoding/json works too, and makes the policy more than a megabyte larger.
package config

import (
	"errors"
	"math"
	"slices"
	"strconv"
)

// Object is a configuration that is being read.
type Object struct {
	members map[string]any
	taken   map[string]bool
	err     error
}

// Read parses a configuration. Call Done at the end.
func Read(json []byte) *Object {
	object := &Object{taken: map[string]bool{}}
	value, err := parse(string(json))
	if err != nil {
		object.err = err
	} else if members, ok := value.(map[string]any); ok {
		object.members = members
	} else {
		object.err = errors.New("the configuration must be an object")
	}
	return object
}

// Fail makes this the error of Done, unless there was one before.
func (o *Object) Fail(key, detail string) {
	if o.err == nil {
		o.err = errors.New("configuration: " + key + " " + detail)
	}
}

// Done is the first error, if any.
func (o *Object) Done() error {
	var unknown []string
	for key := range o.members {
		if !o.taken[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		o.Fail(strconv.Quote(unknown[0]), "is unknown: remove it")
	}
	return o.err
}

// Value is any value, as nil, bool, Number, string, []any or map[string]any.
func (o *Object) Value(key string) (value any, present bool) {
	o.taken[key] = true
	value, present = o.members[key]
	return value, present
}

// The value of a key, which must be of a type.
func take[T any](o *Object, key, what string) (T, bool) {
	var none T
	value, present := o.Value(key)
	if !present {
		return none, false
	}
	typed, fits := value.(T)
	if !fits {
		o.Fail(key, "must be "+what)
	}
	return typed, fits
}

// Whole is a whole number within bounds.
func (o *Object) Whole(key string, from, to uint64) (number uint64, present bool) {
	what := "a whole number from " + strconv.FormatUint(from, 10)
	if to < math.MaxUint64 {
		what += " to " + strconv.FormatUint(to, 10)
	}
	text, present := take[Number](o, key, what)
	if !present {
		return 0, false
	}
	number, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || number < from || number > to {
		o.Fail(key, "must be "+what)
		return 0, false
	}
	return number, true
}

// Bool is true or false.
func (o *Object) Bool(key string) (value, present bool) {
	return take[bool](o, key, "true or false")
}

// Text is a string.
func (o *Object) Text(key string) (text string, present bool) {
	return take[string](o, key, "a string")
}

// Texts is a list of strings.
func (o *Object) Texts(key string) (texts []string, present bool) {
	const what = "a list of strings"
	list, present := take[[]any](o, key, what)
	for _, item := range list {
		text, fits := item.(string)
		if !fits {
			o.Fail(key, "must be "+what)
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, present
}

// TextMap is an object of strings.
func (o *Object) TextMap(key string) (texts map[string]string, present bool) {
	const what = "an object of strings"
	object, present := take[map[string]any](o, key, what)
	texts = make(map[string]string, len(object))
	for name, item := range object {
		text, fits := item.(string)
		if !fits {
			o.Fail(key, "must be "+what)
			return nil, false
		}
		texts[name] = text
	}
	return texts, present
}
