package recipe

import (
	"context"
	"fmt"
	"io"
	"math"
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
	// Spent is what earlier goes of this run have cost. Once is what the New
	// questions cost at most if each is answered at its first attempt; Worst
	// is what cannot be exceeded whatever happens: the budget that is left, or
	// every question that there is, at every attempt, if that is less.
	Spent float64 `json:"spent_usd"`
	Once  float64 `json:"once_usd"`
	Worst float64 `json:"worst_usd"`
	// Expected, Interval and Seconds are those of Estimate; nil where no
	// question of the recipe has been answered yet.
	Expected *float64       `json:"expected_usd"`
	Interval *[2]float64    `json:"expected_ci95"`
	Seconds  *float64       `json:"seconds"`
	Estimate *Estimate      `json:"estimate"`
	Budget   *float64       `json:"budget_usd"`
	Example  map[string]any `json:"example"` // one request, as it would be sent

	file string // of the recipe
}

// PlanSource is one prompt source of a Plan.
type PlanSource struct {
	Name     string `json:"name"`
	Train    int    `json:"train"` // examples wanted; of a file, questions
	Heldout  int    `json:"heldout"`
	Samples  int    `json:"samples"` // answers asked for each training prompt
	Reused   int    `json:"reused"`
	New      int    `json:"new"`
	Imported bool   `json:"imported,omitempty"`
	// Served is what a gateway recorded; nil of other sources.
	Served *PlanServed `json:"served,omitempty"`
}

// MakePlan looks at the recipe and the ledger.
func MakePlan(ctx context.Context, rec *Recipe, ws *workspace.Workspace, progress *report.Progress) (*Plan, error) {
	r, err := newRun(ctx, rec, Options{Workspace: ws, Progress: progress})
	if err != nil {
		return nil, err
	}
	reader, err := segment.OpenReader(ws.Path("ledger"), segment.Option{OnDamage: r.damaged})
	if err != nil {
		return nil, err
	}
	if r.held, err = r.read(ctx, reader, func(exchange.Pico) {}); err != nil {
		return nil, err
	}
	return r.plan(ctx)
}

// plan makes the plan of a run whose ledger has been read.
func (r *run) plan(ctx context.Context) (*Plan, error) {
	p := &Plan{Run: r.name, Teacher: r.teacherName(), Price: r.priceText(), Budget: r.Budget.USD, Spent: r.held.account.cost.USD(), file: r.src.File()}
	if r.teacher.asked() {
		p.Teacher += ", model " + r.teacher.model
	}
	for i, row := range r.rows() {
		if i > 0 {
			p.Terms += "; "
		}
		v, err := r.decide(row, "collect")
		if err != nil {
			return nil, err
		}
		p.Terms += row.ID + ": " + v.Basis
	}
	if err := p.count(r); err != nil {
		return nil, err
	}
	if !r.teacher.asked() {
		return p, nil
	}
	e, err := r.estimate(ctx)
	if err != nil {
		return nil, err
	}
	if e != nil {
		if e.Asks == 0 { // every answer and every verdict is known
			p.Worst = 0
		}
		e.limit(p.Worst)
		p.Estimate, p.Expected, p.Seconds = e, &e.USD, &e.Seconds
		if !e.Borrowed {
			p.Interval = &e.CI
		}
	}
	return p, nil
}

// limit keeps a prediction within what cannot be exceeded.
func (e *Estimate) limit(worst float64) {
	e.USD, e.CI[0], e.CI[1] = min(e.USD, worst), min(e.CI[0], worst), min(e.CI[1], worst)
}

// count goes through every question that the recipe is sure to ask, and bounds
// all that it may.
func (p *Plan) count(r *run) error {
	template, err := r.request(r.teacher)
	if err != nil {
		return err
	}
	var once, every exchange.PicoSum
	bounded := true
	seen := map[exchange.Key]bool{}
	one := func(q question, row *PlanSource, sure bool) error {
		key, err := q.request.Key()
		if err != nil || seen[key] {
			return err
		}
		seen[key] = true
		if p.Example == nil {
			p.Example = map[string]any{"model": q.request.Model, "messages": q.request.Messages, "params": q.request.Params, "max_tokens": q.request.MaxTokens, "prompt_key": key}
		}
		if x := r.held.answers.answers[key]; x != nil && x.OK() {
			row.Reused++
			return nil
		}
		worst := r.teacher.price.WorstOf(q.request, 1)
		for range r.Teacher.Limits.Attempts {
			every.Add(worst)
		}
		if sure {
			row.New++
			once.Add(worst)
		}
		return nil
	}
	for i := range r.sources {
		s := &r.sources[i]
		row := PlanSource{Name: s.name, Train: s.want, Heldout: len(s.split.Heldout), Samples: s.samples}
		if s.want < 0 {
			row.Train = s.all * s.samples
		}
		if s.given != nil {
			row.Imported, row.Served = s.given.file != nil, s.given.plan()
			p.Sources = append(p.Sources, row)
			continue
		}
		bounded = bounded && s.all >= 0
		for _, problem := range s.split.Heldout {
			if err := one(r.question(template, s, problem, stageEval, 0), &row, true); err != nil {
				return err
			}
		}
		n := 0
		for q := range r.questions(template, s) {
			if s.all < 0 && n == s.want {
				break
			}
			n++
			if err := one(q, &row, s.want < 0 || n <= s.want); err != nil {
				return err
			}
		}
		p.Reused += row.Reused
		p.New += row.New
		p.Sources = append(p.Sources, row)
	}
	p.Once, p.Worst = once.USD(), every.USD()
	if !bounded {
		p.Worst = math.Inf(1)
	}
	left := 0.0 // without a budget nothing may be charged
	if p.Budget != nil {
		left = max(0, *p.Budget-p.Spent)
	}
	p.Worst = min(p.Worst, left)
	return nil
}

