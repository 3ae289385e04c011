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
	"retort/terms"
)

// The names of the stages. Exchanges are recorded under collect and eval.
const (
	stageCollect   = "collect"
	stageDataset   = "dataset"
	stageTokenizer = "tokenizer"
	stageTrain     = "train"
	stageReinforce = "reinforce"
	stageEval      = "eval"
	stageExport    = "export"
	stageReport    = "report"
)

// collect asks the teacher everything that the recipe needs of it: first the
// held-out problems, so that a budget that is too small shows before training,
// then training prompts until enough answers pass curation.
func (r *run) collect(ctx context.Context) error {
	if err := r.takeIn(ctx); err != nil {
		return err
	}
	if err := r.recordOverrides(ctx); err != nil {
		return err
	}
	if r.collector != nil {
		if err := r.collector.Check(ctx); err != nil {
			return err
		}
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
	a, err := r.assemble(ctx, r.asker, count)
	if err != nil {
		return r.stopped(err)
	}
	bar.Done(fmt.Sprintf("%s examples, %s spent, %s attempts", report.FormatCount(int64(len(a.rows))), report.FormatUSD(r.budget.Spent().USD()), report.FormatCount(r.sent())))
	return nil
}

// sent is how many attempts were made in this go.
func (r *run) sent() int64 {
	if r.collector == nil {
		return 0
	}
	return r.collector.Stats().Sent
}

// stopped says how far the run came when it cannot go on.
func (r *run) stopped(err error) error {
	return fmt.Errorf("%w (stopped after %s attempts in this go, %s spent in all; every answer is in the ledger, and the same command goes on from here)",
		err, report.FormatCount(r.sent()), r.budget.Spent())
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
				q := r.question(template, s, p, stageEval, 0)
				if _, err := r.asker.Ask(ctx, q.request); err != nil && !r.refusable(ctx, err) {
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
		Reasoning: curate.Reasoning(r.Curate.Reasoning), FinishReasons: r.Accept.FinishReason, Gate: func(row string) error {
			_, err := r.gate.ask(row, terms.Curate)
			return err
		},
	}, heldout)
}

// fill fills one source.
func (r *run) fill(ctx context.Context, asker exchange.Asker, template exchange.Request, s *promptSource, count *counter, out *assembled) error {
	src := report.Source{Name: s.name, Want: s.want, Heldout: len(s.split.Heldout), Refused: map[string]int{}}
	for _, skipped := range s.split.Skipped {
		src.Asked++
		src.Refused[skipped.Reason]++
	}
	if s.given != nil {
		for reason, n := range s.given.refused {
			src.Asked += n
			src.Refused[reason] += n
		}
	}
	_, err := collect.Fill(ctx, asker, r.questions(template, s), s.want, r.Teacher.Limits.Concurrent, func(q question, x *exchange.Exchange, askErr error) (bool, error) {
		if askErr != nil && !r.refusable(ctx, askErr) {
			return false, askErr
		}
		src.Asked++
		d := out.curator.Offer(r.candidate(ctx, q, x, askErr))
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
