package recipe

import (
	"context"
	"errors"
	"os"
	"slices"

	"retort/exchange"
	"retort/ledger"
	"retort/teach/curate"
	"retort/teach/task"
	"retort/teach/verify"
)

// validateVerifiers makes the verifiers, to see that they can be made.
func (r *Recipe) validateVerifiers() error {
	_, err := r.makeVerifiers()
	return err
}

// makeVerifiers makes the set of all of the recipe's verifiers.
func (r *Recipe) makeVerifiers() (*verify.Set, error) {
	set, err := verify.New(r.Verify, func(name string) ([]byte, error) { return os.ReadFile(r.File(name)) })
	var bad *verify.SpecError
	switch {
	case errors.As(err, &bad):
		path := at("verify", bad.Index)
		if bad.Path != "" {
			path += "." + bad.Path
		}
		return nil, r.src.errorf(path, "%s", bad.Msg)
	case err != nil:
		return nil, r.src.errorf("verify", "%v", err)
	}
	return set, nil
}

// judgement is a verdict with what each verifier found.
type judgement struct {
	verdict task.Verdict
	checks  []ledger.Check
}

// judged names what is judged: an answer to a problem of a source.
type judged struct {
	source, problem string
	exchange        exchange.ID
}

// judge puts an answer to the recipe's verifiers. The same answer to the same
// problem is judged once.
func (r *run) judge(ctx context.Context, s *promptSource, p task.Problem, x *exchange.Exchange) judgement {
	name := judged{s.name, p.ID, x.ID}
	if j, ok := r.judgements[name]; ok {
		return j
	}
	res := r.verifiers.Judge(ctx, verify.In{Task: s.task, Problem: p, Messages: p.TeacherMessages(), Answer: x.Answer})
	j := judgement{verdict: res.Verdict}
	for _, c := range res.Checks {
		j.checks = append(j.checks, ledger.Check{Verifier: c.Verifier, Outcome: c.Outcome, Reason: c.Reason, Detail: c.Detail})
	}
	r.judgements[name] = j
	r.order = append(r.order, name)
	return j
}

// candidate is what curation judges: a prompt and what came of it.
func (r *run) candidate(ctx context.Context, q question, x *exchange.Exchange, askErr error) curate.Candidate {
	p := &q.problem
	c := curate.Candidate{
		Text: curate.TextOf(q.source.name, q.source.task, q.problem), Row: p.Row, RowID: p.RowID, Sample: q.request.Sample,
		Messages: p.StudentMessages(), Exchange: x, Err: askErr,
	}
	if in := q.source.given; in != nil {
		c.Tools, c.Rejected = in.items[p.ID].tools, in.items[p.ID].rejected
	}
	if x != nil {
		c.Correction = q.source.given.underTerms(r.held.corrections[x.ID], x)
	}
	if a := c.Answered(); a != nil && a.OK() && (askErr == nil || c.Correction != nil) {
		j := r.judge(ctx, q.source, q.problem, a)
		c.Verdict, c.Checks = j.verdict, j.checks
	}
	return c
}

// recordVerdicts writes a verdict record for every exchange that was judged by
// these rules for the first time.
func (r *run) recordVerdicts(ctx context.Context) error {
	out := batch{ctx: ctx, to: r.store}
	for _, name := range r.order {
		id, j := name.exchange, r.judgements[name]
		if r.held.judged[id] || slices.ContainsFunc(j.checks, func(c ledger.Check) bool { return c.Reason == verify.ReasonCancelled }) {
			continue // known, or an interruption cut it short: that is no verdict
		}
		rec, err := ledger.NewVerdict(ledger.Verdict{
			Exchange: id, Run: r.name, Rules: r.verifiers.Hash(), Correct: j.verdict.Correct, Reason: j.verdict.Reason, Checks: j.checks,
		})
		if err != nil {
			return err
		}
		if err := out.add(rec); err != nil {
			return err
		}
		r.held.judged[id] = true
	}
	return out.flush()
}
