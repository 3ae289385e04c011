// Package ledger is the append-only record of what was asked of models, what
// came back and what it cost. It defines the kinds of record, their typed
// heads, the two small interfaces that stores implement and their users
// consume, and how records are read together into an exchange.Exchange.
//
// It is not a store: ledger/segment keeps records on disk. It knows nothing of
// wires either; bodies are raw bytes.
//
// An exchange is written as one intent (durable before the request is sent),
// fragments of at most MaxFragment bytes of the response body as they are
// read, and one end. Kinds that this package does not know, and fields of a
// head that it does not know, survive every round trip.
//
// Times are UTC nanoseconds since the Unix epoch, money is in pico-dollars.
// Errors name the exchange and the record that they are about.
package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"retort/exchange"
)

// Kind names what a record says.
type Kind string

// The kinds of record that exist so far. Other kinds come with the rooms that
// write them.
const (
	KindIntent   Kind = "intent"   // a request is about to be sent; Body is the request body
	KindFragment Kind = "fragment" // a piece of the response body, as it was read
	KindEnd      Kind = "end"      // the attempt is over: what was parsed, used and charged
	KindRun      Kind = "run"      // something about a whole run, such as its start; Head is the run's own
)

// MaxFragment is the largest body of a fragment in bytes.
const MaxFragment = 256 << 10

// Record is the unit of a ledger.
type Record struct {
	Kind     Kind
	Exchange exchange.ID     // what it is about; zero for records that are not about one exchange
	Time     int64           // UTC nanoseconds
	Head     json.RawMessage // a JSON value, kept byte for byte
	Body     []byte          // raw bytes; in the chain only as a salted commitment, so that it can be erased
	Erased   bool            // the body was erased after it had been recorded; set by a store's reader only
}

// Appender writes records.
type Appender interface {
	// Append returns when all records are durable, in the given order and
	// with no record of another call between them. After an error none of
	// them is acknowledged, although some may be found later.
	Append(ctx context.Context, recs ...Record) error
}

// Submitter is an Appender that need not be waited for.
type Submitter interface {
	Appender
	// Submit is Append that returns at once and calls done, once, when the
	// records are durable or will not be; it may do so before it returns.
	// Records of calls that follow one another are written in that order, and
	// after one that failed none is acknowledged. When Submit has returned, the
	// records' slices are the caller's again.
	Submit(done func(error), recs ...Record)
}

// Reader reads records.
type Reader interface {
	// Scan calls fn for every record, in an order that depends on nothing
	// but what is stored. It stops at fn's first error and returns it. The
	// record's slices are valid only during the call.
	Scan(ctx context.Context, fn func(Record) error) error
}

