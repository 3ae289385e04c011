// Package eval puts the same held-out problems to a student, to its teacher and
// to whom else it is compared with, and says how they differ and how sure that
// is.
//
// All comparisons are paired: only problems that both contestants answered
// count, and intervals use that they were the same problems (internal/stat). An
// answer is right by the task's own verifier; an answer that was cut off or is
// empty is wrong. Where a source has no right answers the measure is agreement
// with the teacher, and is named that.
//
// A contestant answers through an exchange.Asker, so that nothing is asked past
// ledger and budget, or with results that another run stored. Results are kept
// as JSON lines (see Result), and what is kept is not asked again. The same
// answers give the same report, whatever their order and timing.
//
// It trains nothing, loads no models and prints nothing. Errors: what the Asker
// says if it concerns the run and not one problem; *ResultsError for a results
// file that cannot be read, with its line.
package eval

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"retort/exchange"
	"retort/teach/task"
)

// Item is one held-out problem.
type Item struct {
	Source  string // the prompt source: results are reported for each, in order of appearance
	Task    task.Task
	Problem task.Problem
	// Measure says whether Task can tell right answers to this problem
	// (Accuracy) or nobody can (Agreement). If it is empty, Task is asked.
	Measure Measure
}

// Contestant is somebody who answers.
type Contestant struct {
	Name string
	// Teacher marks the one whose answers stand in for right ones where none
	// are known; at most one contestant is.
	Teacher bool
	// Asker answers; nil for a contestant that is known by its stored results
	// alone.
	Asker exchange.Asker
	// Request makes the request for an item. Its endpoint and model must name
	// whoever answers, weights included, since results are kept by its key.
	Request func(Item) (exchange.Request, error)
	// Concurrency is how many requests are under way at once; at least 1.
	Concurrency int
	// File is where results are kept and read from; "" keeps none.
	File string
}

// Options say how to report.
type Options struct {
	Samples int    // answers shown side by side, for each source and outcome; default 2
	Seed    uint64 // of the bootstrap of token counts
	// OnProgress is told of each result, one at a time; it must be quick.
	OnProgress func(Progress)
}

// Progress is how far one contestant is.
type Progress struct {
	Contestant string
	Done       int // results there are, reused ones included
	Total      int
	Reused     int
	Right      int // of Done, where a right answer is known
	Cost       exchange.PicoSum
}

// Run asks every contestant every item that it has no result for and compares
// the first one, the student, with each of the others.
//
// A problem that a contestant gave no answer to, because its request failed in
// a way that concerns this request alone, is unanswered: it is not kept, does
// not enter comparisons, and is counted. Any other failure ends Run; what was
// answered until then is kept.
func Run(ctx context.Context, items []Item, contestants []Contestant, opt Options) (*Report, error) {
	if err := checkInput(items, contestants); err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	if opt.Samples == 0 {
		opt.Samples = 2
	}
	all := make([]answers, len(contestants))
	for i := range contestants {
		var err error
		if all[i], err = contestants[i].answer(ctx, items, opt.OnProgress); err != nil {
			return nil, fmt.Errorf("evaluate %s: %w", contestants[i].Name, err)
		}
	}
	return compare(items, contestants, all, opt)
}

func checkInput(items []Item, contestants []Contestant) error {
	if len(items) == 0 {
		return errors.New("there are no held-out problems")
	}
	if len(contestants) == 0 {
		return errors.New("there is no contestant")
	}
	teachers := 0
	names, files := map[string]bool{}, map[string]string{}
	for _, c := range contestants {
		if names[c.Name] {
			return fmt.Errorf("two contestants are called %q", c.Name)
		}
		names[c.Name] = true
		if other, taken := files[c.File]; taken && c.File != "" {
			return fmt.Errorf("contestants %s and %s share the results file %s", other, c.Name, c.File)
		}
		files[c.File] = c.Name
		if c.Teacher {
			teachers++
		}
		if c.Asker == nil && c.File == "" || c.Asker != nil && c.Request == nil {
			return fmt.Errorf("contestant %s needs an asker with requests, or a results file", c.Name)
		}
	}
	if teachers > 1 {
		return errors.New("more than one contestant is the teacher")
	}
	seen := map[string]bool{}
	for _, it := range items {
		k := it.Source + "\x00" + it.Problem.ID
		if seen[k] {
			return fmt.Errorf("source %s has problem %s twice", it.Source, it.Problem.ID)
		}
		seen[k] = true
	}
	return nil
}

