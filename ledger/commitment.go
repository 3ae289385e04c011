package ledger

import (
	"encoding/json"
	"fmt"
	"reflect"

	"retort/exchange"
)

// KindCommitment is the kind of record that binds its writer: a leaf of an exposure
// log, or a statement about it.
const KindCommitment Kind = "commitment"

// Commitment is the head of a commitment record. prove/commit says what leaves and
// notes hold.
type Commitment struct {
	Exchange exchange.ID `json:"-"` // that carries the coin; zero where it is about none
	Time     int64       `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Log      string      `json:"log"`
	What     string      `json:"what"` // "leaf", "head" or what a statement is about

	// Of a leaf. What is beside the leaf is for its log's owner alone.
	Index uint64        `json:"index,omitempty"`
	Leaf  string        `json:"leaf,omitempty"`  // its bytes
	Tag   string        `json:"tag,omitempty"`   // keyed hash of account and prompt
	Arms  []exchange.ID `json:"arms,omitempty"`  // the exchanges that brought the two answers, in the order of the pair
	Marks string        `json:"marks,omitempty"` // by which the answers are known again inside of prompts

	// Of a signed head or statement.
	Note  string `json:"note,omitempty"`
	Stamp []byte `json:"stamp,omitempty"` // RFC 3161 response about the note
	Body  []byte `json:"body,omitempty"`  // what the note names by its hash

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// NewCommitment makes a commitment record.
func NewCommitment(c Commitment) (Record, error) {
	if c.Log == "" || c.What == "" || (c.Leaf == "") == (c.Note == "") {
		return Record{}, fmt.Errorf("commitment record: it needs the log, what it is, and a leaf or a note")
	}
	return newRemark(KindCommitment, c.Exchange, c.Time, c)
}

// ParseCommitment reads a commitment record.
func ParseCommitment(rec Record) (Commitment, error) {
	var c Commitment
	err := parseHead(rec, KindCommitment, &c)
	c.Exchange, c.Time = rec.Exchange, rec.Time
	return c, err
}

type plainCommitment Commitment

var commitmentFields = fieldNames(reflect.TypeFor[Commitment]())

// UnmarshalJSON implements json.Unmarshaler.
func (c *Commitment) UnmarshalJSON(b []byte) error {
	*c = Commitment{}
	return decodeHead(b, (*plainCommitment)(c), &c.Extra, commitmentFields)
}

// MarshalJSON implements json.Marshaler.
func (c Commitment) MarshalJSON() ([]byte, error) {
	return withExtra(plainCommitment(c), c.Extra, commitmentFields)
}
