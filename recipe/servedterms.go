package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"retort/exchange"
	"retort/report"
	"retort/teach/collect"
	"retort/teach/dataset"
	"retort/terms"
)

// servedTerm is the terms row of some exchanges, and on what basis they pass.
type servedTerm struct {
	row   terms.Row
	basis string
	from  *servedHead // the first of them
	n     int
}

// servedTerms finds the terms row of each exchange, by its upstream's address and
// by the models asked and answered, and asks the gate about every one.
func (r *Recipe) servedTerms(g *given, picked []*servedHead, i int) (map[exchange.ID]*servedTerm, error) {
	path, stated := at("prompts", i), r.Prompts[i].Terms
	registry, err := r.registry()
	if err != nil {
		return nil, err
	}
	type from struct{ endpoint, model, answered string }
	known := map[from]*servedTerm{}
	out := make(map[exchange.ID]*servedTerm, len(picked))
	var rows []*servedTerm
	for _, h := range picked {
		f := from{h.endpoint, h.model, h.answered}
		t := known[f]
		if t == nil {
			row, err := servedRow(registry, stated, f.endpoint, f.model, f.answered)
			if err != nil {
				return nil, r.src.errorf(path+".terms", "%v", err)
			}
			if k := slices.IndexFunc(rows, func(t *servedTerm) bool { return t.row.ID == row.ID }); k >= 0 {
				t = rows[k]
			} else {
				t = &servedTerm{row: row, from: h}
				rows = append(rows, t)
			}
			known[f] = t
			g.served.teacher(f.endpoint, f.model)
		}
		t.n++
		out[h.id] = t
		g.answeredBy(cmp.Or(h.answered, h.model))
		g.served.answered(h)
	}
	var refusals []error
	for _, t := range rows {
		v, err := r.decide(t.row, terms.Collect)
		var refused *terms.RefusedError
		switch {
		case errors.As(err, &refused):
			where := r.src.errorf(path+".served", "%s of the exchanges came under terms that hold them back, such as of model %q at %s; `terms: ROW` beside served states another row, and `served: {model: …}` leaves models out",
				report.FormatCount(int64(t.n)), t.from.model, t.from.endpoint)
			refusals = append(refusals, fmt.Errorf("%v\n%w", where, err))
			continue
		case err != nil:
			return nil, err
		}
		t.basis = v.Basis
		g.verdicts = append(g.verdicts, v)
	}
	return out, errors.Join(refusals...)
}

// servedRow finds the row of an exchange. What the model that answered is called
// counts beside what was asked for: an upstream may have names of its own. It
// decides where the other name tells nothing, or less strictly.
func servedRow(g *terms.Registry, stated, endpoint, asked, answered string) (terms.Row, error) {
	source := terms.Source{Row: stated, Provider: collect.ProviderOf(endpoint), BaseURL: endpoint, Model: asked}
	row, err := g.Lookup(source)
	if err != nil || answered == "" || answered == asked {
		return row, err
	}
	source.Model = answered
	other, err := g.Lookup(source)
	if err != nil || other.ID == row.ID || !inRegistry(g, other) {
		return row, err
	}
	if !inRegistry(g, row) || row.ID == terms.SelfHosted || row.Default == terms.Allow && other.Default != terms.Allow {
		return other, nil
	}
	return row, nil
}

// inRegistry tells a document's row from that of what is known from nothing.
func inRegistry(g *terms.Registry, row terms.Row) bool {
	_, err := g.Row(row.ID)
	return err == nil
}

// answeredBy notes the name of a model that answered.
func (g *given) answeredBy(model string) {
	if model != "" && !slices.Contains(g.models, model) {
		g.models = append(g.models, model)
	}
}

// teacher notes a model that was asked.
func (in *servedSource) teacher(endpoint, model string) {
	if !slices.ContainsFunc(in.teachers, func(t dataset.Teacher) bool { return t.Endpoint == endpoint && t.Model == model }) {
		in.teachers = append(in.teachers, dataset.Teacher{Provider: collect.ProviderOf(endpoint), Endpoint: endpoint, Model: model})
	}
}

// answered notes what a model that was asked calls itself.
func (in *servedSource) answered(h *servedHead) {
	for i := range in.teachers {
		t := &in.teachers[i]
		if t.Endpoint == h.endpoint && t.Model == h.model && h.answered != "" && !slices.Contains(t.Answered, h.answered) {
			t.Answered = append(t.Answered, h.answered)
		}
	}
}
