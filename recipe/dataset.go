package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"retort/exchange"
	"retort/report"
	"retort/teach/curate"
	"retort/teach/dataset"
	"retort/terms"
	"retort/workspace"
)

// funnel is what the dataset stage leaves for the report.
type funnel struct {
	Hash      string            `json:"hash"`
	Sources   []report.Source   `json:"sources"`
	Refused   []report.Refusal  `json:"refusals"`
	Verifiers []report.Verifier `json:"verifiers"`
	Served    string            `json:"served,omitempty"` // digest of the exchanges that a gateway had recorded
}

// funnelFile is where the dataset stage leaves it.
const funnelFile = "funnel.json"

func (r *run) funnelPath() string { return filepath.Join(r.dir, funnelFile) }

// makeDataset curates what the ledger holds and writes the dataset. It asks
// nobody.
func (r *run) makeDataset(ctx context.Context) error {
	var err error
	if r.held, err = r.read(ctx, r.store, func(exchange.Pico) {}); err != nil {
		return err
	}
	total := int64(0)
	for _, s := range r.sources {
		total += s.total()
	}
	bar := r.opt.Progress.Stage(stageDataset, 0, total, "examples")
	a, err := r.assemble(ctx, r.through(r.held.answers), &counter{stage: bar, spend: func() {}})
	if err != nil {
		return err
	}
	if err := r.recordVerdicts(ctx); err != nil {
		return err
	}
	if err := r.recordOverrides(ctx); err != nil {
		return err
	}
	hash, err := dataset.Write(r.opt.Workspace.Path("datasets"), a.rows, r.passport(a))
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(funnel{Hash: hash, Sources: a.sources, Refused: refusals(a.curator.Samples()), Verifiers: verifiers(r.verifiers.Names(), a.curator), Served: r.readNow()}, "", "  ")
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

// refusals puts the refused samples of each reason, or verifier, into the
// report's words.
func refusals(samples map[string][]curate.Sample) []report.Refusal {
	out := []report.Refusal{}
	for reason, list := range samples {
		for _, s := range list {
			answer := s.Answer
			if s.Detail != "" {
				answer += "\n(" + s.Detail + ")"
			}
			out = append(out, report.Refusal{Source: s.Source, Reason: reason, Prompt: s.Prompt, Answer: answer})
		}
	}
	report.SortRefusals(out)
	return out
}

// verifiers is what each verifier found, in the recipe's order.
func verifiers(names []string, c *curate.Curator) []report.Verifier {
	found, samples := c.Verifiers(), c.VerifierSamples()
	out := []report.Verifier{}
	for _, name := range names {
		o := found[name]
		out = append(out, report.Verifier{
			Name: name, Pass: o.Pass, Fail: o.Fail, Skip: o.Skip, Error: o.Error,
			Samples: refusals(map[string][]curate.Sample{name: samples[name]}),
		})
	}
	return out
}

func (r *run) passport(a *assembled) dataset.Passport {
	curation, _ := json.Marshal(r.Curate) // a struct of strings and a number always encodes
	return dataset.Passport{
		Created:       time.Now().UTC().Format(time.RFC3339),
		Tool:          dataset.Tool{Name: "retort", Version: r.opt.Version},
		Recipe:        dataset.Recipe{Name: r.Name, Hash: r.hash},
		Ledger:        dataset.Ledger{Run: r.name, Exchanges: r.held.account.exchanges, CostPico: r.held.account.cost.Big().String()},
		Teachers:      r.teachers(),
		Terms:         r.termsOf(a.rows),
		Overrides:     r.gate.used,
		People:        r.people(a.rows),
		Corrections:   a.curator.Corrections(),
		Verifiers:     a.curator.Verifiers(),
		Offered:       a.curator.Offered(),
		Refused:       a.curator.Refused(),
		IdentityLeaks: a.curator.IdentityLeaks(),
		Curation:      curation,
	}
}

// teachers are those whose answers are learned from.
func (r *run) teachers() []dataset.Teacher {
	var out []dataset.Teacher
	if t := r.teacher; t.asked() {
		out = append(out, dataset.Teacher{Provider: t.provider, Endpoint: t.endpoint, Model: t.model, Answered: r.held.account.answered})
	}
	for _, s := range r.sources {
		if s.given != nil {
			out = append(out, s.given.teachers()...)
		}
	}
	return out
}

// termsOf describes every terms row that an example came under.
func (r *run) termsOf(rows []dataset.Example) []dataset.Terms {
	var out []dataset.Terms
	for _, id := range termsIn(rows) {
		t := dataset.Terms{ID: id}
		if row, err := r.gate.registry.Row(id); err == nil {
			v, _ := r.gate.ask(id, terms.Curate) // examples that it refused are not here
			t = dataset.Terms{ID: id, Provider: row.Provider, Document: row.Document, Read: row.Read, Decision: string(v.Decision), Basis: v.Basis, Obligations: row.Obligations}
		}
		out = append(out, t)
	}
	return out
}

// termsIn lists the terms rows of examples in the order in which they appear.
func termsIn(rows []dataset.Example) []string {
	var out []string
	for _, e := range rows {
		if !slices.Contains(out, e.TermsID) {
			out = append(out, e.TermsID)
		}
	}
	return out
}

// people are those whose prompts imported and served conversations hold.
func (r *run) people(rows []dataset.Example) []dataset.People {
	bySource := map[string][]dataset.Example{}
	for _, e := range rows {
		bySource[e.Source] = append(bySource[e.Source], e)
	}
	var out []dataset.People
	for _, s := range r.sources {
		if s.given == nil || len(bySource[s.name]) == 0 {
			continue
		}
		if s.given.served != nil {
			out = append(out, s.given.servedPeople(bySource[s.name])...)
			continue
		}
		c := s.given.file.consent
		out = append(out, dataset.People{Source: s.given.endpoint, Rows: len(bySource[s.name]), Consent: c.Consent, Basis: c.Basis})
	}
	return out
}

// teachers are those who gave the answers.
func (g *given) teachers() []dataset.Teacher {
	if g.served != nil {
		return g.served.teachers
	}
	return []dataset.Teacher{{Provider: "import", Endpoint: g.endpoint, Answered: g.models}}
}

// loadDataset opens the dataset that the run made, and verifies it.
func (r *run) loadDataset(context.Context) error {
	f, err := r.funnel()
	if err != nil {
		return err
	}
	if err := r.checkErased(&f); err != nil {
		return err
	}
	r.data, err = dataset.Open(r.opt.Workspace.Path("datasets", f.Hash))
	return err
}

func (r *run) funnel() (funnel, error) {
	var f funnel
	found, err := readJSON(r.funnelPath(), &f)
	if err == nil && !found {
		err = fmt.Errorf("%s is missing; remove %s to make the dataset again", r.funnelPath(), r.statePath(stageDataset))
	}
	return f, err
}
