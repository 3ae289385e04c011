// Package terms knows what a provider or a model's licence allows to be done
// with its answers, and holds the gate that collection, curation and export
// ask before they go on.
//
// A row describes a document: which one, where, when it was read, what it says
// in a sentence, and what follows from that for each action. It is a
// description and not legal advice; documents change, and a row may be out of
// date or may not fit a user's own contract. Every refusal says so, and how to
// state another basis.
//
// It reads no files and asks no network. A user's own agreement is a Row like
// any other, added with Registry.With; its JSON form is what an agreement file
// holds.
//
// Errors: *RefusedError where the gate does not let something pass;
// ErrUnknownRow where a recipe names a row that there is not.
package terms

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Decision is what the gate says.
type Decision string

// The decisions. Only Allow lets something pass.
const (
	Allow  Decision = "allow"
	Review Decision = "review" // a person must decide and state the basis
	Block  Decision = "block"
)

// Action is what is about to be done with a teacher's answers.
type Action string

// The actions, in the order in which a run comes to them.
const (
	Collect Action = "collect" // ask the teacher
	Curate  Action = "curate"  // make its answers into training examples
	Export  Action = "export"  // write out a model that was trained on them
)

// Use is what the student is for, as the recipe states it.
type Use struct {
	Purpose     string // such as "extract" or "classify"; "" for general use
	Distributed bool   // whether the model leaves the organisation that trains it
}

// Row is what one document says.
type Row struct {
	ID          string   `json:"id"`
	Provider    string   `json:"provider"`           // whose document it is
	Document    string   `json:"document"`           // its name
	URL         string   `json:"url,omitempty"`      // where it is published: host and path
	Read        string   `json:"read"`               // the day on which it was read, YYYY-MM-DD
	Via         string   `json:"via,omitempty"`      // how, if not at its source
	Basis       string   `json:"basis"`              // what an allowance rests on: terms, licence, own server, agreement
	Says        string   `json:"says"`               // in a sentence
	Default     Decision `json:"default"`            // where no rule applies
	Reason      string   `json:"reason"`             // of the default
	Rules       []Rule   `json:"rules,omitempty"`    // the first that applies decides
	Obligations []string `json:"obligations"`        // what who may go on must do
	Expires     string   `json:"expires,omitempty"`  // last day on which it can be relied on, YYYY-MM-DD; "" if it does not end
	Hosts       []string `json:"hosts,omitempty"`    // API hosts that the document governs, with their subdomains
	Models      []string `json:"models,omitempty"`   // beginnings of model names, in lower case, without an organisation before a slash
	Anywhere    bool     `json:"anywhere,omitempty"` // Models decide whatever the host; otherwise only on a server of one's own
}

// Rule is an exception from a row's default.
type Rule struct {
	Actions     []Action `json:"actions,omitempty"`     // any, if empty
	Purposes    []string `json:"purposes,omitempty"`    // any, if empty
	Distributed *bool    `json:"distributed,omitempty"` // either, if nil
	Decision    Decision `json:"decision"`
	Reason      string   `json:"reason"`
}

func (r Rule) applies(use Use, action Action) bool {
	return (len(r.Actions) == 0 || slices.Contains(r.Actions, action)) &&
		(len(r.Purposes) == 0 || slices.Contains(r.Purposes, strings.ToLower(use.Purpose))) &&
		(r.Distributed == nil || *r.Distributed == use.Distributed)
}

// Verdict is what the gate says about one row, use and action.
type Verdict struct {
	Decision    Decision `json:"decision"`
	RowID       string   `json:"row"`
	Basis       string   `json:"basis"` // recorded with every exchange: on what it was allowed
	Reason      string   `json:"reason"`
	Obligations []string `json:"obligations,omitempty"`
}

// Gate decides whether an action may go on under a row today.
func Gate(row Row, use Use, action Action) Verdict { return GateAt(row, use, action, time.Now()) }

// GateAt is Gate at a given time. A row that has expired needs a person's
// review.
func GateAt(row Row, use Use, action Action, at time.Time) Verdict {
	v := Verdict{Decision: row.Default, RowID: row.ID, Reason: row.Reason, Obligations: slices.Clone(row.Obligations)}
	for _, rule := range row.Rules {
		if rule.applies(use, action) {
			v.Decision, v.Reason = rule.Decision, rule.Reason
			break
		}
	}
	if v.Decision == Allow && row.Expires != "" && at.UTC().Format(time.DateOnly) > row.Expires {
		v.Decision, v.Reason = Review, "the basis expired on "+row.Expires
	}
	v.Basis = row.Basis
	if row.Document != "" {
		v.Basis += ": " + row.Document
	}
	if row.Read != "" {
		v.Basis += ", read " + row.Read
	}
	return v
}

// RefusedError says that the gate did not let an action pass.
type RefusedError struct {
	Action  Action
	Row     Row
	Verdict Verdict
}

// Error implements error.
func (e *RefusedError) Error() string {
	did := map[Action]string{Collect: "collecting its answers", Curate: "training on its answers", Export: "exporting a model trained on its answers"}[e.Action]
	var b strings.Builder
	fmt.Fprintf(&b, "terms: %s is not allowed to pass (%s, row %q): %s.", did, e.Verdict.Decision, e.Row.ID, strings.TrimSuffix(e.Verdict.Reason, "."))
	if e.Row.Document != "" {
		fmt.Fprintf(&b, " %s (%s, read %s) says: %s", e.Row.Document, e.Row.URL, e.Row.Read, e.Row.Says)
	}
	switch e.Verdict.Decision {
	case Review:
		b.WriteString(" If you know on what basis you may do this, state it in the recipe: `teacher: {terms: ROW}` with ROW one of " + strings.Join(IDs(), ", ") + ".")
	default:
		b.WriteString(" Choose a teacher whose terms allow it.")
	}
	b.WriteString(" This describes a document and is not legal advice.")
	return b.String()
}

