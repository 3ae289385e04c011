package recipe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/report"
	"retort/teach/collect"
	"retort/teach/curate"
	"retort/teach/dataset"
	"retort/teach/task"
	"retort/terms"
)

// The names of the stages under which exchanges are recorded.
const (
	stageCollect = "collect"
	stageEval    = "eval"
)

// question is one prompt on its way to an asker.
type question struct {
	source  *promptSource
	problem task.Problem
	request exchange.Request
}

// Request implements what collect.Fill needs of an item.
func (q question) Request() exchange.Request { return q.request }

// ask makes the request for a problem.
func (r *run) ask(template exchange.Request, s *promptSource, p task.Problem, stage string) question {
	q := template
	q.Messages = []exchange.Message{{Role: "user", Content: p.Prompt}}
	q.Run, q.Stage, q.Family, q.Problem = r.name, stage, s.name, p.ID
	return question{source: s, problem: p, request: q}
}

// collect asks the teacher everything that the recipe needs of it: first the
// held-out problems, so that a budget that is too small shows before training,
// then training prompts until enough answers pass curation.
func (r *run) collect(ctx context.Context) error {
	if err := r.collector.Check(ctx); err != nil {
		return err
	}
	total := int64(0)
	for i := range r.sources {
		total += int64(len(r.sources[i].split.Heldout))
		total += r.sources[i].total()
	}
	bar := r.opt.Progress.Stage(stageCollect, 0, total, "answers")
	count := &counter{stage: bar, spend: func() { r.opt.Progress.Spend(r.budget.Spent()) }}
	if err := r.collectHeldout(ctx, count); err != nil {
		return r.stopped(err)
	}
	a, err := r.assemble(ctx, r.collector, count)
	if err != nil {
		return r.stopped(err)
	}
	stats := r.collector.Stats()
	bar.Done(fmt.Sprintf("%s examples, %s spent, %s attempts", report.FormatCount(int64(len(a.rows))), report.FormatUSD(r.budget.Spent().USD()), report.FormatCount(stats.Sent)))
	return nil
}

// stopped says how far the run came when it cannot go on.
func (r *run) stopped(err error) error {
	s := r.collector.Stats()
	return fmt.Errorf("%w (stopped after %s attempts in this go, %s spent in all; every answer is in the ledger, and the same command goes on from here)",
		err, report.FormatCount(s.Sent), r.budget.Spent())
}

// counter counts what is done for a progress view.
type counter struct {
	mu    sync.Mutex
	done  int64
	stage *report.Stage
	spend func()
}

func (c *counter) add() {
	c.mu.Lock()
	c.done++
	n := c.done
	c.mu.Unlock()
	c.spend()
	c.stage.Set(n, "")
}

// collectHeldout asks the teacher the examination problems.
func (r *run) collectHeldout(ctx context.Context, count *counter) error {
	template, err := r.request(r.teacher)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Teacher.Limits.Concurrent)
	for i := range r.sources {
		s := &r.sources[i]
		for _, p := range s.split.Heldout {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				q := r.ask(template, s, p, stageEval)
				if _, err := r.collector.Ask(ctx, q.request); err != nil && !r.refusable(ctx, err) {
					return err
				}
				count.add()
				return nil
			})
		}
	}
	return g.Wait()
}

// refusable reports whether an error is about one prompt alone, which is then
// counted as refused, or about the run as a whole.
func (r *run) refusable(ctx context.Context, err error) bool {
	var e *exchange.Error
	return ctx.Err() == nil && errors.As(err, &e) && !e.Class.Fatal() && e.Class != exchange.ClassCancelled
}

// assembled is what the answers come to: examples, and where all others went.
type assembled struct {
	rows    []dataset.Example
	sources []report.Source
	curator *curate.Curator
}

// assemble puts prompts to an asker until each source has its examples, in
// prompt order. With the collector as asker this pays for what the ledger
// lacks; with the ledger alone it is a pure function of it.
func (r *run) assemble(ctx context.Context, asker exchange.Asker, count *counter) (*assembled, error) {
	template, err := r.request(r.teacher)
	if err != nil {
		return nil, err
	}
	out := &assembled{}
	if out.curator, err = r.curator(); err != nil {
		return nil, err
	}
	for i := range r.sources {
		if err := r.fill(ctx, asker, template, &r.sources[i], count, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// curator makes the judge of all sources.
func (r *run) curator() (*curate.Curator, error) {
	var heldout []curate.Text
	for _, s := range r.sources {
		for _, p := range s.split.Heldout {
			heldout = append(heldout, curate.TextOf(s.name, s.task, p))
		}
	}
	return curate.New(curate.Options{
		Keep: curate.Keep(r.Curate.Keep), NearDuplicates: r.Curate.NearDuplicates, Decontaminate: r.Curate.Decontaminate == "heldout",
		Reasoning: curate.Reasoning(r.Curate.Reasoning), FinishReasons: r.Accept.FinishReason, Gate: r.gate(terms.Curate),
	}, heldout)
}

// gate asks whether what was obtained under a terms row may be used for an
// action. Answers that the ledger already held may come from another row than
// today's.
func (r *run) gate(action terms.Action) func(string) error {
	return func(id string) error {
		row, err := terms.Lookup(terms.Source{Row: id})
		if err != nil {
			return err
		}
		_, err = terms.Require(row, r.use(), action)
		return err
	}
}

// fill fills one source.
func (r *run) fill(ctx context.Context, asker exchange.Asker, template exchange.Request, s *promptSource, count *counter, out *assembled) error {
	src := report.Source{Name: s.name, Want: s.want, Heldout: len(s.split.Heldout), Refused: map[string]int{}}
	for _, skipped := range s.split.Skipped {
		src.Asked++
		src.Refused[skipped.Reason]++
	}
	prompts := func(yield func(question) bool) {
		for p := range s.split.Train {
			if !yield(r.ask(template, s, p, stageCollect)) {
				return
			}
		}
	}
	_, err := collect.Fill(ctx, asker, prompts, s.want, r.Teacher.Limits.Concurrent, func(q question, x *exchange.Exchange, askErr error) (bool, error) {
		if askErr != nil && !r.refusable(ctx, askErr) {
			return false, askErr
		}
		src.Asked++
		d := out.curator.Offer(candidate(q, x, askErr))
		if !d.Kept {
			src.Refused[d.Reason]++
			return false, nil
		}
		out.rows = append(out.rows, *d.Example)
		src.Kept++
		if count != nil {
			count.add()
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if src.Kept < s.want || src.Kept == 0 {
		return &IncompleteError{Source: s.name, Want: max(s.want, 1), Have: src.Kept, Asked: src.Asked, Refused: src.Refused, Why: "there are no more prompts"}
	}
	out.sources = append(out.sources, src)
	return nil
}

// candidate is what curation judges: a prompt and what came of it.
func candidate(q question, x *exchange.Exchange, askErr error) curate.Candidate {
	c := curate.Candidate{
		Text: curate.TextOf(q.source.name, q.source.task, q.problem), Row: q.problem.Row,
		Messages: q.request.Messages, Exchange: x, Err: askErr,
	}
	if x != nil && x.OK() && askErr == nil {
		c.Verdict = q.source.task.Verify(q.problem, x.Answer.Content)
	}
	return c
}
