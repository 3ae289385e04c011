package recipe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retort/exchange"
	"retort/importer"
	"retort/ledger"
	"retort/report"
	"retort/teach/task"
	"retort/terms"
)

// familyImported is the family of problems that stand in other people's
// conversations.
const familyImported = "imported"

// given are a source's answers that are there already: in an imported file, or
// in what a gateway recorded. Nobody is asked.
type given struct {
	endpoint string                // by which questions about it are known
	verdicts []terms.Verdict       // of the gate on collecting, one for each terms row
	items    map[string]*givenItem // by the problem's identity
	models   []string              // that answered, in order of appearance
	refused  map[string]int        // what cannot be learned from, by reason
	file     *imported             // nil of what a gateway recorded
	served   *servedSource         // nil of a file
}

// givenItem is one conversation's answer, without the bytes that it was read from.
type givenItem struct {
	exchange *exchange.Exchange
	tools    string
	rejected string
}

// imported is a file of other people's conversations.
type imported struct {
	index   int // of the recipe's prompts
	file    string
	name    string        // of the source; its endpoint is "import:" and this
	verdict terms.Verdict // of the gate, on collecting
	consent Consent
	found   *importer.Report
}

// conversations is the task of a source whose answers are given: nobody knows
// what is right beyond what a row says itself.
type conversations struct{ family string }

// Name implements task.Task.
func (c conversations) Name() string { return c.family }

// Verify implements task.Task: an answer equals the one that the row states as
// right, if it states one.
func (conversations) Verify(p task.Problem, content string) task.Verdict {
	v := task.Verdict{Reason: task.ReasonNoGold, Answer: strings.TrimSpace(content)}
	switch {
	case p.Answer == "":
	case strings.Join(strings.Fields(content), " ") == strings.Join(strings.Fields(p.Answer), " "):
		v.Correct, v.Reason = true, task.ReasonCorrect
	default:
		v.Reason = task.ReasonWrong
	}
	return v
}

// Mask implements task.Task: conversations share no template.
func (conversations) Mask(prompt string) string { return prompt }

// VerifiableIdentity implements task.Task.
func (conversations) VerifiableIdentity() bool { return false }

// fromImport reads an imported source: its problems, their answers, and what
// was refused.
func (r *Recipe) fromImport(ctx context.Context, s *promptSource, i int, seed uint64) error {
	p, path := &r.Prompts[i], at("prompts", i)
	g, err := r.registry()
	if err != nil {
		return err
	}
	row, err := g.Row(p.Terms)
	if err != nil {
		return r.src.errorf(path+".terms", "%v", err)
	}
	name := filepath.Base(p.Imported)
	in := &imported{index: i, file: r.File(p.Imported), name: name, consent: *p.Consent}
	if in.verdict, err = r.decide(row, terms.Collect); err != nil {
		return err
	}
	s.name, s.task, s.judged = name, conversations{familyImported}, false
	s.given = &given{endpoint: importer.EndpointPrefix + name, verdicts: []terms.Verdict{in.verdict}, items: map[string]*givenItem{}, refused: map[string]int{}, file: in}
	var problems []task.Problem
	in.found, err = in.read(ctx, p, func(it *importer.Item, e *exchange.Exchange) error {
		q := problemOf(familyImported, it)
		q.Row = fmt.Sprintf("%s:%d", name, it.Line)
		if s.take(q, it, e) {
			problems = append(problems, q)
			if it.Model != "" && !slices.Contains(s.given.models, it.Model) {
				s.given.models = append(s.given.models, it.Model)
			}
		}
		return nil
	})
	if err != nil {
		return r.src.errorf(path+".imported", "%v", err)
	}
	for reason, n := range in.found.Refused {
		s.given.refused["import_"+reason] += int(n)
	}
	if p.Heldout.Count > len(problems) {
		return r.src.errorf(path+".heldout", "the file gives %d different conversations; %d cannot be held out", len(problems), p.Heldout.Count)
	}
	s.holdOut(problems, p.Heldout.Count, seed, func(q *task.Problem) string { return q.Row })
	return nil
}

// take adds an answer to those that are given, and says whether it did: of
// several answers to one conversation the first one counts.
func (s *promptSource) take(q task.Problem, it *importer.Item, e *exchange.Exchange) bool {
	if s.given.items[q.ID] != nil {
		s.split.Skipped = append(s.split.Skipped, task.Skipped{Problem: q, Reason: task.SkipDuplicate})
		return false
	}
	one := &givenItem{exchange: e, tools: string(it.Tools)}
	e.RequestBody, e.ResponseBody = nil, nil
	if it.Rejected != nil {
		one.rejected = it.Rejected.Content
	}
	s.given.items[q.ID] = one
	return true
}

