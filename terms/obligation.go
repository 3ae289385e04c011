package terms

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The kinds of obligation.
const (
	NamePrefix  = "name_prefix" // the model's name begins with Value
	Notice      = "notice"      // one of the model's notices holds Value
	Licence     = "licence"     // one of the model's notices is a copy of the licence whose title is Value
	Attribution = "attribution" // the card names Value: as a teacher, in a notice or in the model's name
	Duty        = "duty"        // Text alone: something that no program can check
)

// licenceCopy is how many characters a notice has at least that counts as the
// copy of a licence. The shortest in use (MIT) has a thousand.
const licenceCopy = 800

// Obligation is one thing that a document asks of whoever uses answers.
type Obligation struct {
	Kind  string `json:"kind" yaml:"kind"`
	Value string `json:"value,omitempty" yaml:"value"` // what is checked for
	Text  string `json:"text" yaml:"text"`             // the duty in a sentence, for people
	// Distributed: it is due only if the model is distributed.
	Distributed bool `json:"distributed,omitempty" yaml:"distributed"`
}

// UnmarshalJSON implements json.Unmarshaler. A bare string is a Duty: that is
// how passports of version 1 held obligations before they had kinds.
func (o *Obligation) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*o = Obligation{Kind: Duty, Text: text}
		return nil
	}
	type plain Obligation
	return json.Unmarshal(b, (*plain)(o))
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler, likewise.
func (o *Obligation) UnmarshalYAML(decode func(any) error) error {
	var text string
	if decode(&text) == nil {
		*o = Obligation{Kind: Duty, Text: text}
		return nil
	}
	type plain Obligation
	return decode((*plain)(o))
}

func (o Obligation) validate() error {
	switch o.Kind {
	case NamePrefix, Notice, Licence, Attribution:
		if strings.TrimSpace(o.Value) == "" {
			return fmt.Errorf("an obligation of kind %s needs a value to check for", o.Kind)
		}
	case Duty:
	default:
		return fmt.Errorf("obligation kind %q is not one of %s, %s, %s, %s, %s", o.Kind, NamePrefix, Notice, Licence, Attribution, Duty)
	}
	if strings.TrimSpace(o.Text) == "" {
		return fmt.Errorf("an obligation of kind %s needs a text that says it to people", o.Kind)
	}
	return nil
}

// Due returns the obligations that a use brings with it.
func Due(obs []Obligation, use Use) []Obligation {
	var due []Obligation
	for _, o := range obs {
		if use.Distributed || !o.Distributed {
			due = append(due, o)
		}
	}
	return due
}

// Texts returns the obligations as sentences.
func Texts(obs []Obligation) []string {
	var out []string
	for _, o := range obs {
		out = append(out, o.Text)
	}
	return out
}

// Model is what a model shows to whoever receives it.
type Model struct {
	Name     string
	License  string   // the SPDX identifier, or the name, of the licence that the builder grants
	Notices  []string // texts that go with it, copies of licences among them
	Teachers []string // models that its card names as its teachers
}

// ObligationError says which obligations a model does not meet.
type ObligationError struct {
	Model   string
	Missing []Obligation
}

// Error implements error.
func (e *ObligationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "terms: model %q is not exported: it lacks what the terms of its training data ask for.", e.Model)
	for _, o := range e.Missing {
		fmt.Fprintf(&b, "\n  %s\n    %s", o.Text, o.fix(e.Model))
	}
	b.WriteString("\n" + Disclaimer)
	return b.String()
}

// fix says what to add to the recipe.
func (o Obligation) fix(name string) string {
	switch o.Kind {
	case NamePrefix:
		return fmt.Sprintf("Add to the recipe: `model: {name: %q}`.", o.Value+"-"+name)
	case Licence:
		return fmt.Sprintf("Add to the recipe a copy of the licence, in a notice that holds its title (%q): `model: {notices: [{file: LICENSE.txt}]}`.", o.Value)
	default:
		return fmt.Sprintf("Add to the recipe: `model: {notices: [%q]}`.", o.Value)
	}
}

// CheckObligations holds a model against obligations, all of which are taken as
// due; see Due. The error is an *ObligationError that names each one that is not
// met and what to add to the recipe.
func CheckObligations(obs []Obligation, m Model) error {
	e := &ObligationError{Model: m.Name}
	for _, o := range obs {
		if !o.met(m) {
			e.Missing = append(e.Missing, o)
		}
	}
	if e.Missing == nil {
		return nil
	}
	return e
}

func (o Obligation) met(m Model) bool {
	switch o.Kind {
	case NamePrefix:
		return strings.HasPrefix(m.Name, o.Value)
	case Notice:
		return holds(m.Notices, o.Value, 0)
	case Licence:
		return holds(m.Notices, o.Value, licenceCopy)
	case Attribution:
		return holds(m.Notices, o.Value, 0) || holds(m.Teachers, o.Value, 0) || holds([]string{m.Name}, o.Value, 0)
	}
	return true // a duty: printed, and the builder's to keep
}

// holds reports whether one of the texts has at least so many characters and
// contains what is sought, whatever the case and the white space.
func holds(texts []string, sought string, atLeast int) bool {
	fold := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
	for _, t := range texts {
		if utf8.RuneCountInString(t) >= atLeast && strings.Contains(fold(t), fold(sought)) {
			return true
		}
	}
	return false
}
