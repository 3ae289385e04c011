package commit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"retort/exchange"
	"retort/internal/wire"
)

// The kinds of leaf.
const (
	LeafLog  = "log"  // the first: commits to the key under which coins are derived
	LeafCoin = "coin" // before the first byte is served
	LeafArms = "arms" // when both answers are complete
)

// Leaf is one leaf of the log. Its bytes are its JSON object, with the fields in
// this order, absent ones left out, no white space and no HTML escapes.
type Leaf struct {
	Kind    string `json:"kind"`
	Time    int64  `json:"time"`              // UTC nanoseconds
	Key     string `json:"key,omitempty"`     // log: KeyCommitment
	Counter uint64 `json:"counter,omitempty"` // coin, arms: of the coin in the log, from 1

	Account string `json:"account,omitempty"` // coin: keyed hash
	Of      uint64 `json:"of,omitempty"`      // coin: its counter among those of the account, from 1
	Prompt  string `json:"prompt,omitempty"`  // coin: PromptHash
	Coin    string `json:"coin,omitempty"`    // coin: Commitment

	Arms []string `json:"arms,omitempty"` // arms: ArmHash of both, or none if it is void
	Void string   `json:"void,omitempty"` // arms: why the coin does not count
}

// The reasons for which a coin is void. None depends on the coin.
const (
	VoidFailed     = "failed"     // an arm did not come to its regular end
	VoidEqual      = "equal"      // both arms say the same
	VoidUnfinished = "unfinished" // the gateway ended before both arms had
)

// Encode returns a leaf's bytes.
func (l *Leaf) Encode() []byte { return JSON(l) }

// JSON is the one encoding of what is hashed, signed or compared in this wing: compact,
// fields in their order, no character escaped for HTML. v is a plain value of strings and
// numbers.
func JSON(v any) []byte {
	b, err := wire.Encode(v)
	if err != nil {
		panic(err)
	}
	return b
}

// ParseLeaf reads a leaf and refuses bytes that are not a leaf's only encoding.
func ParseLeaf(b []byte) (Leaf, error) {
	var l Leaf
	if err := json.Unmarshal(b, &l); err != nil {
		return Leaf{}, fmt.Errorf("leaf: %w", err)
	}
	if !bytes.Equal(l.Encode(), b) {
		return Leaf{}, errors.New("leaf: it is not in canonical form")
	}
	return l, nil
}

// Seed is the secret of one coin. Giving it away opens the coin.
type Seed [32]byte

// MarshalText implements encoding.TextMarshaler.
func (s Seed) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Seed) UnmarshalText(b []byte) error {
	if len(b) != 64 || !bytes.Equal(bytes.ToLower(b), b) {
		return errors.New("a seed is 64 digits of lower-case hexadecimal")
	}
	_, err := hex.Decode(s[:], b)
	return err
}

// Live says which of the pair is served, 0 or 1.
func (s Seed) Live() int { return int(digest("retort coin v1", s[:])[0] & 1) }

// Commitment binds the seed to what its coin is about.
func (s Seed) Commitment(log string, l *Leaf) string {
	var counters [16]byte
	binary.BigEndian.PutUint64(counters[:], l.Counter)
	binary.BigEndian.PutUint64(counters[8:], l.Of)
	return sum("retort commitment v1", s[:], []byte(log), counters[:], []byte(l.Account), []byte(l.Prompt))
}

// PromptHash is a hash of a prompt that nobody without the seed can guess at.
func (s Seed) PromptHash(messages []exchange.Message) string {
	return sum("retort prompt v1", s[:], JSON(messages))
}

// ArmHash is a hash of one of the pair's answers that nobody without the seed can
// guess at. arm is 0 or 1.
func (s Seed) ArmHash(arm int, a Answer) string {
	return sum("retort arm v1", s[:], []byte{byte(arm)}, JSON(a))
}

// Answer is what is compared of an answer, and what a model can be taught.
type Answer struct {
	Reasoning string `json:"reasoning,omitempty"`
	Content   string `json:"content"`
}

// AnswerOf is the part of an exchange's answer that counts.
func AnswerOf(a exchange.Answer) Answer { return Answer{a.Reasoning, a.Content} }

// KeyCommitment binds a log to the key under which all its coins are derived.
func KeyCommitment(key []byte) string { return sum("retort exposure key v1", key) }

// digest hashes a name and parts, each with its length before it.
func digest(name string, parts ...[]byte) [32]byte {
	h := sha256.New()
	var n [8]byte
	for _, p := range append([][]byte{[]byte(name)}, parts...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

func sum(name string, parts ...[]byte) string {
	d := digest(name, parts...)
	return hex.EncodeToString(d[:])
}

// derive is an HMAC-SHA256 of a name and parts under the exposure key.
func derive(key []byte, name string, parts ...[]byte) [32]byte {
	d := digest(name, parts...)
	m := hmac.New(sha256.New, key)
	m.Write(d[:])
	return [32]byte(m.Sum(nil))
}
