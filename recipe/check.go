package recipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/terms"
)

// TeacherCheck is what can be known about a recipe's teacher without paying for
// an answer. Err is the first thing that would keep a run from asking it; what
// comes after that is unknown.
type TeacherCheck struct {
	Teacher string `json:"teacher"` // how people call it
	BaseURL string `json:"base_url,omitempty"`
	Model   string `json:"model"`

	Terms    string         `json:"terms,omitempty"` // the row
	Document string         `json:"terms_document,omitempty"`
	Read     string         `json:"terms_read,omitempty"` // the day on which it was read
	Decision terms.Decision `json:"terms_decision,omitempty"`
	Reason   string         `json:"terms_reason,omitempty"`
	Basis    string         `json:"terms_basis,omitempty"` // on what an allowance rests

	Price  string  `json:"price,omitempty"`         // the price-book entry
	Input  float64 `json:"input_usd_per_million"`   // tokens of the request
	Output float64 `json:"output_usd_per_million"`  // tokens of the answer
	Budget float64 `json:"budget_usd,omitempty"`    // of the recipe
	KeyEnv string  `json:"api_key_env,omitempty"`   // the variable that holds the key
	KeySet bool    `json:"api_key_set"`             // whether it does
	Works  bool    `json:"key_and_model_confirmed"` // the teacher was reached, takes the key and has the model

	Err error `json:"-"`
}

// CheckTeacher finds out who the recipe's teacher is, what its terms say and its
// tokens cost, and, over the network, whether it can be reached, takes the key
// and has the model. It asks for no answer.
func (r *Recipe) CheckTeacher(ctx context.Context, getenv func(string) string) TeacherCheck {
	c := TeacherCheck{Teacher: "the built-in reference teacher", BaseURL: r.Teacher.BaseURL, Model: r.Teacher.Model, KeyEnv: r.Teacher.APIKeyEnv}
	if r.Teacher.Reference == nil {
		c.Teacher = r.Teacher.BaseURL
	}
	c.KeySet = c.KeyEnv != "" && getenv(c.KeyEnv) != ""
	if r.Budget.USD != nil {
		c.Budget = *r.Budget.USD
	}
	if r.Teacher.Reference == nil && r.Teacher.BaseURL == "" {
		c.Teacher, c.Works = "nobody: the recipe's answers are there already", true
		return c
	}
	t, err := r.identify()
	if err != nil {
		var refused *terms.RefusedError
		if errors.As(err, &refused) {
			c.of(refused.Row)
			c.Decision, c.Reason = refused.Verdict.Decision, refused.Verdict.Reason
		}
		c.Err = err
		return c
	}
	c.of(t.terms)
	c.Decision, c.Reason, c.Basis = t.verdict.Decision, t.verdict.Reason, t.verdict.Basis
	c.Price, c.Input, c.Output = t.price.ID, perMillion(t.price.Input), perMillion(t.price.Output)
	if r.Teacher.Reference != nil {
		c.Works = true // it is a part of this program
		return c
	}
	c.Err = r.reach(ctx, t, getenv)
	c.Works = c.Err == nil
	return c
}

// of notes what a row of terms is.
func (c *TeacherCheck) of(row terms.Row) {
	c.Terms, c.Document, c.Read = row.ID, row.Document, row.Read
}

// perMillion turns pico-dollars a token into US dollars per million tokens.
func perMillion(p exchange.Pico) float64 { return float64(p) / 1e6 }

// reach asks a teacher for its models.
func (r *Recipe) reach(ctx context.Context, t *teacher, getenv func(string) string) error {
	c, err := t.collector(r, sealed{}, meter.NewBudget(0), nil, getenv, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(c.Check(ctx), c.Close())
}

// sealed is a ledger that takes nothing: what only checks has nothing to record.
type sealed struct{}

// Append implements ledger.Appender.
func (sealed) Append(context.Context, ...ledger.Record) error {
	return fmt.Errorf("a check of a teacher records nothing")
}