// holdOut draws problems for the examination, whole conversations at a time:
// what was said later in one tells what was answered before. The others are
// learned from, but for what is left of the last conversation that is drawn.
func (s *promptSource) holdOut(problems []task.Problem, n int, seed uint64, conversation func(*task.Problem) string) {
	var rows []string
	size := map[string]int{}
	for i := range problems {
		k := conversation(&problems[i])
		if size[k]++; size[k] == 1 {
			rows = append(rows, k)
		}
	}
	held := map[string]bool{}
	total := 0
	for _, k := range rand.New(rand.NewPCG(seed, uint64(len(rows)))).Perm(len(rows)) {
		if total >= n {
			break
		}
		held[rows[k]] = true
		total += size[rows[k]]
	}
	var training []task.Problem
	for i, q := range problems {
		switch {
		case !held[conversation(&problems[i])]:
			training = append(training, q)
		case len(s.split.Heldout) < n:
			s.split.Heldout = append(s.split.Heldout, q)
		default:
			s.split.Skipped = append(s.split.Skipped, task.Skipped{Problem: q, Reason: task.SkipHeldout})
		}
	}
	s.split.Train = slices.Values(training)
	s.all = len(training)
}

// read reads the file; fn is given each item and the exchange that a ledger
// keeps of it, with the row's bytes, until it returns.
func (in *imported) read(ctx context.Context, p *Prompts, fn func(*importer.Item, *exchange.Exchange) error) (*importer.Report, error) {
	f, err := os.Open(in.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opt := importer.Options{Format: importer.Format(p.Format), Name: in.name, Turns: importer.Turns(p.Turns)}
	record := importer.RecordOptions{Name: in.name, Stage: stageCollect, Family: in.name, TermsID: in.verdict.RowID, TermsBasis: in.verdict.Basis}
	return importer.Read(ctx, f, opt, func(it *importer.Item) error {
		e, err := importer.Exchange(it, record)
		if err != nil {
			return err
		}
		return fn(it, e)
	})
}

// problemOf is the problem that a conversation's given answer solves.
func problemOf(family string, it *importer.Item) task.Problem {
	h := sha256.New()
	for _, m := range it.Messages {
		raw, _ := json.Marshal(m) // a struct of strings always encodes
		h.Write(raw)
	}
	p := task.Problem{
		Family: family, ID: family + ":" + hex.EncodeToString(h.Sum(nil)[:12]),
		RowID: it.ID, Messages: it.Messages, Gold: it.Gold, Fields: it.Extra,
		Said: task.Said(it.Messages),
	}
	for _, m := range it.Messages {
		if m.Role == "user" {
			p.Prompt = m.Content
		}
	}
	if it.Gold != nil {
		p.Answer = string(it.Gold)
		var text string
		if json.Unmarshal(it.Gold, &text) == nil {
			p.Answer = text
		}
	}
	return p
}

// takeIn writes what the ledger lacks of the imported sources. What a gateway
// recorded is there.
func (r *run) takeIn(ctx context.Context) error {
	for _, s := range r.sources {
		if s.given == nil {
			continue
		}
		if s.given.served != nil {
			r.opt.Progress.Stage(familyServed, 0, int64(s.given.served.exchanges), "exchanges").Done(s.name + ": " + s.given.served.summary())
			continue
		}
		in := s.given.file
		bar := r.opt.Progress.Stage("import", 0, in.found.Items, "conversations")
		if err := r.record(ctx, s.given, bar); err != nil {
			return err
		}
		bar.Done(fmt.Sprintf("%s: %s kept of %s rows", in.name, report.FormatCount(in.found.Kept), report.FormatCount(in.found.Rows)))
	}
	r.asker = r.through(r.asker.teacher)
	return nil
}

// record writes what the ledger lacks of an imported file, and what is known
// of the people in it.
func (r *run) record(ctx context.Context, g *given, bar *report.Stage) error {
	in := g.file
	if have, ok := r.held.consents[g.endpoint]; !ok || have != in.consent {
		rec, err := ledger.NewConsent(ledger.Consent{Source: g.endpoint, Basis: in.consent.Basis, Consent: in.consent.Consent, People: in.consent.People})
		if err != nil {
			return err
		}
		if err := r.store.Append(ctx, rec); err != nil {
			return err
		}
	}
	batch := batch{ctx: ctx, to: r.store}
	done := int64(0)
	_, err := in.read(ctx, &r.Prompts[in.index], func(_ *importer.Item, e *exchange.Exchange) error {
		done++
		bar.Set(done, in.name)
		if r.held.answers.answers[e.Key] != nil {
			return nil
		}
		r.held.answers.answers[e.Key] = light(e)
		recs, err := ledger.Records(e)
		if err != nil {
			return err
		}
		return batch.add(recs...)
	})
	if err != nil {
		return err
	}
	return batch.flush()
}

// light is an exchange without its bodies: the parsed answer is enough, and
// the bytes are many.
func light(e *exchange.Exchange) *exchange.Exchange {
	out := *e
	out.RequestBody, out.ResponseBody = nil, nil
	return &out
}

// batchSize is how many records are made durable together, which costs as much
// as one.
const batchSize = 512

// batch appends records some at a time.
type batch struct {
	ctx   context.Context
	to    ledger.Appender
	recs  []ledger.Record
	total int
}

func (b *batch) add(recs ...ledger.Record) error {
	b.recs = append(b.recs, recs...)
	b.total += len(recs)
	if len(b.recs) >= batchSize {
		return b.flush()
	}
	return nil
}

func (b *batch) flush() error {
	if len(b.recs) == 0 {
		return nil
	}
	err := b.to.Append(b.ctx, b.recs...)
	b.recs = b.recs[:0]
	return err
}
