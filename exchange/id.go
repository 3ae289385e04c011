package exchange

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
)

// ID names one attempt: a ULID, so that ids sort by time.
type ID [16]byte

// NewID makes an id for the given time. Its random half comes from the
// system's secure source.
func NewID(t time.Time) ID {
	return ID(ulid.MustNew(ulid.Timestamp(t), rand.Reader))
}

// ParseID reads the text form of an id.
func ParseID(s string) (ID, error) {
	u, err := ulid.ParseStrict(s)
	if err != nil {
		return ID{}, fmt.Errorf("exchange id %q: %w", s, err)
	}
	return ID(u), nil
}

// IsZero reports whether the id is unset.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 26 characters of the ULID, or "" for the zero id.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return ulid.ULID(id).String()
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// Key names what is asked: SHA-256 over the endpoint, the model, the full
// request and the sample index. Two requests with one key are the same
// question, and the ledger's answer to it need not be paid for again.
type Key [32]byte

// keyVersion is hashed first. Changing what a key covers means a new version,
// since keys that are in ledgers stay as they are.
const keyVersion = "retort prompt key 1"

// keyVersionTools opens the key of a request some of whose messages are not
// plain: there the further fields of every message are hashed as well.
const keyVersionTools = "retort prompt key 1 tools"

// Key computes the prompt key. Every part is length-prefixed, so that no two
// different requests hash the same bytes. Params must be a JSON object.
func (r *Request) Key() (Key, error) {
	params := []byte("{}")
	if len(r.Params) > 0 {
		var err error
		if params, err = CanonicalJSON(r.Params); err != nil {
			return Key{}, fmt.Errorf("request parameters: %w", err)
		}
	}
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	plain := !slices.ContainsFunc(r.Messages, func(m Message) bool { return !m.Plain() })
	if plain {
		part(keyVersion)
	} else {
		part(keyVersionTools)
	}
	part(r.Endpoint)
	part(r.Model)
	part(strconv.Itoa(len(r.Messages)))
	for _, m := range r.Messages {
		part(m.Role)
		part(m.Content)
		part(m.Reasoning)
		if plain {
			continue
		}
		part(m.Name)
		part(m.ToolCallID)
		part(strconv.Itoa(len(m.ToolCalls)))
		for _, c := range m.ToolCalls {
			part(c.ID)
			part(c.Name)
			part(c.Arguments)
		}
	}
	part(string(params))
	part(strconv.Itoa(r.MaxTokens))
	part(string(r.Seed))
	part(strconv.Itoa(r.Sample))
	return Key(h.Sum(nil)), nil
}

// Seed returns the seed that a request with this key carries: 53 bits, so
// that every JSON reader keeps it exact.
func (k Key) Seed() int64 {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("seed"))
	return int64(binary.LittleEndian.Uint64(mac.Sum(nil)) >> 11)
}

// IsZero reports whether the key is unset.
func (k Key) IsZero() bool { return k == Key{} }

// String returns the key in hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(b []byte) error {
	if len(b) != 2*len(k) {
		return fmt.Errorf("prompt key %q: want %d hexadecimal digits", b, 2*len(k))
	}
	_, err := hex.Decode(k[:], b)
	return err
}

// HashAccount returns the keyed hash by which an account is known: HMAC-SHA-256
// under the workspace's account key, in hexadecimal. Without the key it cannot
// be tested against a list of names.
func HashAccount(key []byte, account string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(account))
	return hex.EncodeToString(mac.Sum(nil))
}

// CanonicalJSON returns one JSON value with object keys sorted, no white space
// and numbers in their shortest form, so that equal values have equal bytes.
// Integers keep all their digits; other numbers are read as float64.
func CanonicalJSON(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	v, err := canonicalNumbers(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out) // sorts the keys of a map
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

func canonicalNumbers(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			c, err := canonicalNumbers(e)
			if err != nil {
				return nil, err
			}
			v[k] = c
		}
	case []any:
		for i, e := range v {
			c, err := canonicalNumbers(e)
			if err != nil {
				return nil, err
			}
			v[i] = c
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return json.Number(strconv.FormatInt(n, 10)), nil // "-0" is 0
		}
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("number %s: %w", v, err)
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return json.Number(strconv.FormatInt(int64(f), 10)), nil
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return v, nil
}
