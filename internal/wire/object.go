package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxDepth is how deep JSON may be nested. Requests with schemas reach about
// 30; a hostile body could otherwise make every later reader recurse.
const MaxDepth = 128

// Check reports why raw is not one JSON value that this package will read:
// bad syntax, not UTF-8, too deep, or an object that repeats a name (readers
// disagree about which of the two counts).
func Check(raw []byte) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	if !json.Valid(raw) {
		var v json.RawMessage
		return fmt.Errorf("%w: %w", ErrMalformed, json.Unmarshal(raw, &v))
	}
	return checkShape(raw)
}

// frame is one open array or object of checkShape.
type frame struct {
	object bool
	names  [][]byte            // linear while few
	many   map[string]struct{} // then by hash
}

// add notes a name and reports whether it is new.
func (f *frame) add(name []byte) bool {
	if f.many != nil {
		_, seen := f.many[string(name)]
		f.many[string(name)] = struct{}{}
		return !seen
	}
	for _, n := range f.names {
		if bytes.Equal(n, name) {
			return false
		}
	}
	f.names = append(f.names, name)
	if len(f.names) > 24 {
		f.many = make(map[string]struct{}, 64)
		for _, n := range f.names {
			f.many[string(n)] = struct{}{}
		}
	}
	return true
}

// checkShape walks JSON that json.Valid has accepted and finds what it allows
// and we do not: depth and repeated names.
func checkShape(raw []byte) error {
	var stack []frame
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			if len(stack) == MaxDepth {
				return fmt.Errorf("%w: nested deeper than %d", ErrMalformed, MaxDepth)
			}
			if cap(stack) > len(stack) { // reuse the popped frame's memory
				stack = stack[:len(stack)+1]
				top := &stack[len(stack)-1]
				top.object, top.names, top.many = raw[i] == '{', top.names[:0], nil
			} else {
				stack = append(stack, frame{object: raw[i] == '{'})
			}
		case '}', ']':
			stack = stack[:len(stack)-1]
		case '"':
			end := stringEnd(raw, i)
			if len(stack) > 0 && stack[len(stack)-1].object && followedByColon(raw, end) {
				name := raw[i+1 : end-1]
				if bytes.IndexByte(name, '\\') >= 0 {
					var s string
					if err := json.Unmarshal(raw[i:end], &s); err != nil {
						return fmt.Errorf("%w: %w", ErrMalformed, err)
					}
					name = []byte(s)
				}
				if !stack[len(stack)-1].add(name) {
					return fmt.Errorf("%w: name %.60q appears twice in one object", ErrMalformed, name)
				}
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index after the string that starts at i.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

func followedByColon(raw []byte, i int) bool {
	for ; i < len(raw); i++ {
		switch raw[i] {
		case ' ', '\t', '\r', '\n':
		default:
			return raw[i] == ':'
		}
	}
	return false
}

// fieldsOf maps the JSON names of a struct's fields to their indices.
var fieldCache sync.Map // reflect.Type → map[string]int

func fieldsOf(t reflect.Type) map[string]int {
	if m, ok := fieldCache.Load(t); ok {
		return m.(map[string]int)
	}
	m := make(map[string]int)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if t.Field(i).IsExported() && name != "-" {
			m[name] = i
		}
	}
	fieldCache.Store(t, m)
	return m
}

// DecodeObject fills the struct that dst points to: known fields by their
// exact names (encoding/json alone would ignore case), others into Extra.
func DecodeObject(b []byte, dst any) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	v := reflect.ValueOf(dst).Elem()
	known := fieldsOf(v.Type())
	var extra Extra
	for name, value := range raw {
		i, ok := known[name]
		if !ok {
			if extra == nil {
				extra = make(Extra)
			}
			extra[name] = value
			continue
		}
		if err := json.Unmarshal(value, v.Field(i).Addr().Interface()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	v.FieldByName("Extra").Set(reflect.ValueOf(extra))
	return nil
}

// EncodeObject writes a struct without methods of its own, followed by the
// extra fields in order of their names.
func EncodeObject(plain any, extra Extra) ([]byte, error) {
	out, err := Encode(plain)
	if err != nil || len(extra) == 0 {
		return out, err
	}
	known := fieldsOf(reflect.TypeOf(plain))
	names := make([]string, 0, len(extra))
	for name := range extra {
		if _, ok := known[name]; ok {
			return nil, fmt.Errorf("extra field %q is a field of the object", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	out = out[:len(out)-1]
	for _, name := range names {
		if len(out) > 1 {
			out = append(out, ',')
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, quoted...), ':'), extra[name]...)
	}
	return append(out, '}'), nil
}

// Encode writes v as JSON on one line without escaping <, > and &, which are
// common in what models say.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
