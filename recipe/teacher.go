package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/price"
	"retort/teach/collect"
	"retort/teach/reference"
	"retort/terms"
)

// teacher is the recipe's teacher as the run uses it: who it is, what it costs,
// under which terms, and, for the built-in one, the server itself.
type teacher struct {
	provider string
	baseURL  string
	endpoint string // names the teacher in prompt keys
	model    string
	wire     collect.Wire
	quirks   collect.Quirks
	price    price.Price
	terms    terms.Row
	verdict  terms.Verdict     // of the gate, on collecting
	server   *reference.Server // of the built-in teacher, once started
}

// identify finds out who the teacher is and asks the terms gate whether its
// answers may be collected. It opens no connection. A recipe that asks nobody
// has a teacher without a model.
func (r *Recipe) identify() (*teacher, error) {
	if r.Teacher.Reference == nil && r.Teacher.BaseURL == "" {
		return &teacher{provider: "none"}, nil
	}
	t := &teacher{model: r.Teacher.Model}
	quirks, err := collect.QuirksOf(r.Teacher.Provider, r.Teacher.BaseURL)
	if err != nil {
		return nil, r.src.errorf("teacher.provider", "%v", err)
	}
	t.quirks, t.wire = quirks, r.Teacher.wire()
	if cfg := r.Teacher.Reference; cfg != nil {
		t.provider, t.endpoint = reference.Provider, t.wire.Endpoint(cfg.Endpoint())
	} else {
		t.provider, t.baseURL, t.endpoint = collect.ProviderOf(r.Teacher.BaseURL), r.Teacher.BaseURL, t.wire.Endpoint(r.Teacher.BaseURL)
		if r.Teacher.Provider != "" {
			t.provider = r.Teacher.Provider
		}
	}
	g, err := r.registry()
	if err != nil {
		return nil, err
	}
	row, err := g.Lookup(terms.Source{Row: r.Teacher.Terms, Provider: t.provider, BaseURL: t.baseURL, Model: t.model})
	if err != nil {
		return nil, r.src.errorf("teacher", "%v", err)
	}
	t.terms = row
	if t.verdict, err = r.decide(row, terms.Collect); err != nil {
		return nil, err
	}
	if t.price, err = r.price(t); err != nil {
		return nil, err
	}
	t.price = t.quirks.Price(t.price) // so that a plan's worst case is what the collector reserves
	if r.Budget.USD == nil && !t.price.Free() {
		return nil, r.src.errorf("budget", "the teacher costs money (price %s): say how much may be spent, such as `budget: {usd: 2}`", t.price.ID)
	}
	return t, nil
}

// wire is the wire that the recipe names, else the provider's own.
func (t *Teacher) wire() collect.Wire {
	if t.Wire != "" {
		return collect.Wire(t.Wire)
	}
	quirks, err := collect.QuirksOf(t.Provider, t.BaseURL)
	if err != nil { // reported where the teacher is identified
		return collect.WireChat
	}
	return quirks.Wire()
}

// asked reports whether there is a teacher to ask.
func (t *teacher) asked() bool { return t.model != "" }

// price is what the recipe gives, else what the price book knows. A server of
// one's own, which the recipe states as its terms, costs nothing by the token.
func (r *Recipe) price(t *teacher) (price.Price, error) {
	if p := r.Teacher.Price; p != nil {
		cached := -1.0
		if p.CachedInput != nil {
			cached = *p.CachedInput
		}
		out, err := price.PerMillion("recipe:"+r.Name, p.Input, cached, p.Output)
		if err != nil {
			return price.Price{}, r.src.errorf("teacher.price", "%v", err)
		}
		return out, nil
	}
	if r.Teacher.Reference != nil {
		return r.Teacher.Reference.Prices(), nil
	}
	provider := t.provider
	if t.terms.ID == terms.SelfHosted {
		provider = price.SelfHosted
	}
	out, err := price.Default().Lookup(provider, r.Teacher.Model, time.Now())
	if err != nil {
		return price.Price{}, r.src.errorf("teacher.price", "%v", err)
	}
	return out, nil
}