// Require is Gate for callers that stop unless it allows: the error is a
// *RefusedError.
func Require(row Row, use Use, action Action) (Verdict, error) {
	v := Gate(row, use, action)
	if v.Decision != Allow {
		return v, &RefusedError{Action: action, Row: row, Verdict: v}
	}
	return v, nil
}

// ErrUnknownRow says that a recipe names a row that the registry lacks.
var ErrUnknownRow = errors.New("there is no such terms row")

// Source says where answers come from, for finding the row that governs them.
type Source struct {
	Row      string // the row that the recipe states; "" to find it from the rest
	Provider string
	BaseURL  string
	Model    string
}

// Registry is a set of rows. It is immutable.
type Registry struct {
	rows []Row
}

// NewRegistry makes a registry. Rows are looked through in the given order.
func NewRegistry(rows ...Row) (*Registry, error) {
	g := &Registry{}
	for _, r := range rows {
		if err := r.validate(); err != nil {
			return nil, err
		}
		if _, err := time.Parse(time.DateOnly, r.Expires); r.Expires != "" && err != nil {
			return nil, fmt.Errorf("terms row %q: expires %q is not a day such as 2027-01-31", r.ID, r.Expires)
		}
		if _, ok := g.byID(r.ID); ok {
			return nil, fmt.Errorf("terms: two rows are called %q", r.ID)
		}
		g.rows = append(g.rows, r)
	}
	return g, nil
}

// With returns a registry that has further rows, such as a user's own
// agreements.
func (g *Registry) With(rows ...Row) (*Registry, error) {
	return NewRegistry(slices.Concat(g.rows, rows)...)
}

func (r Row) validate() error {
	decisions := []Decision{r.Default}
	for _, rule := range r.Rules {
		decisions = append(decisions, rule.Decision)
	}
	for _, d := range decisions {
		if d != Allow && d != Review && d != Block {
			return fmt.Errorf("terms row %q: decision %q is not one of allow, review, block", r.ID, d)
		}
	}
	if r.ID == "" || r.Basis == "" || r.Reason == "" {
		return fmt.Errorf("terms row %q: id, basis and reason must be given", r.ID)
	}
	return nil
}

// Rows returns all rows.
func (g *Registry) Rows() []Row { return slices.Clone(g.rows) }

func (g *Registry) byID(id string) (Row, bool) {
	for _, r := range g.rows {
		if r.ID == id {
			return r, true
		}
	}
	return Row{}, false
}

// Lookup finds the row that governs a source. A row that the recipe states is
// taken, unless the address or the model is governed by another provider's
// document: a statement cannot set that aside. What is known from nothing gets
// a row whose decision is Review.
func (g *Registry) Lookup(s Source) (Row, error) {
	found, known := g.find(s)
	if s.Row == "" {
		if !known {
			found = unknown(s)
		}
		return found, nil
	}
	stated, ok := g.byID(s.Row)
	if !ok {
		ids := make([]string, len(g.rows))
		for i, r := range g.rows {
			ids[i] = r.ID
		}
		return Row{}, fmt.Errorf("terms row %q: %w; rows are %s", s.Row, ErrUnknownRow, strings.Join(ids, ", "))
	}
	if known && found.ID != stated.ID && found.Default == Block && !slices.Contains(stated.Hosts, host(s.BaseURL)) {
		return Row{}, fmt.Errorf("terms row %q does not apply: %s is governed by row %q (%s)", stated.ID, s.describe(), found.ID, found.Document)
	}
	return stated, nil
}

// find returns the row that the source itself points to. Rows that refuse are
// looked at first, and a model's row before its host's.
func (g *Registry) find(s Source) (Row, bool) {
	name := strings.ToLower(s.Model)
	name = name[strings.LastIndexByte(name, '/')+1:]
	h, own := host(s.BaseURL), isOwn(s)
	matches := []func(Row) bool{
		func(r Row) bool { return r.Anywhere && hasPrefix(name, r.Models) },
		func(r Row) bool { return h != "" && onHost(h, r.Hosts) },
		func(r Row) bool { return s.Provider != "" && s.Provider == r.Provider },
		func(r Row) bool { return own && hasPrefix(name, r.Models) },
		func(r Row) bool { return own && r.ID == SelfHosted },
	}
	for _, match := range matches {
		for _, r := range g.rows {
			if match(r) {
				return r, true
			}
		}
	}
	return Row{}, false
}

func (s Source) describe() string {
	return fmt.Sprintf("model %q at %s", s.Model, s.BaseURL)
}

func unknown(s Source) Row {
	return Row{
		ID: "unknown", Provider: s.Provider, Basis: "none", Default: Review,
		Reason: fmt.Sprintf("nothing is known about the terms of %s", s.describe()),
	}
}

// hasPrefix reports whether the name begins with one of the prefixes and goes
// on, if it does, with neither letter nor digit.
func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		rest, ok := strings.CutPrefix(name, p)
		return ok && (rest == "" || !(rest[0] >= 'a' && rest[0] <= 'z' || rest[0] >= '0' && rest[0] <= '9'))
	})
}

func onHost(h string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(x string) bool { return h == x || strings.HasSuffix(h, "."+x) })
}

// isOwn reports whether the address is one's own machine.
func isOwn(s Source) bool {
	h := host(s.BaseURL)
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.IsLoopback()
}

func host(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}
