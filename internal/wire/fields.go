package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Fields are the fields of a request body by name. Encoding them sorts the
// names, so that equal requests are equal bytes.
type Fields map[string]json.RawMessage

// ParseFields reads the parameters of a request, a JSON object or nothing. They
// may hold none of the fields that the caller sets itself, and none that its
// wire does not have.
func ParseFields(raw json.RawMessage, wireName string, owned, absent []string) (Fields, error) {
	f := make(Fields)
	if len(raw) > 0 {
		if err := Check(raw); err != nil {
			return nil, fmt.Errorf("request parameters: %w", err)
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("request parameters are not an object: %w", err)
		}
	}
	for _, name := range owned {
		if _, ok := f[name]; ok {
			return nil, fmt.Errorf("request parameters hold %q, which is set elsewhere", name)
		}
	}
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if slices.Contains(absent, name) {
			return nil, fmt.Errorf("request parameters hold %q, which the %s wire does not have", name, wireName)
		}
	}
	return f, nil
}

// Set encodes v as a field.
func (f Fields) Set(name string, v any) error {
	raw, err := Encode(v)
	if err != nil {
		return fmt.Errorf("request field %s: %w", name, err)
	}
	f[name] = raw
	return nil
}

// Take removes a field and decodes it, and reports whether it was there and not
// null.
func (f Fields) Take(name string, into any) (bool, error) {
	raw, ok := f[name]
	if !ok {
		return false, nil
	}
	delete(f, name)
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

// SetIn sets a field of an object that is itself a field, and refuses one that
// is there.
func (f Fields) SetIn(object, name string, v any) error {
	inner := make(Fields)
	if _, err := f.Take(object, &inner); err != nil {
		return err
	}
	if _, ok := inner[name]; ok {
		return fmt.Errorf("%s.%s is given a second time under the chat wire's name", object, name)
	}
	if err := inner.Set(name, v); err != nil {
		return err
	}
	return f.Set(object, inner)
}