// budget is the recipe's wall. Without one (a free teacher) nothing may be
// charged.
func (r *Recipe) budget() (*meter.Budget, error) {
	var limit exchange.Pico
	if r.Budget.USD != nil {
		var err error
		if limit, err = exchange.Dollars(*r.Budget.USD); err != nil {
			return nil, r.src.errorf("budget.usd", "%v", err)
		}
	}
	return meter.NewBudget(limit), nil
}

// request makes the request that every prompt of the recipe shares.
func (r *Recipe) request(t *teacher) (exchange.Request, error) {
	params := map[string]any{}
	if p := r.Teacher.Request.Temperature; p != nil {
		params["temperature"] = *p
	}
	if p := r.Teacher.Request.TopP; p != nil {
		params["top_p"] = *p
	}
	for k, v := range r.Teacher.Request.ExtraBody {
		params[k] = v
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return exchange.Request{}, r.src.errorf("teacher.request.extra_body", "%v", err)
	}
	q := exchange.Request{Endpoint: t.endpoint, Model: t.model, Params: raw, MaxTokens: r.Teacher.Request.MaxTokens}
	if r.Teacher.Request.Seed == "none" {
		q.Seed = exchange.SeedNone
	}
	return q, nil
}

// billFile is the built-in teacher's bill in a run's directory.
const billFile = "bill.jsonl"

// start starts the built-in teacher, if it is the one asked. Its bill goes to
// the run's directory: it is the ground truth for our ledger.
func (t *teacher) start(ctx context.Context, r *Recipe, dir string) error {
	if r.Teacher.Reference == nil {
		return nil
	}
	cfg := *r.Teacher.Reference
	cfg.BillPath = filepath.Join(dir, billFile)
	server, err := reference.New(cfg)
	if err != nil {
		return fmt.Errorf("reference teacher: %w", err)
	}
	t.server, err = server.Start(context.WithoutCancel(ctx), "127.0.0.1:0") // it ends with the run, after the answers under way
	if err != nil {
		return fmt.Errorf("reference teacher: %w", err)
	}
	t.baseURL = t.server.URL + "/v1"
	return nil
}

func (t *teacher) close() error {
	if t.server == nil {
		return nil
	}
	return t.server.Close()
}

// collector makes the asker through which all of the run's paid calls go.
func (t *teacher) collector(r *Recipe, app ledger.Appender, budget *meter.Budget, known map[exchange.Key]*exchange.Exchange, getenv func(string) string, log *slog.Logger) (*collect.Collector, error) {
	key := ""
	if env := r.Teacher.APIKeyEnv; env != "" {
		if key = getenv(env); key == "" {
			return nil, r.src.errorf("teacher.api_key_env", "the environment variable %s is not set; it should hold the teacher's API key", env)
		}
	}
	deadline, err := time.ParseDuration(r.Teacher.Limits.Deadline)
	if err != nil {
		return nil, err
	}
	stall, err := time.ParseDuration(r.Teacher.Limits.Stall)
	if err != nil {
		return nil, err
	}
	return collect.New(collect.Config{
		BaseURL: t.baseURL, APIKey: key, Provider: t.provider, Model: t.model, Endpoint: t.endpoint,
		Price: t.price, Budget: budget, Ledger: app, Known: known,
		Limits:   collect.Limits{RPM: r.Teacher.Limits.RPM, TPM: r.Teacher.Limits.TPM, Concurrent: r.Teacher.Limits.Concurrent},
		Deadline: deadline, Stall: stall, MaxAttempts: r.Teacher.Limits.Attempts, Stream: *r.Teacher.Request.Stream,
		Wire: t.wire, Quirks: t.quirks, TermsID: t.terms.ID, TermsBasis: t.verdict.Basis, Seed: r.Seed, Log: log,
	})
}
