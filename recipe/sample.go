package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/ledger"
	"retort/report"
)

// Sampled is what came of asking a recipe's first prompts.
type Sampled struct {
	Rows []SampleRow `json:"rows"`
	// Paid is what these answers cost in this go, Cost what they cost in all,
	// those included that the ledger held already.
	Paid float64 `json:"paid_usd"`
	Cost float64 `json:"cost_usd"`
	// Verifiers is what each verifier found.
	Verifiers []report.Verifier `json:"verifiers"`
	Plan      *Plan             `json:"plan"`
}

// SampleRow is one prompt with its answer and what is made of it.
type SampleRow struct {
	Source   string             `json:"source"`
	Row      string             `json:"row,omitempty"`
	RowID    string             `json:"row_id,omitempty"`
	Messages []exchange.Message `json:"messages"`
	Answer   exchange.Answer    `json:"answer"`
	Verdict  string             `json:"verdict"` // correct, unverified, or the reason against it
	Checks   []ledger.Check     `json:"checks"`
	Usage    exchange.Usage     `json:"usage"`
	USD      float64            `json:"usd"`
	Seconds  float64            `json:"seconds"`
	Reused   bool               `json:"reused"` // it was in the ledger already
	Error    string             `json:"error,omitempty"`
}

// Sample asks some of the prompts that a run of the recipe asks, spread evenly
// over each source, and says what they cost and what the rest can be expected
// to. The run reuses their answers. The same call again asks nothing.
func Sample(ctx context.Context, rec *Recipe, opt Options, n int) (out *Sampled, err error) {
	r, err := newRun(ctx, rec, opt)
	if err != nil {
		return nil, err
	}
	if !r.teacher.asked() {
		return nil, r.src.errorf("prompts", "nothing is asked of a teacher: every answer is there already, and costs nothing; see it with `retort recipe preview`")
	}
	lock, err := opt.Workspace.Lock("runs/" + r.name)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.collector.Check(ctx); err != nil {
		return nil, err
	}
	if err := r.recordOverrides(ctx); err != nil {
		return nil, err
	}
	before := r.held
	questions, err := r.pick(n)
	if err != nil {
		return nil, err
	}
	if err := r.askAll(ctx, questions); err != nil {
		return nil, r.stopped(err)
	}
	if r.held, err = r.read(ctx, r.store, func(exchange.Pico) {}); err != nil {
		return nil, err
	}
	out = &Sampled{Paid: r.held.account.cost.USD() - before.account.cost.USD()}
	if err := out.show(ctx, r, questions, before); err != nil {
		return nil, err
	}
	out.Plan, err = r.plan(ctx)
	return out, err
}

// pick chooses questions from those that a run is sure to ask: of each source
// as many as its share of them, one at least, evenly spaced.
func (r *run) pick(n int) ([]question, error) {
	template, err := r.request(r.teacher)
	if err != nil {
		return nil, err
	}
	sizes := make([]int, len(r.sources))
	for i := range r.sources {
		s := &r.sources[i]
		if s.given != nil {
			continue
		}
		sizes[i] = s.all
		if s.want >= 0 && (s.all < 0 || (s.want+s.samples-1)/s.samples < s.all) {
			sizes[i] = (s.want + s.samples - 1) / s.samples
		}
	}
	takes := apportion(n, sizes)
	var out []question
	for i := range r.sources {
		s := &r.sources[i]
		size := sizes[i]
		if size <= 0 {
			continue
		}
		take, k, at := takes[i], 0, 0
		for p := range s.split.Train {
			if k == take {
				break
			}
			if at == (2*k+1)*size/(2*take) {
				out = append(out, r.question(template, s, p, stageCollect, 0))
				k++
			}
			at++
		}
	}
	return out, nil
}

