package recipe

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"retort/exchange"
	"retort/ledger"
)

// held is what the ledger holds that concerns a run.
type held struct {
	answers     recorded
	costs       map[exchange.Key]exchange.Pico // of all attempts at a question, whoever made them
	sizes       map[exchange.Key]int           // bytes of a question's request as it was sent
	account     account
	corrections map[exchange.ID]*exchange.Exchange // by the corrected exchange: what a person wrote
	judged      map[exchange.ID]bool               // exchanges with a verdict by the run's rules
	consents    map[string]Consent                 // by the source's endpoint, the last that was recorded
	overrides   map[string]bool                    // that this run has recorded; see overrideKey
}

// recorded answers from the ledger alone, at no cost.
type recorded struct {
	answers map[exchange.Key]*exchange.Exchange // by key: the answer, or else the last failed attempt
}

// Ask implements exchange.Asker. What was never asked is an error of class
// unended: the ledger cannot say what the answer would have been.
func (a recorded) Ask(_ context.Context, q exchange.Request) (*exchange.Exchange, error) {
	key, err := q.Key()
	if err != nil {
		return nil, err
	}
	x, ok := a.answers[key]
	switch {
	case !ok:
		return nil, &exchange.Error{Op: "look up", What: key.String(), Class: exchange.ClassUnended, Err: fmt.Errorf("the ledger has no exchange with this prompt key")}
	case !x.OK():
		return x, &exchange.Error{Op: "look up", What: key.String(), Class: x.ErrorClass, Err: fmt.Errorf("%s", x.ErrorText)}
	}
	return x, nil
}

// good returns the keys that need not be asked again.
func (a recorded) good() map[exchange.Key]*exchange.Exchange {
	out := map[exchange.Key]*exchange.Exchange{}
	for k, x := range a.answers {
		if x.OK() {
			out[k] = x
		}
	}
	return out
}

// account is what the ledger says of a run's own requests.
type account struct {
	exchanges             int64
	answers               int64                    // regular ones
	costs                 map[string]exchange.Pico // by the attempt's id
	usage                 map[string]bool          // by the attempt's id: whether the teacher reported it
	errors                map[string]int64
	cost, reported, bound exchange.PicoSum
	input, output         int64
	answered              []string // model names that responses gave
}

func (a *account) add(e *exchange.Exchange) {
	a.exchanges++
	a.costs[e.ID.String()] = e.Cost
	a.usage[e.ID.String()] = e.Usage.Source == exchange.UsageReported
	if e.OK() {
		a.answers++
	}
	if n := e.ModelAnswered; n != "" && !slices.Contains(a.answered, n) {
		a.answered = append(a.answered, n)
	}
	a.cost.Add(e.Cost)
	if e.ErrorClass != "" {
		a.errors[string(e.ErrorClass)]++
	}
	if e.Usage.Source == exchange.UsageReported {
		a.reported.Add(e.Cost)
		a.input += e.Usage.Input
		a.output += e.Usage.Output
	} else {
		a.bound.Add(e.Cost)
	}
}

// read reads the ledger once. Every cost of the run is given to charge.
func (r *run) read(ctx context.Context, from ledger.Reader, charge func(exchange.Pico)) (*held, error) {
	h := &held{
		answers:  recorded{answers: map[exchange.Key]*exchange.Exchange{}},
		costs:    map[exchange.Key]exchange.Pico{},
		sizes:    map[exchange.Key]int{},
		account:  account{errors: map[string]int64{}, costs: map[string]exchange.Pico{}, usage: map[string]bool{}},
		judged:   map[exchange.ID]bool{},
		consents: map[string]Consent{}, overrides: map[string]bool{},
	}
	endpoints := map[string]bool{r.teacher.endpoint: r.teacher.asked()}
	for _, s := range r.sources {
		if s.given != nil && s.given.file != nil {
			endpoints[s.given.endpoint] = true
		}
	}
	// A large ledger leaves much garbage and little else: collecting it each
	// time that a small heap has doubled would take a fifth of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	corrected := false
	remarks := ledger.Watch(from, func(rec ledger.Record) error {
		corrected = corrected || rec.Kind == ledger.KindCorrection
		return h.remark(r, rec)
	})
	err := ledger.Answers(ctx, remarks, func(e *exchange.Exchange) error {
		if e.Run == r.name && e.Origin == exchange.OriginAPI {
			h.account.add(e)
			charge(e.Cost)
		}
		if e.Key.IsZero() || !endpoints[e.Endpoint] || e.Origin == exchange.OriginHuman {
			return nil
		}
		h.costs[e.Key] += e.Cost
		h.sizes[e.Key] = len(e.RequestBody)
		if old := h.answers.answers[e.Key]; old == nil || !old.OK() { // the first answer stays the answer
			h.answers.answers[e.Key] = light(e)
		}
		return nil
	})
	if err == nil && corrected {
		h.corrections, err = ledger.Corrections(ctx, from)
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return h, nil
}

// remark notes a record about exchanges or sources.
func (h *held) remark(r *run, rec ledger.Record) error {
	switch rec.Kind {
	case ledger.KindVerdict:
		v, err := ledger.ParseVerdict(rec)
		if err != nil {
			return err
		}
		if r.verifiers != nil && v.Rules == r.verifiers.Hash() {
			h.judged[v.Exchange] = true
		}
	case ledger.KindConsent:
		c, err := ledger.ParseConsent(rec)
		if err != nil {
			return err
		}
		h.consents[c.Source] = Consent{Consent: c.Consent, Basis: c.Basis, People: c.People}
	case ledger.KindOverride:
		o, err := ledger.ParseOverride(rec)
		if err != nil {
			return err
		}
		if o.Run == r.name {
			h.overrides[overrideKey(o)] = true
		}
	}
	return nil
}

// asker answers what a recipe asks: from the answers that are given, all else
// through the teacher's asker.
type asker struct {
	teacher exchange.Asker                   // nil where nobody is asked
	given   map[string]map[string]*givenItem // by the source's endpoint and the problem
}

// Ask implements exchange.Asker.
func (a asker) Ask(ctx context.Context, q exchange.Request) (*exchange.Exchange, error) {
	items, ok := a.given[q.Endpoint]
	if !ok {
		return a.teacher.Ask(ctx, q)
	}
	it := items[q.Problem]
	if it == nil {
		return nil, &exchange.Error{Op: "look up", What: q.Problem, Class: exchange.ClassInvalid, Err: fmt.Errorf("no conversation that is there asks this")}
	}
	return it.exchange, nil
}

// through makes the asker of all sources, where teacher answers what is asked.
func (r *run) through(teacher exchange.Asker) asker {
	a := asker{teacher: teacher, given: map[string]map[string]*givenItem{}}
	for _, s := range r.sources {
		if s.given == nil {
			continue
		}
		a.given[s.given.endpoint] = s.given.items
		if s.given.file == nil {
			continue
		}
		for _, it := range s.given.items {
			if x := r.held.answers.answers[it.exchange.Key]; x != nil { // as it was recorded, id and terms
				it.exchange = x
			}
		}
	}
	return a
}
