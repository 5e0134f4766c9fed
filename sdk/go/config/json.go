package config

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Number is a JSON number as it was written.
type Number string

const deepest = 32

var errJSON = errors.New("the configuration is no JSON, repeats a key, or nests deeper than 32")

// parse reads one JSON value and nothing after it.
func parse(text string) (any, error) {
	r := reader{rest: text}
	value, ok := r.value(1)
	r.space()
	if !ok || r.rest != "" {
		return nil, errJSON
	}
	return value, nil
}

type reader struct{ rest string }

func (r *reader) space() { r.rest = strings.TrimLeft(r.rest, " \t\r\n") }

func (r *reader) take(text string) bool {
	rest, found := strings.CutPrefix(r.rest, text)
	r.rest = rest
	return found
}

func (r *reader) value(depth int) (any, bool) {
	r.space()
	if r.rest == "" || depth > deepest {
		return nil, false
	}
	switch r.rest[0] {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case '"':
		return r.text()
	case 't':
		return true, r.take("true")
	case 'f':
		return false, r.take("false")
	case 'n':
		return nil, r.take("null")
	}
	return r.number()
}

func (r *reader) object(depth int) (any, bool) {
	members := map[string]any{}
	more := r.begin("{", "}")
	for more {
		r.space()
		key, ok := r.text()
		if _, repeated := members[key]; !ok || repeated {
			return nil, false
		}
		if r.space(); !r.take(":") {
			return nil, false
		}
		if members[key], ok = r.value(depth + 1); !ok {
			return nil, false
		}
		if more, ok = r.next("}"); !ok {
			return nil, false
		}
	}
	return members, true
}

func (r *reader) array(depth int) (any, bool) {
	items := []any{}
	more := r.begin("[", "]")
	for more {
		item, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		items = append(items, item)
		if more, ok = r.next("]"); !ok {
			return nil, false
		}
	}
	return items, true
}

// begin passes the opening bracket; is there anything before the closing one?
func (r *reader) begin(open, close string) bool {
	r.take(open)
	r.space()
	return !r.take(close)
}

// next passes a comma or the closing bracket.
func (r *reader) next(close string) (more, ok bool) {
	r.space()
	if r.take(",") {
		return true, true
	}
	return false, r.take(close)
}

func (r *reader) number() (any, bool) {
	start := r.rest
	r.take("-")
	if !r.take("0") && r.digits() == 0 {
		return nil, false
	}
	if r.take(".") && r.digits() == 0 {
		return nil, false
	}
	if r.take("e") || r.take("E") {
		if !r.take("+") {
			r.take("-")
		}
		if r.digits() == 0 {
			return nil, false
		}
	}
	return Number(start[:len(start)-len(r.rest)]), true
}

func (r *reader) digits() int {
	before := len(r.rest)
	r.rest = strings.TrimLeft(r.rest, "0123456789")
	return before - len(r.rest)
}

func (r *reader) text() (string, bool) {
	if !r.take(`"`) {
		return "", false
	}
	var text strings.Builder
	for {
		stop := strings.IndexFunc(r.rest, func(c rune) bool { return c == '"' || c == '\\' || c < ' ' })
		if stop < 0 {
			return "", false
		}
		text.WriteString(r.rest[:stop])
		r.rest = r.rest[stop:]
		if r.take(`"`) {
			return text.String(), true
		}
		c, ok := r.escape()
		if !ok {
			return "", false
		}
		text.WriteRune(c)
	}
}

func (r *reader) escape() (rune, bool) {
	if !r.take(`\`) || r.rest == "" {
		return 0, false
	}
	kind := r.rest[0]
	r.rest = r.rest[1:]
	if kind == 'u' {
		return r.unicode()
	}
	at := strings.IndexByte(`"\/bfnrt`, kind)
	if at < 0 {
		return 0, false
	}
	return rune("\"\\/\b\f\n\r\t"[at]), true
}

// unicode reads what follows \u; two of them make one character above U+FFFF.
func (r *reader) unicode() (rune, bool) {
	first, ok := r.hex()
	if !ok || !utf16.IsSurrogate(first) {
		return first, ok
	}
	if !r.take(`\u`) {
		return 0, false
	}
	second, ok := r.hex()
	both := utf16.DecodeRune(first, second)
	return both, ok && both != utf8.RuneError
}

func (r *reader) hex() (rune, bool) {
	if len(r.rest) < 4 {
		return 0, false
	}
	var value rune
	for _, c := range r.rest[:4] {
		digit := strings.IndexRune("0123456789abcdef", c|0x20)
		if c >= '0' && c <= '9' {
			digit = int(c - '0')
		}
		if digit < 0 {
			return 0, false
		}
		value = value<<4 | rune(digit)
	}
	r.rest = r.rest[4:]
	return value, true
}
