package ledger

import (
	"encoding/json"
	"fmt"
	"slices"

	"retort/exchange"
)

// The kinds of record that a gateway and its operator write about accounts.
const (
	KindAction Kind = "action" // what policy did about a request of an account
	KindAccess Kind = "access" // a request that is no exchange with a model, such as a list of models
	KindMark   Kind = "mark"   // what the operator holds of an account
	KindAudit  Kind = "audit"  // somebody looked at what is sealed

	KindAttestation Kind = "attestation" // what an account says that it uses answers for
)

// Action is the head of an action record.
type Action struct {
	Exchange exchange.ID `json:"-"` // zero where the request was not let through
	Time     int64       `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Account  string      `json:"account"`
	KeyID    string      `json:"key_id,omitempty"`
	Action   string      `json:"action"` // one of Actions
	Rule     string      `json:"rule"`   // what asked for it: a rule of the policy, by its name
	Detail   string      `json:"detail,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Actions are what policy can do about a request.
var Actions = []string{ActionAllow, ActionSlow, ActionCap, ActionAttest, ActionCoin, ActionBlock}

// The actions.
const (
	ActionAllow  = "allow"  // let through because a rule says so
	ActionSlow   = "slow"   // let through after a while
	ActionCap    = "cap"    // held to a rate below the key's own
	ActionAttest = "attest" // refused while the account has not attested its use; the detail says whether it has
	ActionCoin   = "coin"   // a coin of the exposure test chose the answer
	ActionBlock  = "block"  // refused
)

// Access is the head of an access record.
type Access struct {
	Time    int64  `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Account string `json:"account"`
	KeyID   string `json:"key_id,omitempty"`
	EndUser string `json:"end_user,omitempty"`
	Method  string `json:"method"`
	Path    string `json:"path"` // without its query
	Status  int    `json:"status"`
	Sent    int64  `json:"sent,omitempty"`     // bytes of the request's body
	Got     int64  `json:"received,omitempty"` // bytes of the response's body
	Took    int64  `json:"took,omitempty"`     // nanoseconds

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Mark is the head of a mark record. The last one about an account counts.
type Mark struct {
	Time    int64  `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Account string `json:"account"`
	Mark    string `json:"mark"` // one of Marks
	By      string `json:"by,omitempty"`
	Reason  string `json:"reason,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Marks are what an operator can say of an account.
var Marks = []string{MarkBenign, MarkSuppress, MarkHold}

// The marks.
const (
	MarkBenign   = "benign"   // known to be innocent: it may calibrate detection
	MarkSuppress = "suppress" // no verdict about it is to be shown
	MarkHold     = "hold"     // under investigation: rules for held accounts apply
)

// Audit is the head of an audit record.
type Audit struct {
	Time    int64  `json:"-"`       // UTC nanoseconds; 0 in a constructor: now
	What    string `json:"what"`    // such as "reveal"
	Subject string `json:"subject"` // such as the account
	By      string `json:"by,omitempty"`
	Reason  string `json:"reason"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Attestation is the head of an attestation record. The last one about an account
// counts.
type Attestation struct {
	Time    int64  `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Account string `json:"account"`
	Basis   string `json:"basis"` // where it is written
	Until   int64  `json:"until"` // UTC nanoseconds
	By      string `json:"by,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// NewAction makes the record of an action.
func NewAction(a Action) (Record, error) {
	if a.Account == "" || a.Rule == "" || !slices.Contains(Actions, a.Action) {
		return Record{}, fmt.Errorf("action record: it needs the account, the rule and one of the actions %v", Actions)
	}
	return newRemark(KindAction, a.Exchange, a.Time, a)
}

// NewAccess makes the record of a request that is no exchange with a model.
func NewAccess(a Access) (Record, error) {
	if a.Method == "" || a.Path == "" {
		return Record{}, fmt.Errorf("access record: it needs the method and the path")
	}
	return newRemark(KindAccess, exchange.ID{}, a.Time, a)
}

// NewMark makes the record of what the operator holds of an account.
func NewMark(m Mark) (Record, error) {
	if m.Account == "" || !slices.Contains(Marks, m.Mark) {
		return Record{}, fmt.Errorf("mark record: it needs the account and one of the marks %v", Marks)
	}
	return newRemark(KindMark, exchange.ID{}, m.Time, m)
}

// NewAudit makes the record of a look at what is sealed, which needs a reason.
func NewAudit(a Audit) (Record, error) {
	if a.What == "" || a.Subject == "" || a.Reason == "" {
		return Record{}, fmt.Errorf("audit record: it needs what was looked at, whose it is and the reason")
	}
	return newRemark(KindAudit, exchange.ID{}, a.Time, a)
}

// NewAttestation makes the record of what an account attests.
func NewAttestation(a Attestation) (Record, error) {
	if a.Account == "" || a.Basis == "" || a.Until <= 0 {
		return Record{}, fmt.Errorf("attestation record: it needs the account, where it is written and until when it holds")
	}
	return newRemark(KindAttestation, exchange.ID{}, a.Time, a)
}

// ParseAction reads an action record.
func ParseAction(rec Record) (Action, error) {
	var a Action
	err := parseHead(rec, KindAction, &a)
	a.Exchange, a.Time = rec.Exchange, rec.Time
	return a, err
}

// ParseAccess reads an access record.
func ParseAccess(rec Record) (Access, error) {
	var a Access
	err := parseHead(rec, KindAccess, &a)
	a.Time = rec.Time
	return a, err
}

// ParseMark reads a mark record.
func ParseMark(rec Record) (Mark, error) {
	var m Mark
	err := parseHead(rec, KindMark, &m)
	m.Time = rec.Time
	return m, err
}

// ParseAudit reads an audit record.
func ParseAudit(rec Record) (Audit, error) {
	var a Audit
	err := parseHead(rec, KindAudit, &a)
	a.Time = rec.Time
	return a, err
}

// ParseAttestation reads an attestation record.
func ParseAttestation(rec Record) (Attestation, error) {
	var a Attestation
	err := parseHead(rec, KindAttestation, &a)
	a.Time = rec.Time
	return a, err
}

type (
	plainAttestation Attestation

	plainAction Action
	plainAccess Access
	plainMark   Mark
	plainAudit  Audit
)

// UnmarshalJSON implements json.Unmarshaler.
func (a *Action) UnmarshalJSON(b []byte) error {
	*a = Action{}
	return decodeHead(b, (*plainAction)(a), &a.Extra, actionFields)
}

// MarshalJSON implements json.Marshaler.
func (a Action) MarshalJSON() ([]byte, error) {
	return withExtra(plainAction(a), a.Extra, actionFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Access) UnmarshalJSON(b []byte) error {
	*a = Access{}
	return decodeHead(b, (*plainAccess)(a), &a.Extra, accessFields)
}

// MarshalJSON implements json.Marshaler.
func (a Access) MarshalJSON() ([]byte, error) {
	return withExtra(plainAccess(a), a.Extra, accessFields)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Mark) UnmarshalJSON(b []byte) error {
	*m = Mark{}
	return decodeHead(b, (*plainMark)(m), &m.Extra, markFields)
}

// MarshalJSON implements json.Marshaler.
func (m Mark) MarshalJSON() ([]byte, error) { return withExtra(plainMark(m), m.Extra, markFields) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audit) UnmarshalJSON(b []byte) error {
	*a = Audit{}
	return decodeHead(b, (*plainAudit)(a), &a.Extra, auditFields)
}

// MarshalJSON implements json.Marshaler.
func (a Audit) MarshalJSON() ([]byte, error) { return withExtra(plainAudit(a), a.Extra, auditFields) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Attestation) UnmarshalJSON(b []byte) error {
	*a = Attestation{}
	return decodeHead(b, (*plainAttestation)(a), &a.Extra, attestationFields)
}

// MarshalJSON implements json.Marshaler.
func (a Attestation) MarshalJSON() ([]byte, error) {
	return withExtra(plainAttestation(a), a.Extra, attestationFields)
}
