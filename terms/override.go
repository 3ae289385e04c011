package terms

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Override is a statement that something else than a row's document is the
// basis for going on, such as a contract or a provider's written consent. It is
// recorded wherever it let something pass: in the ledger, in the dataset's
// passport, in the model's passport and on the model card.
type Override struct {
	Row     string   `json:"row" yaml:"row" jsonschema_description:"the terms row that is overridden, as retort terms list names it"`
	Actions []Action `json:"actions" yaml:"actions" jsonschema_description:"what it lets pass: collect, curate, export; of a base, adapt"`
	Basis   string   `json:"basis" yaml:"basis" jsonschema_description:"on what it rests, named so that another person can look it up: a contract and its section, a letter and its date"`
	By      string   `json:"by,omitempty" yaml:"by" jsonschema_description:"who decided"`

	// Said and Reason are what the row itself decided, and why. Decide fills
	// them in; a recipe does not.
	Said   Decision `json:"said,omitempty" yaml:"-"`
	Reason string   `json:"reason,omitempty" yaml:"-"`
}

// Check reports what is wrong with an override as a recipe states it. Rows that
// the registry lacks give ErrUnknownRow.
func (g *Registry) Check(o Override) error {
	if _, err := g.Row(o.Row); err != nil {
		return err
	}
	if len(o.Actions) == 0 {
		return fmt.Errorf("the override of terms row %q lists no actions; say which it is for, such as `actions: [collect, curate, export]`", o.Row)
	}
	for _, a := range o.Actions {
		if !a.known() {
			return fmt.Errorf("the override of terms row %q: action %q is not one of collect, curate, export, adapt", o.Row, a)
		}
	}
	if !named(o.Basis) {
		return fmt.Errorf("the override of terms row %q needs a basis that another person can look up, such as `basis: \"Agreement 2026-17, section 4\"`; it has %q", o.Row, o.Basis)
	}
	return nil
}

// named reports whether a basis could name something: it has six letters or
// digits at least.
func named(basis string) bool {
	n := 0
	for _, r := range basis {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			n++
		}
	}
	return n >= 6
}

// Decide is Require with overrides: where the row does not allow the action, the
// first override for that row and action lets it pass. Verdict.Override then
// says which, and Verdict.Basis names its basis. The error is a *RefusedError,
// or says which override cannot stand.
func (g *Registry) Decide(row Row, use Use, action Action, overrides []Override) (Verdict, error) {
	for _, o := range overrides {
		if err := g.Check(o); err != nil {
			return Verdict{}, err
		}
	}
	v, err := Require(row, use, action)
	if err == nil {
		return v, nil
	}
	for _, o := range overrides {
		if o.Row != row.ID || !slices.Contains(o.Actions, action) {
			continue
		}
		o.Said, o.Reason = v.Decision, v.Reason
		v.Override, v.Decision = &o, Allow
		v.Basis = "override: " + strings.TrimSpace(o.Basis)
		if o.By != "" {
			v.Basis += ", by " + o.By
		}
		v.Reason = fmt.Sprintf("the row says %s (%s); overridden on the basis of: %s", o.Said, o.Reason, strings.TrimSpace(o.Basis))
		return v, nil
	}
	return v, err
}

// Consent of the people whose prompts a source holds.
const (
	ConsentRecorded = "recorded"
	ConsentNone     = "none"
	ConsentUnknown  = "unknown"
)

// People are those whose prompts a source of served or imported conversations
// holds: a source of its own beside the provider's terms.
type People struct {
	Source  string `json:"source"`
	Rows    int    `json:"rows"`
	Consent string `json:"consent"`         // ConsentRecorded, ConsentNone or ConsentUnknown
	Basis   string `json:"basis,omitempty"` // where the consent is recorded, or on what else it rests
}