// Print writes the plan for people.
func (p *Plan) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "source\ttraining\theld out\tin the ledger\tnew\t\n")
	for _, s := range p.Sources {
		if s.Imported || s.Served != nil {
			how := "imported"
			if s.Served != nil {
				how = familyServed
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\t\n", s.Name, report.FormatCount(int64(s.Train)), report.FormatCount(int64(s.Heldout)), how)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", s.Name, report.FormatCount(int64(s.Train)), report.FormatCount(int64(s.Heldout)), report.FormatCount(int64(s.Reused)), report.FormatCount(int64(s.New)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range p.Sources {
		if s.Served != nil {
			s.Served.print(w, s.Name)
		}
	}
	fmt.Fprintf(w, "\nrun      %s\nteacher  %s\nterms    %s\nprice    %s\n", p.Run, p.Teacher, p.Terms, p.Price)
	if p.nothing() {
		fmt.Fprintf(w, "asks     nothing: %s questions are answered in the ledger\ncost     $0\n", report.FormatCount(int64(p.Reused)))
	} else {
		fmt.Fprintf(w, "asks     %s new questions, and as many more as answers are refused; %s are answered in the ledger and cost nothing\n",
			report.FormatCount(int64(p.New)), report.FormatCount(int64(p.Reused)))
		p.printCost(w)
	}
	fmt.Fprintf(w, "spent    %s so far", report.FormatUSD(p.Spent))
	if p.Budget != nil {
		fmt.Fprintf(w, " of a budget of %s", report.FormatUSD(*p.Budget))
	}
	fmt.Fprintln(w)
	if p.Budget != nil && !p.nothing() {
		p.printWarning(w)
	}
	return nil
}

func (p *Plan) printCost(w io.Writer) {
	fmt.Fprintf(w, "cost     at most %s", report.FormatUSD(p.Worst))
	if p.Budget != nil && p.Worst >= *p.Budget-p.Spent {
		fmt.Fprint(w, ", where the budget ends")
	}
	fmt.Fprintf(w, "; %s if every new question is answered once and at full length\n", report.FormatUSD(p.Once))
	if e := p.Estimate; e != nil && e.Borrowed {
		fmt.Fprintf(w, "expected about %s, and %s of asking, going by this teacher's %s answers to other questions\n         how far this may be off is known after: retort run --sample 20 %s\n",
			report.FormatUSD(e.USD), report.FormatDuration(time.Duration(e.Seconds*float64(time.Second))), report.FormatCount(int64(e.Answers)), p.file)
	} else if e != nil {
		fmt.Fprintf(w, "expected %s (95%%: %s to %s) for %s questions, and %s of asking, going by %s answers to this recipe's questions\n",
			report.FormatUSD(e.USD), report.FormatUSD(e.CI[0]), report.FormatUSD(e.CI[1]), report.FormatCount(int64(math.Round(e.Asks))),
			report.FormatDuration(time.Duration(e.Seconds*float64(time.Second))), report.FormatCount(int64(e.Answers)))
		if e.Need > 0 {
			fmt.Fprintf(w, "         an estimate to within a tenth needs about %s answers: retort run --sample %d %s\n", report.FormatCount(int64(e.Need)), e.Need, p.file)
		}
	} else if p.New > 0 {
		fmt.Fprintf(w, "expected not known before some questions are answered: retort run --sample 20 %s asks twenty first, and keeps their answers\n", p.file)
	}
}

// nothing reports whether it is sure that nothing will be asked.
func (p *Plan) nothing() bool { return p.New == 0 && (p.Estimate == nil || p.Estimate.Asks == 0) }

// printWarning says what happens where the budget does not hold it all.
func (p *Plan) printWarning(w io.Writer) {
	switch {
	case p.Expected != nil && p.Spent+*p.Expected > *p.Budget:
		fmt.Fprintln(w, "         the expected cost exceeds the budget: the run stops there, and resumes when the budget is raised")
	case p.Spent+p.Once > *p.Budget:
		fmt.Fprintln(w, "         the worst case exceeds the budget: the run stops there if it comes to it, and resumes when the budget is raised")
	}
}
