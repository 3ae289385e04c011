package terms

import "slices"

// Counted is how many rows of a dataset came from a source under a terms row.
type Counted struct {
	ID     string // of the terms row
	Rows   int
	Source string // "" if several, or not known
}

// Explanation says which document decides over mixed sources.
type Explanation struct {
	Use     Use       `json:"use"`
	Parts   []Part    `json:"parts"`
	Actions []Decided `json:"actions"` // one for each action, in order
	Note    string    `json:"note"`
}

// Part is what one document says about its share of the rows.
type Part struct {
	Row      Row                `json:"row"`
	Source   string             `json:"source,omitempty"`
	Rows     int                `json:"rows"`
	Known    bool               `json:"known"` // whether the registry has the row
	Verdicts map[Action]Verdict `json:"verdicts"`
}

// Decided is the outcome for one action: the strictest of the parts'.
type Decided struct {
	Action      Action       `json:"action"`
	Decision    Decision     `json:"decision"`
	By          []string     `json:"by"` // the rows that are as strict as that
	Reason      string       `json:"reason"`
	Obligations []Obligation `json:"obligations,omitempty"`
}

// Explain says for each source which document governs it and, for each action,
// which of them decided: the strictest. Overrides are taken into account.
func Explain(g *Registry, rows []Counted, use Use, overrides ...Override) Explanation {
	e := Explanation{Use: use, Note: Disclaimer}
	for _, c := range rows {
		p := Part{Source: c.Source, Rows: c.Rows, Known: true, Verdicts: map[Action]Verdict{}}
		var err error
		if p.Row, err = g.Row(c.ID); err != nil {
			p.Row, p.Known = Row{ID: c.ID, Basis: "none", Default: Review, Reason: "no document is known by this name here"}, false
		}
		for _, a := range Actions {
			v, err := g.Decide(p.Row, use, a, overrides)
			if err != nil {
				v = Gate(p.Row, use, a)
			}
			p.Verdicts[a] = v
		}
		e.Parts = append(e.Parts, p)
	}
	for _, a := range Actions {
		e.Actions = append(e.Actions, e.decide(a))
	}
	return e
}

func strictness(d Decision) int { return slices.Index([]Decision{Allow, Review, Block}, d) }

func (e *Explanation) decide(a Action) Decided {
	d := Decided{Action: a, Decision: Allow}
	for _, p := range e.Parts {
		v := p.Verdicts[a]
		switch {
		case strictness(v.Decision) > strictness(d.Decision) || len(d.By) == 0:
			d.Decision, d.By, d.Reason = v.Decision, []string{p.Row.ID}, v.Reason
		case v.Decision == d.Decision && !slices.Contains(d.By, p.Row.ID):
			d.By = append(d.By, p.Row.ID)
		}
		for _, o := range v.Obligations {
			if !slices.Contains(d.Obligations, o) {
				d.Obligations = append(d.Obligations, o)
			}
		}
	}
	return d
}