// answers are a contestant's results in the order of the items; nil where
// there is none.
type answers []*Result

// answer returns a contestant's results, asking what is not known.
func (c *Contestant) answer(ctx context.Context, items []Item, onProgress func(Progress)) (answers, error) {
	store, err := openStore(c.File, c.Asker == nil)
	if err != nil {
		return nil, err
	}
	defer store.close()
	if c.Asker == nil {
		return store.answersTo(items), nil
	}
	out := make(answers, len(items))
	requests := make([]exchange.Request, len(items))
	progress := Progress{Contestant: c.Name, Total: len(items)}
	for i, it := range items {
		var key exchange.Key
		if requests[i], err = c.Request(it); err == nil {
			key, err = requests[i].Key()
		}
		if err != nil {
			return nil, fmt.Errorf("request for problem %s: %w", it.Problem.ID, err)
		}
		if r := store.lookup(key, it); r != nil {
			out[i] = r
			progress.count(r)
			progress.Reused++
		}
	}
	if onProgress != nil {
		onProgress(progress)
	}
	err = c.askMissing(ctx, items, requests, out, func(i int, r *Result) error {
		progress.count(r)
		if onProgress != nil {
			onProgress(progress)
		}
		return store.add(r)
	})
	if err != nil {
		return nil, err
	}
	return out, store.finish(out)
}

func (p *Progress) count(r *Result) {
	p.Done++
	if r.Correct {
		p.Right++
	}
	p.Cost.Add(r.Cost)
}

// askMissing fills the gaps in out; done is called for each result, one at a
// time.
func (c *Contestant) askMissing(ctx context.Context, items []Item, requests []exchange.Request, out answers, done func(int, *Result) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range max(1, c.Concurrency) {
		workers.Go(func() {
			for i := range next {
				x, err := c.Asker.Ask(ctx, requests[i])
				r, err := judge(items[i], requests[i], x, err)
				if err == nil && r != nil {
					mu.Lock()
					out[i] = r
					err = done(i, r)
					mu.Unlock()
				}
				if err != nil {
					cancel(fmt.Errorf("problem %s: %w", items[i].Problem.ID, err))
				}
			}
		})
	}
	func() {
		defer close(next)
		for i := range items {
			if out[i] != nil { // workers write only what was handed to them
				continue
			}
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	workers.Wait()
	return context.Cause(ctx)
}

// judge turns what came of asking into a result: nil without an error if this
// problem stays unanswered.
func judge(it Item, req exchange.Request, x *exchange.Exchange, err error) (*Result, error) {
	if err != nil || x == nil || !x.OK() {
		var failed *exchange.Error
		switch {
		case errors.As(err, &failed) && !failed.Class.Fatal() && failed.Class != exchange.ClassCancelled:
			return nil, nil
		case err != nil:
			return nil, err
		case x == nil:
			return nil, errors.New("the asker returned nothing")
		}
		return nil, nil
	}
	key, err := req.Key()
	if err != nil {
		return nil, err
	}
	r := &Result{
		Source: it.Source, Family: it.Problem.Family, Problem: it.Problem.ID, Key: key, Exchange: x.ID,
		Reasoning: x.Answer.Reasoning, Content: x.Answer.Content, FinishReason: x.Answer.FinishReason,
		Usage: x.Usage, Cost: x.Cost,
	}
	r.verify(it)
	return r, nil
}

// verify judges the answer by the item's task; results that were kept are
// judged again, so that a corrected verifier reaches them.
func (r *Result) verify(it Item) {
	v := it.Task.Verify(it.Problem, r.Content)
	r.Correct, r.Verdict, r.Answer = v.Correct, v.Reason, v.Answer
	if r.Correct && r.FinishReason == "length" {
		r.Correct, r.Verdict = false, VerdictCut
	}
}

// VerdictCut is the verdict on an answer that would be right, had it come to an
// end: what a model writes until it is stopped holds many a digit.
const VerdictCut = "cut"
