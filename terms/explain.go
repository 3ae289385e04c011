package terms

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Counted is how many rows of a dataset came from a source under a terms row.
type Counted struct {
	ID     string // of the terms row
	Rows   int
	Source string // "" if several, or not known
}

// Explanation says which document decides over mixed sources.
type Explanation struct {
	Use     Use       `json:"use"`
	Rows    int       `json:"rows"`
	Parts   []Part    `json:"parts"`
	Actions []Decided `json:"actions"` // one for each action, in their order
	Note    string    `json:"note"`    // Disclaimer
}

// Part is what one document says about its share of the rows.
type Part struct {
	Row      Row                `json:"row"`
	Known    bool               `json:"known"` // whether the registry has the row
	Source   string             `json:"source,omitempty"`
	Rows     int                `json:"rows"`
	Verdicts map[Action]Verdict `json:"verdicts"`
}

// Decided is the outcome for one action: the strictest of the parts'.
type Decided struct {
	Action      Action       `json:"action"`
	Decision    Decision     `json:"decision"`
	By          []string     `json:"by"` // the rows that are as strict as that
	Reason      string       `json:"reason"`
	Obligations []Obligation `json:"obligations,omitempty"` // of all parts: each has to be met
}

// Explain says for each source which document governs it and, for each action,
// which of them decides: the strictest, and among equals the first. Overrides
// are taken into account. A row that the registry lacks needs a person's
// review.
func Explain(g *Registry, rows []Counted, use Use, overrides ...Override) Explanation {
	e := Explanation{Use: use, Note: Disclaimer, Parts: []Part{}}
	for _, c := range rows {
		p := Part{Source: c.Source, Rows: c.Rows, Known: true, Verdicts: map[Action]Verdict{}}
		var err error
		if p.Row, err = g.Row(c.ID); err != nil {
			p.Known = false
			p.Row = Row{ID: c.ID, Basis: "none", Default: Review, Reason: "no document is known here by the name of " + c.ID}
		}
		for _, a := range Actions {
			v, err := g.Decide(p.Row, use, a, overrides)
			if err != nil {
				v = Gate(p.Row, use, a) // without overrides that cannot stand
			}
			p.Verdicts[a] = v
		}
		e.Rows += c.Rows
		e.Parts = append(e.Parts, p)
	}
	for _, a := range Actions {
		e.Actions = append(e.Actions, e.decide(a))
	}
	return e
}

func strictness(d Decision) int { return slices.Index([]Decision{Allow, Review, Block}, d) }

func (e *Explanation) decide(a Action) Decided {
	d := Decided{Action: a, Decision: Allow, By: []string{}}
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

// String is the explanation for people, ending in a line break.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows; %s\n", e.Rows, e.Use)
	for i, p := range e.Parts {
		same := func(q Part) bool { return q.Row.ID == p.Row.ID }
		if slices.IndexFunc(e.Parts, same) < i {
			continue
		}
		rows, sources := 0, []string{}
		for _, q := range e.Parts {
			if same(q) {
				rows += q.Rows
				sources = append(sources, fmt.Sprintf("%d from %s", q.Rows, cmp.Or(q.Source, "a source that is not named")))
			}
		}
		fmt.Fprintf(&b, "\n%d rows under %s\n", rows, p.Row.ID)
		entry(&b, "sources", strings.Join(sources, ", "))
		p.describe(&b)
	}
	b.WriteString("\nTaken together:\n")
	for i, d := range e.Actions {
		if i > 0 && same(d, e.Actions[i-1]) {
			continue
		}
		actions := []string{string(d.Action)}
		for _, next := range e.Actions[i+1:] {
			if !same(next, d) {
				break
			}
			actions = append(actions, string(next.Action))
		}
		fmt.Fprintf(&b, "  %s: %s", strings.Join(actions, ", "), d.Decision)
		switch {
		case len(d.By) > 1 && d.Decision == Allow:
			b.WriteString(": every document lets it pass")
		case len(d.By) > 0:
			fmt.Fprintf(&b, ", decided by %s: %s", strings.Join(d.By, ", "), d.Reason)
		}
		b.WriteByte('\n')
	}
	if obs := e.Actions[len(e.Actions)-1].Obligations; len(obs) > 0 {
		b.WriteString("\nObligations of the exported model:\n")
		for _, o := range obs {
			fmt.Fprintf(&b, "  - %s\n", o.Text)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", e.Note)
	return b.String()
}

func (p Part) describe(b *strings.Builder) {
	p.Row.describe(b)
	var said []string
	for _, a := range Actions {
		s := fmt.Sprintf("%s %s", a, p.Verdicts[a].Decision)
		if p.Verdicts[a].Override != nil {
			s += " (overridden)"
		}
		said = append(said, s)
	}
	entry(b, "decides", strings.Join(said, ", "))
	for i, a := range Actions {
		if o := p.Verdicts[a].Override; o != nil && (i == 0 || p.Verdicts[Actions[i-1]].Override == nil) {
			entry(b, "override", strings.TrimPrefix(p.Verdicts[a].Basis, "override: "))
		}
	}
	if !p.Known {
		entry(b, "note", p.Row.Reason)
	}
}

// String is the row for people: its document, what it says, decides and asks
// for, ending in a line break.
func (r Row) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.ID)
	r.describe(&b)
	entry(&b, "default", string(r.Default)+": "+r.Reason)
	for _, rule := range r.Rules {
		entry(&b, "rule", rule.String())
	}
	for _, o := range r.Obligations {
		text := o.Text
		if o.Distributed {
			text += " (if the model is distributed)"
		}
		entry(&b, "obliges", text)
	}
	if r.Expires != "" {
		entry(&b, "expires", r.Expires)
	}
	entry(&b, "hosts", strings.Join(r.Hosts, ", "))
	models := strings.Join(r.Models, ", ")
	if models != "" && !r.Anywhere {
		models += " (on a server of your own)"
	}
	entry(&b, "models", models)
	return b.String()
}

// String is the rule in words.
func (r Rule) String() string {
	var when []string
	if len(r.Actions) > 0 {
		var list []string
		for _, a := range r.Actions {
			list = append(list, string(a))
		}
		when = append(when, strings.Join(list, " or "))
	}
	if len(r.Purposes) > 0 {
		when = append(when, "to "+strings.Join(r.Purposes, ", "))
	}
	if r.Distributed != nil {
		when = append(when, map[bool]string{true: "distributed", false: "not distributed"}[*r.Distributed])
	}
	if when == nil {
		when = []string{"always"}
	}
	return fmt.Sprintf("%s: %s: %s", strings.Join(when, "; "), r.Decision, r.Reason)
}

// describe writes which document a row is about.
func (r Row) describe(b *strings.Builder) {
	entry(b, "document", r.Document)
	entry(b, "address", r.URL)
	entry(b, "read", r.Read)
	entry(b, "how", r.Via)
	entry(b, "sha256", r.SHA256)
	entry(b, "says", r.Says)
}

// width is how wide an entry's text is, in characters, after its indented name.
const width = 88

// entry writes a name and a text beside it, in lines of a width.
func entry(b *strings.Builder, name, text string) {
	var line string
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintf(b, "  %-9s %s\n", name, line)
			name, line = "", ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	if line != "" {
		fmt.Fprintf(b, "  %-9s %s\n", name, line)
	}
}

func same(a, b Decided) bool {
	return a.Decision == b.Decision && a.Reason == b.Reason && slices.Equal(a.By, b.By)
}
