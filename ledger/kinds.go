package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"retort/exchange"
)

// The kinds of record that say something about exchanges after they were over,
// or about a source of them.
const (
	KindVerdict    Kind = "verdict"    // what a recipe's verifiers found about one exchange's answer
	KindCorrection Kind = "correction" // a person's answer stands in place of one exchange's
	KindOverride   Kind = "override"   // what the terms gate held back was let pass on a named basis
	KindConsent    Kind = "consent"    // whose conversations a source holds, and whether they agreed
)

// Verdict is the head of a verdict record. One is written for each exchange and
// set of rules.
type Verdict struct {
	Exchange exchange.ID `json:"-"` // the exchange that was judged
	Time     int64       `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Run      string      `json:"run,omitempty"`
	Rules    string      `json:"rules"` // hash of the rules, as verify.Set.Hash gives it
	Correct  bool        `json:"correct"`
	Reason   string      `json:"reason,omitempty"` // why not, or that nobody could judge
	Checks   []Check     `json:"checks,omitempty"` // of every verifier, in the rules' order

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Check is one verifier's finding.
type Check struct {
	Verifier string `json:"verifier"` // its stable name, such as "fields" or "starlark:check.star"
	Outcome  string `json:"outcome"`  // one of the Outcome constants
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// A verifier's outcomes.
const (
	OutcomePass  = "pass"
	OutcomeFail  = "fail"
	OutcomeSkip  = "skip"  // it cannot judge this one, such as without a right answer
	OutcomeError = "error" // it broke down
)

// Override is the head of an override record.
type Override struct {
	Time    int64    `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Run     string   `json:"run,omitempty"`
	Row     string   `json:"row"`     // the terms row that was overridden
	Actions []string `json:"actions"` // what may go on in spite of it
	Basis   string   `json:"basis"`   // on what ground
	By      string   `json:"by,omitempty"`
	Use     Use      `json:"use,omitzero"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Use is what a student is for, as the gate was told.
type Use struct {
	Purpose     string `json:"purpose,omitempty"`
	Distributed bool   `json:"distributed,omitempty"`
}

// Correction is the head of a correction record. The answer itself stands in an
// exchange of origin human, which Correct makes.
type Correction struct {
	Exchange exchange.ID `json:"-"` // the exchange that it corrects
	Time     int64       `json:"-"` // UTC nanoseconds; 0 in a constructor: now
	Human    exchange.ID `json:"human"`
	Run      string      `json:"run,omitempty"` // the run that was reviewed
	By       string      `json:"by,omitempty"`
	TermsID  string      `json:"terms,omitempty"` // the corrected exchange's: they go on to apply

	// What the person wrote. Not part of the head.
	Answer    string              `json:"-"`
	Reasoning string              `json:"-"`
	ToolCalls []exchange.ToolCall `json:"-"`
	Raw       []byte              `json:"-"` // as it stood in the file that it came from

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// Consent is the head of a consent record.
type Consent struct {
	Time    int64  `json:"-"`      // UTC nanoseconds; 0 in a constructor: now
	Source  string `json:"source"` // the endpoint of its exchanges, such as "import:chats.jsonl"
	Basis   string `json:"basis,omitempty"`
	Consent string `json:"consent"` // "recorded", "none" or "unknown"
	People  string `json:"people,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// The values of Consent.Consent.
const (
	ConsentRecorded = "recorded"
	ConsentNone     = "none"
	ConsentUnknown  = "unknown"
)

// NewVerdict makes the record of a verdict.
func NewVerdict(v Verdict) (Record, error) {
	if v.Exchange.IsZero() || v.Rules == "" {
		return Record{}, fmt.Errorf("verdict record: it needs the exchange that was judged and the rules' hash")
	}
	return newRemark(KindVerdict, v.Exchange, v.Time, v)
}

// NewOverride makes the record of an override, which needs a named basis.
func NewOverride(o Override) (Record, error) {
	if o.Row == "" || o.Basis == "" || len(o.Actions) == 0 {
		return Record{}, fmt.Errorf("override record: it needs the terms row, the actions and the basis")
	}
	return newRemark(KindOverride, exchange.ID{}, o.Time, o)
}

// NewCorrection makes the record that points from a corrected exchange to the
// human one. Correct makes both.
func NewCorrection(c Correction) (Record, error) {
	if c.Exchange.IsZero() || c.Human.IsZero() || c.Exchange == c.Human {
		return Record{}, fmt.Errorf("correction record: it needs the corrected exchange and the one that stands in its place")
	}
	return newRemark(KindCorrection, c.Exchange, c.Time, c)
}

// NewConsent makes the record of what is known about the people behind a
// source.
func NewConsent(c Consent) (Record, error) {
	if c.Source == "" {
		return Record{}, fmt.Errorf("consent record: it names no source")
	}
	switch c.Consent {
	case ConsentRecorded, ConsentNone, ConsentUnknown:
	default:
		return Record{}, fmt.Errorf("consent record of %s: consent %q is none of %s, %s and %s", c.Source, c.Consent, ConsentRecorded, ConsentNone, ConsentUnknown)
	}
	if c.Consent == ConsentRecorded && c.Basis == "" {
		return Record{}, fmt.Errorf("consent record of %s: consent that was recorded needs a basis: where it is recorded", c.Source)
	}
	return newRemark(KindConsent, exchange.ID{}, c.Time, c)
}

func newRemark(kind Kind, id exchange.ID, t int64, head any) (Record, error) {
	raw, err := json.Marshal(head)
	if err != nil {
		return Record{}, fmt.Errorf("%s record: %w", kind, err)
	}
	if t == 0 {
		t = time.Now().UnixNano()
	}
	return Record{Kind: kind, Exchange: id, Time: t, Head: raw}, nil
}

// StageCorrect is the stage of exchanges of origin human.
const StageCorrect = "correct"

// Correct makes the exchange of origin human that stands in place of another,
// and the records of both it and the correction, to be appended in one call.
// The new exchange has the other's prompt key, request and terms, names it as
// its parent and costs nothing. It belongs to no run, since a run's account
// counts what the run asked.
func Correct(of *exchange.Exchange, c Correction) (*exchange.Exchange, []Record, error) {
	if of.ID.IsZero() {
		return nil, nil, fmt.Errorf("correction: the corrected exchange has no id")
	}
	if c.Answer == "" && len(c.ToolCalls) == 0 {
		return nil, nil, fmt.Errorf("correction of exchange %s: there is no answer in it", of.ID)
	}
	if c.Time == 0 {
		c.Time = time.Now().UnixNano()
	}
	finish := "stop"
	if len(c.ToolCalls) > 0 {
		finish = "tool_calls"
	}
	e := &exchange.Exchange{
		ID: exchange.NewID(time.Unix(0, c.Time)), Parent: of.ID, Key: of.Key, Stage: StageCorrect, Origin: exchange.OriginHuman,
		Provider: "human", Endpoint: "human", ModelAsked: of.ModelAsked, Family: of.Family, Problem: of.Problem,
		TermsID: of.TermsID, TermsBasis: of.TermsBasis, Attempt: 1, Status: 200,
		RequestBody: of.RequestBody, ResponseBody: c.Raw,
		Answer: exchange.Answer{Reasoning: c.Reasoning, Content: c.Answer, ToolCalls: c.ToolCalls, FinishReason: finish},
		Usage:  exchange.Usage{Source: exchange.UsageMissing},
		Times:  exchange.Times{Queued: c.Time, Sent: c.Time, FirstByte: c.Time, LastByte: c.Time},
	}
	recs, err := Records(e)
	if err != nil {
		return nil, nil, fmt.Errorf("correction of exchange %s: %w", of.ID, err)
	}
	c.Exchange, c.Human, c.TermsID = of.ID, e.ID, of.TermsID
	rec, err := NewCorrection(c)
	if err != nil {
		return nil, nil, err
	}
	return e, append(recs, rec), nil
}
