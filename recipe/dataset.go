package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/report"
	"retort/teach/dataset"
	"retort/terms"
	"retort/workspace"
)

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

// account is what the ledger says of a run.
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

// read reads the ledger once: answers by prompt key, and this run's account.
// Every cost of the run is given to charge.
func (r *run) read(ctx context.Context, from ledger.Reader, charge func(exchange.Pico)) (recorded, *account, error) {
	a := recorded{answers: map[exchange.Key]*exchange.Exchange{}}
	acc := &account{errors: map[string]int64{}, costs: map[string]exchange.Pico{}, usage: map[string]bool{}}
	names := map[string]bool{}
	err := ledger.Exchanges(ctx, from, func(e *exchange.Exchange) error {
		if e.Run == r.name {
			acc.add(e)
			charge(e.Cost)
			if n := e.ModelAnswered; n != "" && !names[n] {
				names[n] = true
				acc.answered = append(acc.answered, n)
			}
		}
		if e.Key.IsZero() || e.Endpoint != r.teacher.endpoint {
			return nil
		}
		e.RequestBody, e.ResponseBody = nil, nil              // the parsed answer is enough, and the bytes are many
		if old := a.answers[e.Key]; old == nil || !old.OK() { // the first answer stays the answer
			a.answers[e.Key] = e
		}
		return nil
	})
	if err != nil {
		return a, nil, fmt.Errorf("read the ledger: %w", err)
	}
	return a, acc, nil
}

func (a *account) add(e *exchange.Exchange) {
	a.exchanges++
	a.costs[e.ID.String()] = e.Cost
	a.usage[e.ID.String()] = e.Usage.Source == exchange.UsageReported
	if e.OK() {
		a.answers++
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

// funnel is what the dataset stage leaves for the report.
type funnel struct {
	Hash    string           `json:"hash"`
	Sources []report.Source  `json:"sources"`
	Refused []report.Refusal `json:"refusals"`
}

// funnelFile is where the dataset stage leaves it.
const funnelFile = "funnel.json"

func (r *run) funnelPath() string { return filepath.Join(r.dir, funnelFile) }

// makeDataset curates what the ledger holds and writes the dataset. It asks
// nobody.
func (r *run) makeDataset(ctx context.Context) error {
	answers, acc, err := r.read(ctx, r.store, func(exchange.Pico) {})
	if err != nil {
		return err
	}
	total := int64(0)
	for _, s := range r.sources {
		total += s.total()
	}
	bar := r.opt.Progress.Stage("dataset", 0, total, "examples")
	a, err := r.assemble(ctx, answers, &counter{stage: bar, spend: func() {}})
	if err != nil {
		return err
	}
	hash, err := dataset.Write(r.opt.Workspace.Path("datasets"), a.rows, r.passport(a, acc))
	if err != nil {
		return err
	}
	f := funnel{Hash: hash, Sources: a.sources}
	for reason, samples := range a.curator.Samples() {
		for _, s := range samples {
			answer := s.Answer
			if s.Detail != "" {
				answer += "\n(" + s.Detail + ")"
			}
			f.Refused = append(f.Refused, report.Refusal{Source: s.Source, Reason: reason, Prompt: s.Prompt, Answer: answer})
		}
	}
	report.SortRefusals(f.Refused)
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(r.funnelPath(), raw, 0o644); err != nil {
		return err
	}
	if err := r.loadDataset(ctx); err != nil {
		return err
	}
	bar.Done(fmt.Sprintf("%s examples, %s", report.FormatCount(int64(len(r.data.Examples))), hash[:12]))
	return nil
}

func (r *run) passport(a *assembled, acc *account) dataset.Passport {
	t := r.teacher
	v := terms.Gate(t.terms, r.use(), terms.Curate)
	curation, _ := json.Marshal(r.Curate) // a struct of strings and a number always encodes
	refused := a.curator.Refused()
	return dataset.Passport{
		Created:       time.Now().UTC().Format(time.RFC3339),
		Tool:          dataset.Tool{Name: "retort", Version: r.opt.Version},
		Recipe:        dataset.Recipe{Name: r.Name, Hash: r.hash},
		Ledger:        dataset.Ledger{Run: r.name, Exchanges: acc.exchanges, CostPico: acc.cost.Big().String()},
		Teachers:      []dataset.Teacher{{Provider: t.provider, Endpoint: t.endpoint, Model: t.model, Answered: acc.answered}},
		Terms:         []dataset.Terms{{ID: t.terms.ID, Provider: t.terms.Provider, Document: t.terms.Document, Read: t.terms.Read, Decision: string(v.Decision), Basis: v.Basis, Obligations: t.terms.Obligations}},
		Offered:       a.curator.Offered(),
		Refused:       refused,
		IdentityLeaks: a.curator.IdentityLeaks(),
		Curation:      curation,
	}
}

// loadDataset opens the dataset that the run made, and verifies it.
func (r *run) loadDataset(context.Context) error {
	f, err := r.funnel()
	if err != nil {
		return err
	}
	r.data, err = dataset.Open(r.opt.Workspace.Path("datasets", f.Hash))
	return err
}

func (r *run) funnel() (funnel, error) {
	var f funnel
	raw, err := os.ReadFile(r.funnelPath())
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("%s: %w", r.funnelPath(), err)
	}
	return f, nil
}
