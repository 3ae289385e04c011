package recipe

import (
	"retort/teach/task"
	"retort/terms"
)

// Prompts is one source of prompts: a verifiable task family, a file of one's
// own, conversations that somebody else has had with a model, or what this
// workspace's gateway recorded.
type Prompts struct {
	Family string `yaml:"family,omitempty" json:"family,omitempty" jsonschema_description:"multiply, chain, list, countdown, extract or gsm8k"`

	task.Params `yaml:",inline"` // a family's difficulty

	File     string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"JSONL, CSV or Parquet file of prompts"`
	Field    string `yaml:"field,omitempty" json:"field,omitempty" jsonschema_description:"the field that holds the prompt"`
	Gold     string `yaml:"gold,omitempty" json:"gold,omitempty" jsonschema_description:"the field that holds a right answer, if there is one"`
	ID       string `yaml:"id,omitempty" json:"id,omitempty" jsonschema_description:"the field that holds the row's own id; default: id, where there is such a field"`
	Messages string `yaml:"messages,omitempty" json:"messages,omitempty" jsonschema_description:"the field that holds a conversation, for prompts of several turns"`
	System   string `yaml:"system,omitempty" json:"system,omitempty" jsonschema_description:"file with the system prompt"`
	Template string `yaml:"template,omitempty" json:"template,omitempty" jsonschema_description:"text of the request; {{field}} stands for a field of the row"`
	Shots    string `yaml:"shots,omitempty" json:"shots,omitempty" jsonschema_description:"JSONL file of examples that go before the request: prompt and answer, or messages"`
	Samples  int    `yaml:"samples,omitempty" json:"samples,omitempty" jsonschema_description:"answers that are asked for each training prompt; default 1"`

	Imported string   `yaml:"imported,omitempty" json:"imported,omitempty" jsonschema_description:"file of conversations that somebody has had with a model; nothing is asked"`
	Format   string   `yaml:"format,omitempty" json:"format,omitempty" jsonschema_description:"of an imported file: auto, sharegpt, alpaca, messages, preference, reasoning, batch or log"`
	Turns    string   `yaml:"turns,omitempty" json:"turns,omitempty" jsonschema:"enum=last,enum=all" jsonschema_description:"last: the last answer of each conversation; all: each of its answers"`
	Terms    string   `yaml:"terms,omitempty" json:"terms,omitempty" jsonschema_description:"the terms row that answers which are there were obtained under; of served ones, where the upstream's address and model do not tell"`
	Consent  *Consent `yaml:"consent,omitempty" json:"consent,omitempty" jsonschema_description:"whether the people whose prompts an imported file holds have agreed"`

	Served *Served `yaml:"served,omitempty" json:"served,omitempty" jsonschema_description:"what this workspace's gateway recorded, of accounts that agreed to it; {}: all of it; nothing is asked"`

	Train   int     `yaml:"train" json:"train" jsonschema_description:"examples that must pass curation; 0: as many as the file gives"`
	Heldout Heldout `yaml:"heldout" json:"heldout" jsonschema_description:"problems kept for evaluation"`
}

// Served says which of the exchanges that a gateway recorded are learned from.
// Times are a date, RFC 3339, or relative: so long before the moment at which
// the recipe is planned or run first.
type Served struct {
	Since   string `yaml:"since,omitempty" json:"since,omitempty" jsonschema_description:"exchanges that ended then or later: 2026-10-01, 2026-10-01T08:00:00Z, or 30d, 12h before the first plan or run; default: all"`
	Until   string `yaml:"until,omitempty" json:"until,omitempty" jsonschema_description:"exchanges that ended before: a time as for since; default: the first plan or run"`
	Account Words  `yaml:"account,omitempty,flow" json:"account,omitempty" jsonschema_description:"whose: a hash, a beginning of one of at least 8 digits, or a name; default: every account that agreed"`
	Model   Words  `yaml:"model,omitempty,flow" json:"model,omitempty" jsonschema_description:"which models', asked or answered; * stands for anything; default: all"`
}

// Words is a list of words, or one.
type Words []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (w *Words) UnmarshalYAML(decode func(any) error) error {
	var one string
	if err := decode(&one); err == nil {
		*w = Words{one}
		return nil
	}
	return decode((*[]string)(w))
}

// Heldout says which problems are kept for evaluation: a number of them, or a
// file of their own.
type Heldout struct {
	Count  int    `yaml:"count,omitempty" json:"count,omitempty" jsonschema_description:"how many"`
	File   string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"a file of their own"`
	Expect string `yaml:"expect,omitempty" json:"expect,omitempty" jsonschema_description:"the field of that file that holds the right answer; default: as gold says"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: `heldout: 500` is short
// for `heldout: {count: 500}`.
func (h *Heldout) UnmarshalYAML(decode func(any) error) error {
	var n int
	if err := decode(&n); err == nil {
		*h = Heldout{Count: n}
		return nil
	}
	type plain Heldout
	return decode((*plain)(h))
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (h Heldout) MarshalYAML() (any, error) {
	if h.File == "" {
		return h.Count, nil
	}
	type plain Heldout
	return plain(h), nil
}

// Consent says what is known of the people whose prompts a source holds.
type Consent struct {
	Consent string `yaml:"consent,omitempty" json:"consent,omitempty" jsonschema:"enum=recorded,enum=none,enum=unknown" jsonschema_description:"recorded, none or unknown"`
	Basis   string `yaml:"basis,omitempty" json:"basis,omitempty" jsonschema_description:"where it is recorded, so that another person can look it up"`
	People  string `yaml:"people,omitempty" json:"people,omitempty" jsonschema_description:"who they are, such as the customers of a shop; no names"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: a bare word is the
// consent.
func (c *Consent) UnmarshalYAML(decode func(any) error) error {
	var word string
	if err := decode(&word); err == nil {
		*c = Consent{Consent: word}
		return nil
	}
	type plain Consent
	return decode((*plain)(c))
}

// StudentPrompt says what of the teacher's prompt the student reads.
type StudentPrompt struct {
	System   string `yaml:"system" json:"system" jsonschema:"enum=keep,enum=drop" jsonschema_description:"keep or drop the system prompt"`
	Shots    string `yaml:"shots" json:"shots" jsonschema:"enum=keep,enum=drop" jsonschema_description:"keep or drop the examples before the request"`
	Template string `yaml:"template" json:"template" jsonschema_description:"keep: the request as the teacher reads it; drop: the bare field; or another template"`
}

// Terms are what the builder knows beyond the registry of terms.
type Terms struct {
	Agreements []string         `yaml:"agreements,omitempty" json:"agreements,omitempty" jsonschema_description:"files, each with a terms row of your own in JSON"`
	Overrides  []terms.Override `yaml:"overrides,omitempty" json:"overrides,omitempty" jsonschema_description:"decisions of the terms gate that do not hold here, each with its basis"`
}

// Model is what the student is called and what goes with it.
type Model struct {
	Name    string `yaml:"name,omitempty" json:"name,omitempty" jsonschema_description:"as the model card and the passport call it; default: the recipe's name"`
	License string `yaml:"license,omitempty" json:"license,omitempty" jsonschema_description:"SPDX identifier of the licence that you give it"`
	Notices []Text `yaml:"notices,omitempty" json:"notices,omitempty" jsonschema_description:"texts that go with it: attributions, copies of licences"`
}

// Text is a text that stands in the recipe or in a file of its own.
type Text struct {
	Text string `yaml:"text,omitempty" json:"text,omitempty" jsonschema_description:"the text itself"`
	File string `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"the file that holds it"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: bare text is the text.
func (t *Text) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err == nil {
		*t = Text{Text: text}
		return nil
	}
	type plain Text
	return decode((*plain)(t))
}
