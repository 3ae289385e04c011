package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// Exchanges reads r's records together into exchanges and calls fn for each:
// in the order of their ends, and after all others those that have none, in
// the order of their first records. An intent without an end is delivered with
// ErrorClass unended and Cost = Worst, since a crash may have cut it off after
// the teacher charged for it.
//
// Records of other kinds are passed over. Where damage has taken an intent, its
// end is delivered nevertheless, since it was paid for. Memory is bounded by
// the exchanges that are open at one time. The exchange belongs to fn.
func Exchanges(ctx context.Context, r Reader, fn func(*exchange.Exchange) error) error {
	return joined(ctx, r, wantBodies, func(o *opened) error { return fn(o.exchange) })
}

// Answers is Exchanges without the response bodies, which are most of a ledger's
// bytes: what was parsed of them is in the answer.
func Answers(ctx context.Context, r Reader, fn func(*exchange.Exchange) error) error {
	return joined(ctx, r, wantAnswers, func(o *opened) error { return fn(o.exchange) })
}

// Costs is Answers without the answers: who asked what, when, and what it cost.
func Costs(ctx context.Context, r Reader, fn func(*exchange.Exchange) error) error {
	return joined(ctx, r, wantCosts, func(o *opened) error { return fn(o.exchange) })
}

// wanted is how much of an exchange is read.
type wanted int

const (
	wantCosts wanted = iota
	wantAnswers
	wantBodies
)

// opened is an exchange of which not all records have been read.
type opened struct {
	exchange  *exchange.Exchange
	fragments []fragment
	order     int  // of its first record
	erased    bool // one of its bodies was erased
	want      wanted
	extra     map[string]json.RawMessage
}

type fragment struct {
	seq  int
	body []byte
}

