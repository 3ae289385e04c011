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
// An Obligation is what whoever goes on has to do: a name, a notice, a copy of a
// licence. CheckObligations holds a model against them. An Override is a named
// person's or organisation's statement that something else than the row is their
// basis; it lets one row pass for the actions that it lists, and travels with
// whatever it let pass. A user's own agreement is a Row like any other, read from
// a file by LoadAgreement and added with Registry.With. Explain says of mixed
// sources which document decides.
//
// It asks no network, and it does not know contracts that it was not told of.
// docs/formats/terms.md describes the files.
//
// Errors: *RefusedError where the gate does not let something pass,
// *ObligationError where a model lacks what it owes, *AgreementError for a file
// that holds no agreement, ErrUnknownRow where a recipe names a row that there
// is not.
package terms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Disclaimer is what every command says below what it prints of a row.
const Disclaimer = "This describes documents as they were read on the dates given; it is not legal advice."

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

// Actions are all that is done with answers, in that order.
var Actions = []Action{Collect, Curate, Export}

func (a Action) known() bool { return a == Adapt || slices.Contains(Actions, a) }

// Use is what the student is for, as the recipe states it.
type Use struct {
	Purpose     string `json:"purpose"`     // such as "extract" or "classify"; "" for general use
	Distributed bool   `json:"distributed"` // whether the model leaves the organisation that trains it
}

// String says the use in words.
func (u Use) String() string {
	s := "for general use"
	if u.Purpose != "" {
		s = "to " + u.Purpose
	}
	if u.Distributed {
		return s + ", distributed to others"
	}
	return s + ", not distributed"
}

// Row is what one document says.
type Row struct {
	ID          string       `json:"id" yaml:"id"`
	Provider    string       `json:"provider" yaml:"provider"`                 // whose document it is
	Document    string       `json:"document" yaml:"document"`                 // its name
	URL         string       `json:"url,omitempty" yaml:"url"`                 // where it is published: host and path
	Read        string       `json:"read" yaml:"read"`                         // the day on which it was read, YYYY-MM-DD
	Via         string       `json:"via,omitempty" yaml:"via"`                 // how, if not at its source
	Basis       string       `json:"basis" yaml:"basis"`                       // what an allowance rests on: terms, licence, own server, agreement
	Says        string       `json:"says" yaml:"says"`                         // in a sentence
	Default     Decision     `json:"default" yaml:"default"`                   // where no rule applies
	Reason      string       `json:"reason" yaml:"reason"`                     // of the default
	Rules       []Rule       `json:"rules,omitempty" yaml:"rules"`             // the first that applies decides
	Obligations []Obligation `json:"obligations,omitempty" yaml:"obligations"` // what who may go on must do
	Expires     string       `json:"expires,omitempty" yaml:"expires"`         // last day on which it can be relied on, YYYY-MM-DD; "" if it does not end
	Hosts       []string     `json:"hosts,omitempty" yaml:"hosts"`             // API hosts that the document governs, with their subdomains
	Models      []string     `json:"models,omitempty" yaml:"models"`           // beginnings of model names, in lower case, without an organisation before a slash
	Anywhere    bool         `json:"anywhere,omitempty" yaml:"anywhere"`       // Models decide whatever the host; otherwise only on a server of one's own
	Licences    []string     `json:"licences,omitempty" yaml:"licences"`       // as the files of a base model name its licence, in lower case
	SHA256      string       `json:"sha256,omitempty" yaml:"-"`                // of the file that an agreement of one's own was read from
}

// Rule is an exception from a row's default.
type Rule struct {
	Actions     []Action `json:"actions,omitempty" yaml:"actions"`         // any, if empty
	Purposes    []string `json:"purposes,omitempty" yaml:"purposes"`       // any, if empty
	Distributed *bool    `json:"distributed,omitempty" yaml:"distributed"` // either, if nil
	Decision    Decision `json:"decision" yaml:"decision"`
	Reason      string   `json:"reason" yaml:"reason"`
}

func (r Rule) applies(use Use, action Action) bool {
	return (len(r.Actions) == 0 || slices.Contains(r.Actions, action)) &&
		(len(r.Purposes) == 0 || slices.ContainsFunc(r.Purposes, func(p string) bool { return strings.EqualFold(p, use.Purpose) })) &&
		(r.Distributed == nil || *r.Distributed == use.Distributed)
}

// Verdict is what the gate says about one row, use and action.
type Verdict struct {
	Decision    Decision     `json:"decision"`
	RowID       string       `json:"row"`
	Basis       string       `json:"basis"` // recorded with every exchange: on what it was allowed
	Reason      string       `json:"reason"`
	Obligations []Obligation `json:"obligations,omitempty"` // those of the row that are due for the use
	// Override is what let it pass where the row itself did not; nil otherwise.
	Override *Override `json:"override,omitempty"`
}

// Gate decides whether an action may go on under a row today.
func Gate(row Row, use Use, action Action) Verdict { return GateAt(row, use, action, time.Now()) }

