package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The heads keep what they do not know: each decodes into itself and a map of
// the other fields, and encodes both.

type (
	plainIntent     Intent
	plainEnd        End
	plainVerdict    Verdict
	plainOverride   Override
	plainCorrection Correction
	plainConsent    Consent
)

var (
	intentFields     = fieldNames(reflect.TypeFor[Intent]())
	endFields        = fieldNames(reflect.TypeFor[End]())
	verdictFields    = fieldNames(reflect.TypeFor[Verdict]())
	overrideFields   = fieldNames(reflect.TypeFor[Override]())
	correctionFields = fieldNames(reflect.TypeFor[Correction]())
	consentFields    = fieldNames(reflect.TypeFor[Consent]())
	actionFields     = fieldNames(reflect.TypeFor[Action]())
	accessFields     = fieldNames(reflect.TypeFor[Access]())
	markFields       = fieldNames(reflect.TypeFor[Mark]())
	auditFields      = fieldNames(reflect.TypeFor[Audit]())

	attestationFields = fieldNames(reflect.TypeFor[Attestation]())
)

// UnmarshalJSON implements json.Unmarshaler.
func (i *Intent) UnmarshalJSON(b []byte) error {
	*i = Intent{}
	return decodeHead(b, (*plainIntent)(i), &i.Extra, intentFields)
}

// MarshalJSON implements json.Marshaler.
func (i Intent) MarshalJSON() ([]byte, error) {
	return withExtra(plainIntent(i), i.Extra, intentFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *End) UnmarshalJSON(b []byte) error {
	*e = End{}
	return decodeHead(b, (*plainEnd)(e), &e.Extra, endFields)
}

// MarshalJSON implements json.Marshaler.
func (e End) MarshalJSON() ([]byte, error) { return withExtra(plainEnd(e), e.Extra, endFields) }

// UnmarshalJSON implements json.Unmarshaler.
func (v *Verdict) UnmarshalJSON(b []byte) error {
	*v = Verdict{}
	return decodeHead(b, (*plainVerdict)(v), &v.Extra, verdictFields)
}

// MarshalJSON implements json.Marshaler.
func (v Verdict) MarshalJSON() ([]byte, error) {
	return withExtra(plainVerdict(v), v.Extra, verdictFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Override) UnmarshalJSON(b []byte) error {
	*o = Override{}
	return decodeHead(b, (*plainOverride)(o), &o.Extra, overrideFields)
}

// MarshalJSON implements json.Marshaler.
func (o Override) MarshalJSON() ([]byte, error) {
	return withExtra(plainOverride(o), o.Extra, overrideFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Correction) UnmarshalJSON(b []byte) error {
	*c = Correction{}
	return decodeHead(b, (*plainCorrection)(c), &c.Extra, correctionFields)
}

// MarshalJSON implements json.Marshaler.
func (c Correction) MarshalJSON() ([]byte, error) {
	return withExtra(plainCorrection(c), c.Extra, correctionFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Consent) UnmarshalJSON(b []byte) error {
	*c = Consent{}
	return decodeHead(b, (*plainConsent)(c), &c.Extra, consentFields)
}

// MarshalJSON implements json.Marshaler.
func (c Consent) MarshalJSON() ([]byte, error) {
	return withExtra(plainConsent(c), c.Extra, consentFields)
}

// headOptions read heads as leniently as they were written: what the ledger has
// is kept, also where JSON's fine print was not.
var headOptions = jsonv2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// decodeHead decodes a head into its plain type and what that does not know into
// extra. Most heads know all their fields and are read in one go: a ledger is
// read whole before a run asks anything.
func decodeHead(b []byte, plain any, extra *map[string]json.RawMessage, known map[string]bool) error {
	err := jsonv2.Unmarshal(b, plain, headOptions, jsonv2.RejectUnknownMembers(true))
	if !errors.Is(err, jsonv2.ErrUnknownName) {
		return err
	}
	reflect.ValueOf(plain).Elem().SetZero()
	if err := jsonv2.Unmarshal(b, plain, headOptions); err != nil {
		return err
	}
	unknown, err := unknownFields(b, known)
	*extra = unknown
	return err
}

func fieldNames(t reflect.Type) map[string]bool {
	names := make(map[string]bool)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			names[name] = true
		}
	}
	return names
}

func unknownFields(b []byte, known map[string]bool) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return known[name] })
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// withExtra encodes v, whose encoding is an object, and appends the unknown
// fields in the order of their names.
func withExtra(v any, extra map[string]json.RawMessage, known map[string]bool) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil || len(extra) == 0 {
		return b, err
	}
	b = bytes.TrimSuffix(b, []byte("}"))
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if known[name] {
			continue
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, key...), ':'), extra[name]...)
	}
	return append(b, '}'), nil
}