// Intent is the head of an intent record: all of an exchange that is known
// before it is sent.
type Intent struct {
	Parent        exchange.ID       `json:"parent,omitzero"`
	Key           exchange.Key      `json:"key,omitzero"`
	Run           string            `json:"run,omitempty"`
	Stage         string            `json:"stage,omitempty"`
	Origin        exchange.Origin   `json:"origin,omitempty"`
	Provider      string            `json:"provider,omitempty"`
	Endpoint      string            `json:"endpoint,omitempty"`
	Model         string            `json:"model,omitempty"`
	Account       string            `json:"account,omitempty"`
	KeyID         string            `json:"key_id,omitempty"`
	EndUser       string            `json:"end_user,omitempty"`
	Family        string            `json:"family,omitempty"`
	Problem       string            `json:"problem,omitempty"`
	TermsID       string            `json:"terms,omitempty"`
	TermsBasis    string            `json:"terms_basis,omitempty"`
	ExposureArm   string            `json:"exposure_arm,omitempty"`
	Attempt       int               `json:"attempt,omitempty"`
	RequestHeader map[string]string `json:"request_header,omitempty"`
	Worst         exchange.Pico     `json:"worst_pico,omitempty"`
	Price         string            `json:"price,omitempty"`
	Queued        int64             `json:"queued,omitempty"`
	Sent          int64             `json:"sent,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// End is the head of an end record.
type End struct {
	Status         int                 `json:"status,omitempty"`
	ErrorClass     exchange.ErrorClass `json:"error_class,omitempty"`
	ErrorText      string              `json:"error,omitempty"`
	ModelAnswered  string              `json:"model_answered,omitempty"`
	Fingerprint    string              `json:"fingerprint,omitempty"`
	ResponseHeader map[string]string   `json:"response_header,omitempty"`
	ResponseBytes  int64               `json:"response_bytes,omitempty"` // length of the whole response body; 0 if not said
	Answer         exchange.Answer     `json:"answer,omitzero"`
	Usage          exchange.Usage      `json:"usage,omitzero"`
	Cost           exchange.Pico       `json:"cost_pico"`
	Price          string              `json:"price,omitempty"`
	Times          exchange.Times      `json:"times,omitzero"`

	// Unread names the wire as which the response body can be read for the answer,
	// where who wrote the record left that to its readers; Exchanges and Answers do.
	Unread string `json:"unread,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// The wires that a body can be read as.
const (
	WireChat        = "chat"
	WireCompletions = "completions"
	WireResponses   = "responses"
	WireMessages    = "messages"
)

// Fragment is the head of a fragment record.
type Fragment struct {
	Seq int `json:"seq"` // position in the response body, from 0
}

// NewIntent makes the record that must be durable before e is sent.
func NewIntent(e *exchange.Exchange) (Record, error) {
	if e.ID.IsZero() {
		return Record{}, fmt.Errorf("intent record: the exchange has no id")
	}
	head, err := Intent{
		Parent: e.Parent, Key: e.Key, Run: e.Run, Stage: e.Stage, Origin: e.Origin,
		Provider: e.Provider, Endpoint: e.Endpoint, Model: e.ModelAsked, Account: e.Account, KeyID: e.KeyID, EndUser: e.EndUser,
		Family: e.Family, Problem: e.Problem, TermsID: e.TermsID, TermsBasis: e.TermsBasis,
		ExposureArm: e.ExposureArm, Attempt: e.Attempt, RequestHeader: e.RequestHeader,
		Worst: e.Worst, Price: e.Price, Queued: e.Times.Queued, Sent: e.Times.Sent,
	}.MarshalJSON()
	if err != nil {
		return Record{}, fmt.Errorf("intent record of exchange %s: %w", e.ID, err)
	}
	return Record{Kind: KindIntent, Exchange: e.ID, Time: firstTime(e.Times.Sent, e.Times.Queued), Head: head, Body: e.RequestBody}, nil
}

// NewFragment makes the record of one piece of a response body, read at time t.
// A piece longer than MaxFragment is refused by Append; see Fragments.
func NewFragment(id exchange.ID, seq int, body []byte, t int64) Record {
	return Record{Kind: KindFragment, Exchange: id, Time: t, Head: fmt.Appendf(nil, `{"seq":%d}`, seq), Body: body}
}

// Fragments splits a body that is already whole into fragment records.
func Fragments(id exchange.ID, body []byte, t int64) []Record {
	var recs []Record
	for seq := 0; len(body) > 0; seq++ {
		n := min(len(body), MaxFragment)
		recs = append(recs, NewFragment(id, seq, body[:n], t))
		body = body[n:]
	}
	return recs
}

// NewEnd makes the record that closes e.
func NewEnd(e *exchange.Exchange) (Record, error) { return EndOf(e).Record(e.ID) }

// EndOf returns the head of the record that closes e.
func EndOf(e *exchange.Exchange) End {
	return End{
		Status: e.Status, ErrorClass: e.ErrorClass, ErrorText: e.ErrorText,
		ModelAnswered: e.ModelAnswered, Fingerprint: e.Fingerprint, ResponseHeader: e.ResponseHeader,
		ResponseBytes: int64(len(e.ResponseBody)), Answer: e.Answer, Usage: e.Usage,
		Cost: e.Cost, Price: e.Price, Times: e.Times,
	}
}

// Record makes the record that closes an exchange.
func (e End) Record(id exchange.ID) (Record, error) {
	if id.IsZero() {
		return Record{}, fmt.Errorf("end record: the exchange has no id")
	}
	head, err := e.MarshalJSON()
	if err != nil {
		return Record{}, fmt.Errorf("end record of exchange %s: %w", id, err)
	}
	return Record{Kind: KindEnd, Exchange: id, Time: firstTime(e.Times.LastByte, e.Times.Sent, e.Times.Queued), Head: head}, nil
}

// NewRun makes a record about a run. The head is the run's own JSON value.
func NewRun(t int64, head any) (Record, error) {
	raw, err := json.Marshal(head)
	if err != nil {
		return Record{}, fmt.Errorf("run record: %w", err)
	}
	return Record{Kind: KindRun, Time: t, Head: raw}, nil
}

// Records makes all records of an exchange that is already over, such as an
// imported one.
func Records(e *exchange.Exchange) ([]Record, error) {
	intent, err := NewIntent(e)
	if err != nil {
		return nil, err
	}
	end, err := NewEnd(e)
	if err != nil {
		return nil, err
	}
	recs := append([]Record{intent}, Fragments(e.ID, e.ResponseBody, firstTime(e.Times.LastByte, intent.Time))...)
	return append(recs, end), nil
}

func firstTime(times ...int64) int64 {
	for _, t := range times {
		if t != 0 {
			return t
		}
	}
	return 0
}