// GateAt is Gate at a given time. A row that has expired needs a person's
// review.
func GateAt(row Row, use Use, action Action, at time.Time) Verdict {
	v := Verdict{Decision: row.Default, RowID: row.ID, Reason: row.Reason, Obligations: Due(row.Obligations, use)}
	for _, rule := range row.Rules {
		if rule.applies(use, action) {
			v.Decision, v.Reason = rule.Decision, rule.Reason
			break
		}
	}
	if v.Decision == Allow && row.Expires != "" && at.UTC().Format(time.DateOnly) > row.Expires {
		v.Decision, v.Reason = Review, "the basis expired on "+row.Expires
	}
	v.Basis = row.basis()
	return v
}

func (r Row) basis() string {
	s := r.Basis
	if r.Document != "" {
		s += ": " + r.Document
	}
	if r.Read != "" {
		s += ", read " + r.Read
	}
	if r.SHA256 != "" {
		s += ", sha256 " + r.SHA256
	}
	return s
}

// RefusedError says that the gate did not let an action pass.
type RefusedError struct {
	Action  Action
	Row     Row
	Verdict Verdict
}

// Error implements error. It has several lines: what, why, what to do.
func (e *RefusedError) Error() string {
	did := map[Action]string{Collect: "collecting its answers", Curate: "training on its answers", Export: "exporting a model trained on its answers", Adapt: "adapting its weights"}[e.Action]
	var b strings.Builder
	fmt.Fprintf(&b, "terms: %s is not allowed to pass (%s, row %q): %s.\n", did, e.Verdict.Decision, e.Row.ID, strings.TrimSuffix(e.Verdict.Reason, "."))
	if e.Row.Document != "" {
		fmt.Fprintf(&b, "  %s (%s) says: %s\n", e.Row.Document, strings.Join(nonEmpty(e.Row.URL, "read "+e.Row.Read), ", "), e.Row.Says)
	}
	for _, line := range e.next() {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	b.WriteString("  " + Disclaimer)
	return b.String()
}

// next says what a user can do, in lines.
func (e *RefusedError) next() []string {
	if e.Row.ID == unknownID && e.Action == Adapt {
		return []string{
			"If you know which licence it is under, say so in the recipe: `student: {terms: ROW}`; `retort terms list` shows the rows.",
			"Or describe an agreement of your own in a file, and name it there and in `terms: {agreements: [FILE]}`.",
		}
	}
	if e.Row.ID == unknownID {
		return []string{
			"If you know which document governs it, say so in the recipe: `teacher: {terms: ROW}`; `retort terms list` shows the rows.",
			"Or describe an agreement of your own in a file, and name it: `terms: {agreements: [FILE]}`.",
		}
	}
	way := "Choose a teacher whose terms allow it. Or, if an agreement of your own says otherwise, name it in the recipe:"
	if e.Verdict.Decision == Review {
		way = "If a person has decided that it may, or an agreement of your own says so, name that in the recipe:"
	}
	rest := []string{string(e.Action)} // what comes after the action would be refused next
	for _, a := range Actions[slices.Index(Actions, e.Action)+1:] {
		if e.Action != Adapt {
			rest = append(rest, string(a))
		}
	}
	return []string{
		way,
		fmt.Sprintf("  terms: {overrides: [{row: %s, actions: [%s], basis: \"AGREEMENT AND SECTION\", by: WHO}]}", e.Row.ID, strings.Join(rest, ", ")),
		fmt.Sprintf("Ledger and model card will say so. `retort terms show %s` says more of the document.", e.Row.ID),
	}
}

func nonEmpty(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" || s == "read " })
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

// validate reports what is wrong with a row, wherever it came from.
func (r Row) validate() error {
	if r.ID == "" || r.Basis == "" || r.Reason == "" {
		return fmt.Errorf("terms row %q: id, basis and reason must be given", r.ID)
	}
	if r.ID == unknownID {
		return fmt.Errorf("terms row %q: that name is taken for what no row governs", r.ID)
	}
	if err := r.Default.validate(); err != nil {
		return fmt.Errorf("terms row %q: %w", r.ID, err)
	}
	for i, rule := range r.Rules {
		if err := rule.validate(); err != nil {
			return fmt.Errorf("terms row %q: rule %d: %w", r.ID, i+1, err)
		}
	}
	for i, o := range r.Obligations {
		if err := o.validate(); err != nil {
			return fmt.Errorf("terms row %q: obligation %d: %w", r.ID, i+1, err)
		}
	}
	for _, day := range []struct{ key, value string }{{"read", r.Read}, {"expires", r.Expires}} {
		if _, err := time.Parse(time.DateOnly, day.value); day.value != "" && err != nil {
			return fmt.Errorf("terms row %q: %s %q is not a day such as 2027-01-31", r.ID, day.key, day.value)
		}
	}
	return nil
}

func (d Decision) validate() error {
	if d != Allow && d != Review && d != Block {
		return fmt.Errorf("decision %q is not one of allow, review, block", d)
	}
	return nil
}

func (r Rule) validate() error {
	if r.Reason == "" {
		return errors.New("its reason must be given")
	}
	for _, a := range r.Actions {
		if !a.known() {
			return fmt.Errorf("action %q is not one of collect, curate, export, adapt", a)
		}
	}
	return r.Decision.validate()
}
