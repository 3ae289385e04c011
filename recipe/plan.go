package recipe

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"retort/exchange"
	"retort/ledger/segment"
	"retort/report"
	"retort/workspace"
)

// Plan says what a recipe would send and what it can cost, without sending
// anything.
type Plan struct {
	Run     string       `json:"run"`
	Teacher string       `json:"teacher"`
	Terms   string       `json:"terms"`
	Price   string       `json:"price"`
	Sources []PlanSource `json:"sources"`
	// Reused questions have their answer in the ledger; New ones would be
	// asked. More are asked where answers are refused.
	Reused int `json:"reused"`
	New    int `json:"new"`
	// Spent is what earlier goes of this run have cost, Worst the most that
	// its New questions can, Expected what they will if they are like the
	// answers that the ledger has (nil if it has none).
	Spent    float64  `json:"spent_usd"`
	Worst    float64  `json:"worst_usd"`
	Expected *float64 `json:"expected_usd"`
	Budget   *float64 `json:"budget_usd"`
	// Seconds of asking, from the answers that the ledger has (nil if none).
	Seconds *float64       `json:"seconds"`
	Example map[string]any `json:"example"` // one request, as it would be sent

	budgetBinds bool
}

// PlanSource is one prompt source of a Plan.
type PlanSource struct {
	Name    string `json:"name"`
	Train   int    `json:"train"`
	Heldout int    `json:"heldout"`
	Reused  int    `json:"reused"`
}

// MakePlan looks at the recipe and the ledger.
func MakePlan(ctx context.Context, rec *Recipe, ws *workspace.Workspace, progress *report.Progress) (*Plan, error) {
	r, err := newRun(rec, Options{Workspace: ws, Progress: progress})
	if err != nil {
		return nil, err
	}
	reader, err := segment.OpenReader(ws.Path("ledger"), segment.Option{OnDamage: r.damaged})
	if err != nil {
		return nil, err
	}
	answers, acc, err := r.read(ctx, reader, func(exchange.Pico) {})
	if err != nil {
		return nil, err
	}
	p := &Plan{Run: r.name, Teacher: r.teacherName() + ", model " + r.teacher.model, Terms: r.teacher.terms.ID + ": " + r.teacher.basis,
		Price: r.priceText(), Budget: r.Budget.USD, Spent: acc.cost.USD()}
	if err := p.count(r, answers); err != nil {
		return nil, err
	}
	p.budgetBinds = p.Budget != nil && p.Spent+p.Worst > *p.Budget
	p.predict(r, answers)
	return p, nil
}

// count goes through every question that the recipe is sure to ask.
func (p *Plan) count(r *run, answers recorded) error {
	template, err := r.request(r.teacher)
	if err != nil {
		return err
	}
	var worst exchange.PicoSum
	one := func(q question) (reused bool, err error) {
		key, err := q.request.Key()
		if err != nil {
			return false, err
		}
		if p.Example == nil {
			p.Example = map[string]any{"model": q.request.Model, "messages": q.request.Messages, "params": q.request.Params, "max_tokens": q.request.MaxTokens, "prompt_key": key}
		}
		if x := answers.answers[key]; x != nil && x.OK() {
			p.Reused++
			return true, nil
		}
		p.New++
		worst.Add(r.teacher.price.WorstOf(q.request, 1))
		return false, nil
	}
	for i := range r.sources {
		s := &r.sources[i]
		row := PlanSource{Name: s.name, Heldout: len(s.split.Heldout)}
		for _, h := range s.split.Heldout {
			reused, err := one(r.ask(template, s, h, stageEval))
			if err != nil {
				return err
			}
			if reused {
				row.Reused++
			}
		}
		for t := range s.split.Train {
			if s.want >= 0 && row.Train == s.want {
				break
			}
			row.Train++
			reused, err := one(r.ask(template, s, t, stageCollect))
			if err != nil {
				return err
			}
			if reused {
				row.Reused++
			}
		}
		p.Sources = append(p.Sources, row)
	}
	p.Worst = worst.USD()
	return nil
}

// predict extends what this teacher's answers have cost and taken so far.
func (p *Plan) predict(r *run, answers recorded) {
	var cost exchange.PicoSum
	var took time.Duration
	n := 0
	for _, x := range answers.answers {
		if x.OK() && x.ModelAsked == r.teacher.model {
			cost.Add(x.Cost)
			took += time.Duration(x.Times.LastByte - x.Times.Sent)
			n++
		}
	}
	if n == 0 {
		return
	}
	expected := cost.USD() / float64(n) * float64(p.New)
	seconds := took.Seconds() / float64(n) * float64(p.New) / float64(r.Teacher.Limits.Concurrent)
	p.Expected, p.Seconds = &expected, &seconds
}

// Print writes the plan for people.
func (p *Plan) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "source\ttraining\theld out\tin the ledger\t\n")
	for _, s := range p.Sources {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", s.Name, report.FormatCount(int64(s.Train)), report.FormatCount(int64(s.Heldout)), report.FormatCount(int64(s.Reused)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nrun      %s\nteacher  %s\nterms    %s\nprice    %s\n", p.Run, p.Teacher, p.Terms, p.Price)
	fmt.Fprintf(w, "asks     %s new questions, and as many more as answers are refused; %s are answered in the ledger and cost nothing\n",
		report.FormatCount(int64(p.New)), report.FormatCount(int64(p.Reused)))
	fmt.Fprintf(w, "cost     at most %s", report.FormatUSD(p.Worst))
	if p.Expected != nil {
		fmt.Fprintf(w, ", expected %s and %s of asking, going by the answers in the ledger", report.FormatUSD(*p.Expected), report.FormatDuration(time.Duration(*p.Seconds*float64(time.Second))))
	}
	fmt.Fprintf(w, "; %s spent so far", report.FormatUSD(p.Spent))
	if p.Budget != nil {
		fmt.Fprintf(w, " of a budget of %s", report.FormatUSD(*p.Budget))
	}
	fmt.Fprintln(w)
	if p.budgetBinds {
		fmt.Fprintln(w, "         the worst case exceeds the budget: the run stops there if it comes to it, and resumes when the budget is raised")
	}
	return nil
}
