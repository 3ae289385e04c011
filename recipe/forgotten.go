package recipe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"retort/exchange"
	"retort/report"
	"retort/student/eval"
	"retort/student/serve"
	"retort/student/train"
	"retort/teach/task"
	"retort/workspace"
)

// familyGeneral are eval.General's questions.
const familyGeneral = "general"

// untaughtAnswer bounds an answer to a problem that was not taught, in tokens: a
// model that does not know when to end must not take all the time there is.
const untaughtAnswer = 256

// forgottenFile is where the evaluation leaves what the student forgot.
const forgottenFile = "forgotten.json"

// forgotten compares the student with its base: on the answers that it was taught
// to give, and on what it was not taught. Of families of problems the right answers
// count, of given answers how likely each model finds them.
type forgotten struct {
	Taught     []eval.Perplexity `json:"taught"` // one, or none without held-out answers
	Families   []eval.Row        `json:"families"`
	Perplexity []eval.Perplexity `json:"perplexity"`
}

// references are given answers, rendered, of one entry of the recipe.
type references struct {
	name   string
	tokens [][]int32
	from   []int // where each answer begins
	taught bool  // the teacher's own, to held-out problems
}

// untaught is what the recipe asks beside what it teaches.
type untaught struct {
	items      []eval.Item
	references []references
}

// count of answers that a model gives or judges.
func (u untaught) count() int {
	n := len(u.items)
	for _, ref := range u.references {
		n += len(ref.tokens)
	}
	return n
}

// besides is what a student with a base and that base are asked beside the held-out
// problems: to judge the teacher's answers to these, and what was not taught.
func (r *run) besides(ctx context.Context) (untaught, error) {
	if r.base == nil {
		return untaught{}, nil
	}
	asked, err := r.untaught()
	if err != nil {
		return asked, err
	}
	held, err := r.heldoutSequences(ctx, watched)
	if err != nil {
		return asked, err
	}
	if ref := r.heldoutReference(held); len(ref.tokens) > 0 {
		asked.references = append(asked.references, ref)
	}
	return asked, nil
}