// apportion divides n among sources of the given sizes: to each in proportion,
// by largest remainders, but one at least and no more than it has.
func apportion(n int, sizes []int) []int {
	out, total := make([]int, len(sizes)), 0
	for _, s := range sizes {
		total += s
	}
	left := n
	for i, s := range sizes {
		if s > 0 {
			out[i] = min(s, max(1, n*s/total))
			left -= out[i]
		}
	}
	for left > 0 {
		best := -1
		for i, s := range sizes {
			if out[i] < s && (best < 0 || float64(n)*float64(s)/float64(total)-float64(out[i]) > float64(n)*float64(sizes[best])/float64(total)-float64(out[best])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		out[best]++
		left--
	}
	return out
}

// askAll asks questions side by side. One that is refused for itself alone is
// left without an answer.
func (r *run) askAll(ctx context.Context, list []question) error {
	bar := r.opt.Progress.Stage(stageCollect, 0, int64(len(list)), "answers")
	count := &counter{stage: bar, spend: func() { r.opt.Progress.Spend(r.budget.Spent()) }}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Teacher.Limits.Concurrent)
	for _, q := range list {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if _, err := r.collector.Ask(ctx, q.request); err != nil && !r.refusable(ctx, err) {
				return err
			}
			count.add()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	bar.Done(fmt.Sprintf("%s answers, %s spent in all", report.FormatCount(int64(len(list))), report.FormatUSD(r.budget.Spent().USD())))
	return nil
}

// show judges the sample's answers.
func (out *Sampled) show(ctx context.Context, r *run, list []question, before *held) error {
	curator, err := r.curator()
	if err != nil {
		return err
	}
	var cost exchange.PicoSum
	for _, q := range list {
		key, err := q.request.Key()
		if err != nil {
			return err
		}
		row := SampleRow{Source: q.source.name, Row: q.problem.Row, RowID: q.problem.RowID, Messages: q.request.Messages}
		x := r.held.answers.answers[key]
		if x == nil {
			row.Error, row.Verdict = "no answer came", "error"
			out.Rows = append(out.Rows, row)
			continue
		}
		if old := before.answers.answers[key]; old != nil && old.OK() {
			row.Reused = true
		}
		cost.Add(r.held.costs[key])
		c := r.candidate(ctx, q, x, nil)
		d := curator.Offer(c)
		row.Answer, row.Usage, row.Checks = x.Answer, x.Usage, c.Checks
		row.USD, row.Seconds = r.held.costs[key].USD(), float64(x.Times.LastByte-x.Times.Sent)/1e9
		if !x.OK() {
			row.Error = x.ErrorText
		}
		row.Verdict = d.Reason
		if d.Kept {
			row.Verdict = d.Example.Verdict
		}
		out.Rows = append(out.Rows, row)
	}
	out.Cost = cost.USD()
	out.Verifiers = verifiers(r.verifiers.Names(), curator)
	return nil
}

// Print writes the sample for people: each prompt as rendered with its answer
// and verdict, then what the run can be expected to cost. What the prompts of a
// source begin with in common is shown once.
func (out *Sampled) Print(w io.Writer) error {
	var b strings.Builder
	shown := above{}
	for i, row := range out.Rows {
		writeTitle(&b, fmt.Sprintf("%d of %d · %s", i+1, len(out.Rows), row.Source), row.Row, row.RowID)
		shown.write(&b, row.Source, row.Messages)
		if row.Answer.Reasoning != "" {
			writePart(&b, "reasoning", row.Answer.Reasoning)
		}
		if row.Error != "" {
			writePart(&b, "error", row.Error)
		} else {
			writePart(&b, "answer", row.Answer.Content)
		}
		writePart(&b, "verdict", row.verdictLine())
		b.WriteByte('\n')
	}
	for _, v := range out.Verifiers {
		fmt.Fprintf(&b, "%-28s %s\n", v.Name, v.Counts())
	}
	fmt.Fprintf(&b, "\n%s paid for %s answers; all that a run asks again is reused\n\n", report.FormatUSD(out.Paid), report.FormatCount(int64(len(out.Rows))))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return out.Plan.Print(w)
}

// verdictLine is the verdict with what each verifier said, and the cost.
func (row *SampleRow) verdictLine() string {
	parts := []string{row.Verdict}
	for _, c := range row.Checks {
		text := c.Verifier + " " + c.Outcome
		if c.Outcome != "pass" && c.Detail != "" {
			text += " (" + c.Detail + ")"
		}
		parts = append(parts, text)
	}
	parts = append(parts, fmt.Sprintf("%s, %d + %d tokens, %.1f s", report.FormatUSD(row.USD), row.Usage.Input, row.Usage.Output, row.Seconds))
	if row.Reused {
		parts = append(parts, "from the ledger")
	}
	return strings.Join(parts, " · ")
}
