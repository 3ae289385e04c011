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

// imported is a source whose answers came with it.
type imported struct {
	index    int // of the recipe's prompts
	file     string
	name     string // of the source; its endpoint is "import:" and this
	endpoint string
	verdict  terms.Verdict // of the gate, on collecting
	consent  Consent
	found    *importer.Report
	items    map[string]*importedItem // by the problem's identity
	models   []string                 // that answered, in order of appearance
}

// importedItem is one conversation's answer, without the row's bytes.
type importedItem struct {
	exchange *exchange.Exchange
	tools    string
	rejected string
}

// conversations is the task of an imported source: nobody knows what is right
// beyond what a row says itself.
type conversations struct{}

// Name implements task.Task.
func (conversations) Name() string { return familyImported }

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
func (r *Recipe) fromImport(s *promptSource, i int, seed uint64) error {
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
	in := &imported{index: i, file: r.File(p.Imported), name: name, endpoint: importer.EndpointPrefix + name, consent: *p.Consent, items: map[string]*importedItem{}}
	if in.verdict, err = r.decide(row, terms.Collect); err != nil {
		return err
	}
	s.name, s.task, s.judged, s.imported = name, conversations{}, false, in
	var problems []task.Problem
	models := map[string]bool{}
	in.found, err = in.read(context.Background(), p, func(it *importer.Item, e *exchange.Exchange) error {
		q := problemOf(name, it)
		if in.items[q.ID] != nil {
			s.split.Skipped = append(s.split.Skipped, task.Skipped{Problem: q, Reason: task.SkipDuplicate})
			return nil
		}
		problems = append(problems, q)
		one := &importedItem{exchange: e, tools: string(it.Tools)}
		e.RequestBody, e.ResponseBody = nil, nil
		if it.Rejected != nil {
			one.rejected = it.Rejected.Content
		}
		in.items[q.ID] = one
		if m := it.Model; m != "" && !models[m] {
			models[m] = true
			in.models = append(in.models, m)
		}
		return nil
	})
	if err != nil {
		return r.src.errorf(path+".imported", "%v", err)
	}
	if p.Heldout.Count > len(problems) {
		return r.src.errorf(path+".heldout", "the file gives %d different conversations; %d cannot be held out", len(problems), p.Heldout.Count)
	}
	training := s.holdOut(problems, p.Heldout.Count, seed)
	s.split.Train = func(yield func(task.Problem) bool) {
		for _, q := range training {
			if !yield(q) {
				return
			}
		}
	}
	s.all = len(training)
	return nil
}

// holdOut draws problems for the examination, whole conversations at a time:
// what was said later in one tells what was answered before. It returns the
// others. What is left of the last conversation that is drawn is skipped.
func (s *promptSource) holdOut(problems []task.Problem, n int, seed uint64) (training []task.Problem) {
	var rows []string
	size := map[string]int{}
	for _, q := range problems {
		if size[q.Row]++; size[q.Row] == 1 {
			rows = append(rows, q.Row)
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
	for _, q := range problems {
		switch {
		case !held[q.Row]:
			training = append(training, q)
		case len(s.split.Heldout) < n:
			s.split.Heldout = append(s.split.Heldout, q)
		default:
			s.split.Skipped = append(s.split.Skipped, task.Skipped{Problem: q, Reason: task.SkipHeldout})
		}
	}
	return training
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

// problemOf is the problem that an imported conversation's answer solves.
func problemOf(name string, it *importer.Item) task.Problem {
	h := sha256.New()
	for _, m := range it.Messages {
		raw, _ := json.Marshal(m) // a struct of strings always encodes
		h.Write(raw)
	}
	p := task.Problem{
		Family: familyImported, ID: familyImported + ":" + hex.EncodeToString(h.Sum(nil)[:12]),
		Row: fmt.Sprintf("%s:%d", name, it.Line), RowID: it.ID, Messages: it.Messages, Gold: it.Gold, Fields: it.Extra,
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

// takeIn writes what the ledger lacks of the imported sources.
func (r *run) takeIn(ctx context.Context) error {
	for _, s := range r.sources {
		if s.imported == nil {
			continue
		}
		bar := r.opt.Progress.Stage("import", 0, s.imported.found.Items, "conversations")
		if err := r.record(ctx, s.imported, bar); err != nil {
			return err
		}
		bar.Done(fmt.Sprintf("%s: %s kept of %s rows", s.imported.name, report.FormatCount(s.imported.found.Kept), report.FormatCount(s.imported.found.Rows)))
	}
	r.asker = r.through(r.asker.teacher)
	return nil
}

// record writes what the ledger lacks of an imported file, and what is known
// of the people in it.
func (r *run) record(ctx context.Context, in *imported, bar *report.Stage) error {
	if have, ok := r.held.consents[in.endpoint]; !ok || have != in.consent {
		rec, err := ledger.NewConsent(ledger.Consent{Source: in.endpoint, Basis: in.consent.Basis, Consent: in.consent.Consent, People: in.consent.People})
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