// joined is Exchanges, with the fields that the heads do not know, or Answers.
func joined(ctx context.Context, r Reader, want wanted, fn func(*opened) error) error {
	pending := make(map[exchange.ID]*opened)
	order := 0
	err := r.Scan(ctx, func(rec Record) error {
		switch rec.Kind {
		case KindIntent, KindFragment, KindEnd:
		default:
			return nil
		}
		o := pending[rec.Exchange]
		if o == nil {
			o = &opened{exchange: &exchange.Exchange{ID: rec.Exchange}, order: order, want: want}
			order++
			pending[rec.Exchange] = o
		}
		if err := o.add(rec); err != nil {
			return fmt.Errorf("ledger: %s record of exchange %s: %w", rec.Kind, rec.Exchange, err)
		}
		if rec.Kind != KindEnd {
			return nil
		}
		delete(pending, rec.Exchange)
		return fn(o)
	})
	if err != nil {
		return err
	}
	rest := make([]*opened, 0, len(pending))
	for _, o := range pending {
		rest = append(rest, o)
	}
	slices.SortFunc(rest, func(a, b *opened) int { return cmp.Compare(a.order, b.order) })
	for _, o := range rest {
		o.assemble()
		e := o.exchange
		e.ErrorClass = exchange.ClassUnended
		e.ErrorText = "no end was recorded: a crash cut it off, or it is still under way"
		e.Cost = e.Worst
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}

func (o *opened) add(rec Record) error {
	o.erased = o.erased || rec.Erased
	switch rec.Kind {
	case KindIntent:
		var head Intent
		if err := head.UnmarshalJSON(rec.Head); err != nil {
			return err
		}
		o.intent(head)
		o.exchange.RequestBody = slices.Clone(rec.Body)
	case KindFragment:
		// What a gateway recorded is read for its answer when it has ended.
		if o.want == wantCosts || o.want == wantAnswers && o.exchange.Origin != exchange.OriginServed {
			return nil
		}
		var head Fragment
		if err := json.Unmarshal(rec.Head, &head); err != nil {
			return err
		}
		o.fragments = append(o.fragments, fragment{head.Seq, slices.Clone(rec.Body)})
	case KindEnd:
		var head End
		if err := head.UnmarshalJSON(rec.Head); err != nil {
			return err
		}
		o.end(head)
		if head.Unread != "" && o.want != wantCosts {
			e := o.exchange
			a := ReadAnswer(head.Unread, e.ResponseHeader["content-type"], e.ResponseBody)
			a.FinishReason = cmp.Or(a.FinishReason, e.Answer.FinishReason)
			e.Answer = a
		}
		if o.want != wantBodies {
			o.exchange.ResponseBody = nil
		}
	}
	return nil
}

// ReadAnswer reads the answer out of a response body, as far as it can be read: why
// it was broken off, if it was, its exchange says. Wire is one of the wires; other
// bodies, such as embeddings, hold no answer.
func ReadAnswer(wire, contentType string, body []byte) exchange.Answer {
	var a exchange.Answer
	switch wire {
	case WireChat, WireCompletions:
		a, _, _, _ = openai.Parse(contentType, body)
	case WireResponses:
		a, _, _, _ = openai.ParseResponses(contentType, body)
	case WireMessages:
		a, _, _, _ = anthropic.Parse(contentType, body)
	}
	return a
}

func (o *opened) intent(h Intent) {
	e := o.exchange
	e.Parent, e.Key, e.Run, e.Stage, e.Origin = h.Parent, h.Key, h.Run, h.Stage, h.Origin
	e.Provider, e.Endpoint, e.ModelAsked, e.Account = h.Provider, h.Endpoint, h.Model, h.Account
	e.KeyID, e.EndUser = h.KeyID, h.EndUser
	e.Family, e.Problem, e.TermsID, e.TermsBasis = h.Family, h.Problem, h.TermsID, h.TermsBasis
	e.ExposureArm, e.Attempt, e.RequestHeader = h.ExposureArm, h.Attempt, h.RequestHeader
	e.Worst, e.Price = h.Worst, h.Price
	e.Times.Queued, e.Times.Sent = h.Queued, h.Sent
	o.keep(h.Extra)
}

func (o *opened) end(h End) {
	o.assemble()
	e := o.exchange
	e.Status, e.ErrorClass, e.ErrorText = h.Status, h.ErrorClass, h.ErrorText
	e.ModelAnswered, e.Fingerprint, e.ResponseHeader = h.ModelAnswered, h.Fingerprint, h.ResponseHeader
	e.Answer, e.Usage, e.Cost = h.Answer, h.Usage, h.Cost
	e.Price = cmp.Or(h.Price, e.Price)
	e.Times = exchange.Times{
		Queued:    cmp.Or(h.Times.Queued, e.Times.Queued),
		Sent:      cmp.Or(h.Times.Sent, e.Times.Sent),
		FirstByte: h.Times.FirstByte,
		LastByte:  h.Times.LastByte,
	}
	if h.ResponseBytes > 0 && o.want == wantBodies && !o.erased && h.ResponseBytes != int64(len(e.ResponseBody)) {
		if e.ErrorText != "" {
			e.ErrorText += "; "
		}
		e.ErrorText += fmt.Sprintf("the ledger has %d of %d bytes of the response body", len(e.ResponseBody), h.ResponseBytes)
	}
	o.keep(h.Extra)
}

// assemble concatenates the fragments in the order of their numbers.
func (o *opened) assemble() {
	slices.SortStableFunc(o.fragments, func(a, b fragment) int { return cmp.Compare(a.seq, b.seq) })
	for _, f := range o.fragments {
		o.exchange.ResponseBody = append(o.exchange.ResponseBody, f.body...)
	}
	o.fragments = nil
}

func (o *opened) keep(extra map[string]json.RawMessage) {
	for name, v := range extra {
		if o.extra == nil {
			o.extra = make(map[string]json.RawMessage)
		}
		o.extra[name] = v
	}
}