// measureForgotten puts to the student and its base what they are asked besides.
func (r *run) measureForgotten(ctx context.Context, asked untaught, count *evalCounter) error {
	if asked.count() == 0 {
		return nil
	}
	who, err := r.studentCandidate()
	if err != nil {
		return err
	}
	student, studentLosses, err := r.remembers(ctx, "student", who, asked, count)
	if err != nil {
		return err
	}
	if who, err = r.baseCandidate(); err != nil {
		return err
	}
	base, baseLosses, err := r.remembers(ctx, againstBase, who, asked, count)
	if err != nil {
		return err
	}
	var out forgotten
	if len(asked.items) > 0 {
		found, err := eval.Run(ctx, asked.items, []eval.Contestant{student, base}, eval.Options{Seed: r.Seed})
		if err != nil {
			return err
		}
		for _, row := range found.Comparisons[0].Rows {
			if row.Family != eval.Overall {
				out.Families = append(out.Families, row)
			}
		}
	}
	for i, ref := range asked.references {
		p, err := eval.ComparePerplexity(ref.name, studentLosses[i], baseLosses[i], r.Seed)
		if err != nil {
			return err
		}
		if ref.taught {
			out.Taught = append(out.Taught, p)
		} else {
			out.Perplexity = append(out.Perplexity, p)
		}
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return workspace.WriteFileAtomic(filepath.Join(r.dir, forgottenFile), raw, 0o644)
}

// heldoutReference are the teacher's held-out answers as given ones.
func (r *run) heldoutReference(held []train.Sequence) references {
	ref := references{name: "the teacher's held-out answers", taught: true}
	for _, s := range held {
		if len(s.Tokens) <= r.Student.Context {
			ref.tokens, ref.from = append(ref.tokens, s.Tokens), append(ref.from, s.ResponseFrom)
		}
	}
	return ref
}

// untaught makes what the recipe asks beside what it teaches.
func (r *run) untaught() (untaught, error) {
	var out untaught
	if r.Eval.Forgotten == nil {
		return out, nil
	}
	for i, f := range *r.Eval.Forgotten {
		path := at("eval.forgotten", i)
		if f.Family == familyGeneral {
			all := eval.General()
			ref, err := r.reference(f.Family, all[:min(f.Count, len(all))])
			if err != nil {
				return out, err
			}
			out.references = append(out.references, ref)
			continue
		}
		if f.File != "" {
			ref, err := r.fileReference(path, f)
			if err != nil {
				return out, err
			}
			out.references = append(out.references, ref)
			continue
		}
		family, err := task.New(f.Family, f.Params)
		if err != nil {
			return out, r.src.errorf(path, "%v", err)
		}
		split, err := task.NewSplit(family, r.Seed+uint64(i)<<32, f.Count)
		if err != nil {
			return out, r.src.errorf(path+".count", "%v", err)
		}
		for _, p := range split.Heldout {
			out.items = append(out.items, eval.Item{Source: f.Family, Task: family, Problem: p, Measure: eval.Accuracy})
		}
	}
	return out, nil
}

// fileReference are the answers that a file of the user's gives.
func (r *run) fileReference(path string, f Forgotten) (references, error) {
	corpus, err := task.File(r.File(f.File), task.FileOptions{Field: f.Field, Gold: f.Gold})
	if err != nil {
		return references{}, r.src.errorf(path+".file", "%v", err)
	}
	split, err := corpus.Split(r.Seed, f.Count)
	if err != nil {
		return references{}, r.src.errorf(path+".count", "%v", err)
	}
	var all []eval.Reference
	for _, p := range split.Heldout {
		all = append(all, eval.Reference{ID: p.ID, Prompt: p.Prompt, Answer: cmp.Or(p.Answer, string(p.Gold))})
	}
	return r.reference(filepath.Base(f.File), all)
}

// reference renders given answers. Those that the context cannot hold are left out.
func (r *run) reference(name string, all []eval.Reference) (references, error) {
	ref := references{name: name}
	for _, x := range all {
		ids, from, err := r.format.Example([]exchange.Message{{Role: "user", Content: x.Prompt}}, "", x.Answer)
		if err != nil {
			return ref, fmt.Errorf("%s, question %s: %w", name, x.ID, err)
		}
		if len(ids) <= r.Student.Context {
			ref.tokens, ref.from = append(ref.tokens, ids), append(ref.from, from)
		}
	}
	if len(ref.tokens) == 0 {
		return ref, fmt.Errorf("%s: none of %d questions and answers fits the student's context of %d tokens", name, len(all), r.Student.Context)
	}
	return ref, nil
}

// remembers has a model answer what is asked, and returns it as a contestant that
// has answered, with its mean loss on each given answer.
func (r *run) remembers(ctx context.Context, name string, who candidate, asked untaught, count *evalCounter) (c eval.Contestant, losses [][]float64, err error) {
	defer who.done()
	e, err := r.engine(name, &who)
	if err != nil {
		return c, nil, err
	}
	defer e.Close()
	for _, ref := range asked.references {
		counted := fmt.Sprintf("%s on %s", name, ref.name)
		loss, err := scores(ctx, e, name, ref, func(done int) { count.set(counted, done, counted) })
		if err != nil {
			return c, nil, fmt.Errorf("%s on %s: %w", name, ref.name, err)
		}
		losses = append(losses, loss)
	}
	if len(asked.items) == 0 {
		return c, losses, nil
	}
	c, err = r.answered(ctx, asked.items, respondent{
		engine: e, name: name, endpoint: who.endpoint(), file: resultsPath(r.dir, "forgotten-"+name), longest: min(untaughtAnswer, r.Student.Context),
		reads: func(it eval.Item) []exchange.Message { return it.Problem.StudentMessages() },
	}, eval.Options{Seed: r.Seed, OnProgress: func(p eval.Progress) {
		counted := name + " on what was not taught"
		count.set(counted, p.Done, fmt.Sprintf("%s: %s right", counted, report.FormatCount(int64(p.Right))))
	}})
	return c, losses, err
}

// scores are a model's losses on given answers, each a mean over its tokens. It tells
// on how many there are.
func scores(ctx context.Context, e *serve.Engine, name string, ref references, on func(done int)) ([]float64, error) {
	out := make([]float64, len(ref.tokens))
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * evalSlots)
	for i, ids := range ref.tokens {
		g.Go(func() error {
			logprobs, err := e.Score(ctx, name, ids)
			if err != nil {
				return err
			}
			said := logprobs[ref.from[i]-1:]
			for _, p := range said {
				out[i] -= p / float64(len(said))
			}
			on(int(done.Add(1)))
			return nil
		})
	}
	return out, g.Wait()
}

// loadForgotten brings back what the student forgot, in the report's words.
func (r *run) loadForgotten() error {
	var f forgotten
	if found, err := readJSON(filepath.Join(r.dir, forgottenFile), &f); err != nil || !found {
		return err
	}
	row := func(p eval.Perplexity) report.BaseRow {
		return report.BaseRow{What: p.Family, N: p.N, Measure: report.Perplexity, Student: p.Student, Base: p.Other, Change: p.Ratio, ChangeCI: p.RatioCI}
	}
	for _, p := range f.Taught {
		r.report.Taught = append(r.report.Taught, row(p))
	}
	for _, p := range f.Perplexity {
		r.report.Forgotten = append(r.report.Forgotten, row(p))
	}
	for _, row := range f.Families {
		r.report.Forgotten = append(r.report.Forgotten, report.BaseRow{
			What: row.Family, N: row.N, Measure: report.Accuracy, Student: row.Student, Base: row.Other, Change: row.Diff, ChangeCI: row.DiffCI,
		})
	}
	return nil
}
