package recipe

import (
	"context"
	"os"
	"slices"
	"strings"

	"retort/ledger"
	"retort/terms"
)

// beforeExport is what of it decides a run's result: agreements, and overrides
// that let something be collected or curated. nil if nothing does.
func (t *Terms) beforeExport() *Terms {
	if t == nil {
		return nil
	}
	out := Terms{Agreements: t.Agreements}
	for _, o := range t.Overrides {
		if slices.Contains(o.Actions, terms.Collect) || slices.Contains(o.Actions, terms.Curate) {
			out.Overrides = append(out.Overrides, o)
		}
	}
	if out.Agreements == nil && out.Overrides == nil {
		return nil
	}
	return &out
}

// registry is the program's terms rows with the recipe's own agreements.
func (r *Recipe) registry() (*terms.Registry, error) {
	g := terms.Default()
	if r.Terms == nil {
		return g, nil
	}
	for i, name := range r.Terms.Agreements {
		row, _, err := terms.LoadAgreement(r.File(name))
		if err != nil {
			return nil, r.src.errorf(at("terms.agreements", i), "%v", err)
		}
		if g, err = g.With(row); err != nil {
			return nil, r.src.errorf(at("terms.agreements", i), "%v", err)
		}
	}
	return g, nil
}

func (r *Recipe) overrides() []terms.Override {
	if r.Terms == nil {
		return nil
	}
	return r.Terms.Overrides
}

func (r *Recipe) use() terms.Use {
	return terms.Use{Purpose: r.Use.Purpose, Distributed: r.Use.Distributed}
}

// decide asks the gate about an action under a row.
func (r *Recipe) decide(row terms.Row, action terms.Action) (terms.Verdict, error) {
	g, err := r.registry()
	if err != nil {
		return terms.Verdict{}, err
	}
	return g.Decide(row, r.use(), action, r.overrides())
}

// gate is the terms gate of a run. It remembers which overrides have let
// something pass.
type gate struct {
	recipe   *Recipe
	registry *terms.Registry
	decided  map[gateKey]gateAnswer
	used     []terms.Override // in the order of their first use
}

type gateKey struct {
	row    string
	action terms.Action
}

type gateAnswer struct {
	verdict terms.Verdict
	err     error
}

func (r *Recipe) newGate() (*gate, error) {
	g, err := r.registry()
	return &gate{recipe: r, registry: g, decided: map[gateKey]gateAnswer{}}, err
}

// ask asks whether what was obtained under a terms row may be used for an
// action. Answers that the ledger already held may come from another row than
// today's.
func (g *gate) ask(id string, action terms.Action) (terms.Verdict, error) {
	key := gateKey{id, action}
	if a, ok := g.decided[key]; ok {
		return a.verdict, a.err
	}
	var a gateAnswer
	var row terms.Row
	if row, a.err = g.registry.Row(id); a.err == nil {
		a.verdict, a.err = g.registry.Decide(row, g.recipe.use(), action, g.recipe.overrides())
	}
	g.note(a.verdict.Override)
	g.decided[key] = a
	return a.verdict, a.err
}

// note remembers an override that has let something pass.
func (g *gate) note(o *terms.Override) {
	if o != nil && !slices.ContainsFunc(g.used, func(u terms.Override) bool { return sameOverride(u, *o) }) {
		g.used = append(g.used, *o)
	}
}

func sameOverride(a, b terms.Override) bool {
	return a.Row == b.Row && a.Basis == b.Basis && a.By == b.By && slices.Equal(a.Actions, b.Actions)
}

// overrideKey tells overrides apart that a run has recorded.
func overrideKey(o ledger.Override) string {
	return strings.Join([]string{o.Row, strings.Join(o.Actions, ","), o.Basis, o.By}, "\x00")
}

// recordOverrides writes the overrides that have let something pass, once for
// each run.
func (r *run) recordOverrides(ctx context.Context) error {
	for _, u := range r.gate.used {
		o := ledger.Override{Run: r.name, Row: u.Row, Basis: u.Basis, By: u.By, Use: ledger.Use{Purpose: r.Use.Purpose, Distributed: r.Use.Distributed}}
		for _, a := range u.Actions {
			o.Actions = append(o.Actions, string(a))
		}
		if r.held.overrides[overrideKey(o)] {
			continue
		}
		rec, err := ledger.NewOverride(o)
		if err != nil {
			return err
		}
		if err := r.store.Append(ctx, rec); err != nil {
			return err
		}
		r.held.overrides[overrideKey(o)] = true
	}
	return nil
}

// shown is what the recipe says that a model of it shows to whoever receives
// it.
func (r *Recipe) shown(teachers []string) (terms.Model, error) {
	m := terms.Model{Name: r.Name, Teachers: teachers}
	if r.Model == nil {
		return m, nil
	}
	if r.Model.Name != "" {
		m.Name = r.Model.Name
	}
	m.License = r.Model.License
	for i, n := range r.Model.Notices {
		text := n.Text
		if n.File != "" {
			raw, err := os.ReadFile(r.File(n.File))
			if err != nil {
				return m, r.src.errorf(at("model.notices", i)+".file", "%v", err)
			}
			text = string(raw)
		}
		m.Notices = append(m.Notices, text)
	}
	return m, nil
}

// rows are the terms rows that the recipe's answers are obtained under.
func (r *run) rows() []terms.Row {
	var out []terms.Row
	if r.teacher.asked() {
		out = append(out, r.teacher.terms)
	}
	for _, s := range r.sources {
		if s.given == nil {
			continue
		}
		for _, v := range s.given.verdicts {
			row, err := r.gate.registry.Row(v.RowID)
			if err == nil && !slices.ContainsFunc(out, func(o terms.Row) bool { return o.ID == row.ID }) {
				out = append(out, row)
			}
		}
	}
	return out
}

// checkObligations holds what the model will show against what the terms rows
// ask for: before anything is paid for, and again at export.
func (r *run) checkObligations(rows []terms.Row) error {
	var due []terms.Obligation
	for _, row := range rows {
		due = append(due, terms.Due(row.Obligations, r.use())...)
	}
	m, err := r.shown(r.teacherModels())
	if err != nil {
		return err
	}
	return terms.CheckObligations(due, m)
}

// teacherModels are the names of the models whose answers are learned from.
func (r *run) teacherModels() []string {
	var out []string
	if r.teacher.asked() {
		out = append(out, r.teacher.model)
	}
	for _, s := range r.sources {
		if s.given != nil {
			out = append(out, s.given.models...)
		}
	}
	return out
}
