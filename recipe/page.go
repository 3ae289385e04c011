package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"retort/exchange"
	"retort/internal/kernel"
	"retort/report"
	"retort/teach/reference"
	"retort/terms"
	"retort/workspace"
)

// The files of a run's report.
const (
	reportFile = "report.json"
	pageFile   = "report.html"
)

// writeReport gathers what every stage has left and writes report.json and
// report.html.
func (r *run) writeReport(ctx context.Context) error {
	bar := r.opt.Progress.Stage(stageReport, 0, 0, "files")
	d := &r.report
	d.Tool, d.Run, d.Recipe, d.Hash = r.opt.Version, r.name, r.Name, r.hash
	d.Command = "retort run " + r.src.File()
	d.Finished = time.Now().UTC()
	d.Machine = report.Machine{CPU: cpuName(), Cores: runtime.NumCPU(), Kernels: kernel.Active().String(), PeakRSS: peakRSS()}
	d.Teacher = r.reportTeacher()
	for _, fill := range []func(context.Context) error{r.reportCollection, r.reportTraining} {
		if err := fill(ctx); err != nil {
			return err
		}
	}
	for _, s := range r.stages() {
		if _, ok := r.seconds[s.name]; ok {
			d.Stages = append(d.Stages, s.name)
		}
	}
	d.Seconds = r.seconds
	d.Page = filepath.Join(r.dir, pageFile)
	raw, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := workspace.WriteFileAtomic(filepath.Join(r.dir, reportFile), raw, 0o644); err != nil {
		return err
	}
	if err := writePage(d); err != nil {
		return err
	}
	bar.Done(d.Page)
	return nil
}

// loadReport reads the report of a run that is over.
func (r *run) loadReport(context.Context) error {
	path := filepath.Join(r.dir, reportFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r.report = report.Data{}
	if err := json.Unmarshal(raw, &r.report); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// reportTeacher says whom the student learned from and under which terms, as
// the gate decided at export.
func (r *run) reportTeacher() report.Teacher {
	t := report.Teacher{Name: r.teacherName(), Endpoint: r.teacher.endpoint, Model: r.teacher.model, Price: r.priceText()}
	rows := r.rows()
	if len(rows) == 0 {
		return t
	}
	v, _ := r.gate.ask(rows[0].ID, terms.Export) // export has passed
	t.TermsID, t.Terms, t.TermsSays = rows[0].ID, rows[0].Document, rows[0].Says
	t.Basis, t.Decision, t.Obligations = v.Reason, string(v.Decision), terms.Texts(v.Obligations)
	return t
}

func (r *run) teacherName() string {
	if !r.teacher.asked() {
		return r.givenBy()
	}
	if r.Teacher.Reference != nil {
		return "the built-in reference teacher"
	}
	return r.teacher.model
}

func (r *run) priceText() string {
	if !r.teacher.asked() {
		return "nothing is asked"
	}
	p := r.teacher.price
	perMillion := func(v exchange.Pico) string { return fmt.Sprintf("$%g", float64(v)/1e6) }
	return fmt.Sprintf("%s: %s per million input tokens, %s per million output tokens", p.ID, perMillion(p.Input), perMillion(p.Output))
}

// reportCollection tells where the prompts went and what they cost.
func (r *run) reportCollection(ctx context.Context) error {
	f, err := r.funnel()
	if err != nil {
		return err
	}
	h, err := r.read(ctx, r.store, func(exchange.Pico) {})
	if err != nil {
		return err
	}
	acc := &h.account
	d := &r.report
	d.Sources, d.Refusals, d.Verifiers, d.Corrections = f.Sources, f.Refused, f.Verifiers, r.data.Passport.Corrections
	d.Overrides = nil
	for _, o := range r.allOverrides(r.data.Passport) {
		d.Overrides = append(d.Overrides, report.Override{Row: o.Row, Basis: o.Basis, By: o.By, Actions: listOf(o.Actions)})
	}
	for _, l := range r.data.Passport.IdentityLeaks {
		sample := ""
		if len(l.Samples) > 0 {
			sample = l.Samples[0]
		}
		d.Leaks = append(d.Leaks, report.Leak{Pattern: l.Pattern, Count: l.Count, Sample: sample})
	}
	limit := r.budget.Limit()
	d.Spend = report.Spend{
		Exchanges: acc.exchanges, Errors: acc.errors, USD: acc.cost.USD(), Reported: acc.reported.String(), UpperBound: acc.bound.String(),
		Budget: limit.USD(), Input: acc.input, Output: acc.output,
	}
	asked := int64(0)
	for i, s := range f.Sources {
		if r.sources[i].given == nil {
			asked += int64(s.Asked + s.Heldout)
		}
	}
	d.Spend.Reused = max(0, asked-acc.answers)
	if r.Teacher.Reference != nil {
		return r.reportBill(ctx, acc)
	}
	return nil
}

// reportBill compares the built-in teacher's own bill with our ledger, line by
// line.
func (r *run) reportBill(ctx context.Context, acc *account) error {
	lines, err := reference.ReadBill(filepath.Join(r.dir, billFile))
	if err != nil {
		return err
	}
	var bill exchange.PicoSum
	missing, short, unequal := 0, 0, 0
	for _, l := range lines {
		bill.Add(l.Cost)
		switch ours, ok := acc.costs[l.Attempt]; {
		case !ok:
			missing++
		case ours < l.Cost:
			short++
		case ours != l.Cost && acc.usage[l.Attempt]:
			unequal++
		}
	}
	d := &r.report
	d.Spend.Bill = bill.String()
	switch {
	case missing+short+unequal > 0:
		return fmt.Errorf("the teacher's bill has %d lines that the ledger lacks, %d that it charges less for and %d that differ although usage was reported: the budget cannot be trusted",
			missing, short, unequal)
	case bill.Cmp(acc.cost) == 0:
		d.Spend.BillAgrees = fmt.Sprintf("equal to ours, line by line over %s answers", report.FormatCount(int64(len(lines))))
	default:
		d.Spend.BillAgrees = fmt.Sprintf("every one of its %s lines is in our ledger: equal where usage was reported, elsewhere ours is an upper bound", report.FormatCount(int64(len(lines))))
	}
	return nil
}

// reportTraining tells how the student learned.
func (r *run) reportTraining(context.Context) error {
	t, err := r.training()
	if err != nil {
		return err
	}
	d := &r.report
	taught, err := r.taught()
	if err != nil {
		return err
	}
	var tokens int64
	for _, s := range taught {
		tokens += int64(len(s.Tokens))
	}
	d.Dataset = report.Dataset{Hash: r.data.Hash, Path: r.data.Dir, Examples: len(r.data.Examples), Tokens: tokens, TooLong: t.TooLong}
	d.Training = report.Training{
		Preset: r.studentName(), Vocabulary: r.format.Tokenizer().VocabSize(), Optimizer: r.Train[0].SFT.Optimizer, Precision: t.Precision,
		Steps: int64(t.Steps), Tokens: t.Tokens, TokensPerSecond: float64(t.Tokens) / max(t.Seconds, 1e-9),
	}
	if d.Training.Loss, d.Training.Heldout, err = r.curve(); err != nil {
		return err
	}
	return r.reportReinforcement()
}
