package recipe

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"retort/exchange"
	"retort/report"
	"retort/student/eval"
	"retort/teach/verify"
	"retort/workspace"
)

// heldoutFile is where the evaluation leaves what each verifier found on the
// held-out problems.
const heldoutFile = "verifiers.json"

// judgeHeldout counts what each verifier found about the student's and the
// teacher's answers to held-out problems, where right answers may be known, and
// records the verdicts on the teacher's.
func (r *run) judgeHeldout(ctx context.Context) error {
	var out report.HeldoutVerifiers
	var err error
	if out.Student, err = r.judgeStudent(ctx); err != nil {
		return err
	}
	if out.Teacher, err = r.judgeTeacher(ctx); err != nil {
		return err
	}
	if err := r.recordVerdicts(ctx); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return workspace.WriteFileAtomic(filepath.Join(r.dir, heldoutFile), raw, 0o644)
}

// outcomes counts checks by verifier.
type outcomes map[string]*report.Verifier

func (o outcomes) count(verifier, outcome string) {
	v := o[verifier]
	if v == nil {
		v = &report.Verifier{Name: verifier}
		o[verifier] = v
	}
	switch outcome {
	case verify.Pass:
		v.Pass++
	case verify.Fail:
		v.Fail++
	case verify.Skip:
		v.Skip++
	default:
		v.Error++
	}
}

// list puts the counts into the recipe's order.
func (o outcomes) list(names []string) []report.Verifier {
	var out []report.Verifier
	for _, name := range names {
		if v := o[name]; v != nil {
			out = append(out, *v)
		}
	}
	return out
}

func (r *run) judgeStudent(ctx context.Context) ([]report.Verifier, error) {
	results, err := eval.LoadResults(resultsPath(r.dir, "student"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type slot struct{ source, problem string }
	answers := map[slot]exchange.Answer{}
	for _, x := range results {
		answers[slot{x.Source, x.Problem}] = exchange.Answer{Reasoning: x.Reasoning, Content: x.Content, FinishReason: x.FinishReason}
	}
	found := outcomes{}
	for i := range r.sources {
		s := &r.sources[i]
		for _, p := range s.split.Heldout {
			a, ok := answers[slot{s.name, p.ID}]
			if !ok {
				continue
			}
			for _, c := range r.verifiers.Judge(ctx, verify.In{Task: s.task, Problem: p, Messages: s.reads(p), Answer: a}).Checks {
				found.count(c.Verifier, c.Outcome)
			}
		}
	}
	return found.list(r.verifiers.Names()), nil
}

func (r *run) judgeTeacher(ctx context.Context) ([]report.Verifier, error) {
	template, err := r.request(r.teacher)
	if err != nil {
		return nil, err
	}
	found := outcomes{}
	for i := range r.sources {
		s := &r.sources[i]
		for _, p := range s.split.Heldout {
			x, err := r.asker.Ask(ctx, r.question(template, s, p, stageEval, 0).request) // it was asked before training
			if err != nil && !r.refusable(ctx, err) {
				return nil, err
			}
			if err != nil {
				continue
			}
			for _, c := range r.judge(ctx, s, p, x).checks {
				found.count(c.Verifier, c.Outcome)
			}
		}
	}
	return found.list(r.verifiers.Names()), nil
}
