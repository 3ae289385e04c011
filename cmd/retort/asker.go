package main

import (
	"errors"
	"fmt"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/price"
	"retort/prove/expose"
	"retort/teach/collect"
)

// asker asks a model under test, through ledger and budget.
func (a *app) asker(s expose.Source, usd float64, to ledger.Appender) (exchange.Asker, exchange.Request, func(), error) {
	fail := func(err error) (exchange.Asker, exchange.Request, func(), error) {
		return nil, exchange.Request{}, nil, err
	}
	p, err := price.PerMillion("suspect:"+s.Model, s.Input, -1, s.Output)
	if err != nil {
		return fail(fmt.Errorf("the price of %s: %w", s.Name, err))
	}
	key := ""
	if s.KeyEnv != "" {
		if key = a.getenv(s.KeyEnv); key == "" {
			return fail(fmt.Errorf("the environment variable %s is not set; it should hold the key of %s", s.KeyEnv, s.BaseURL))
		}
	}
	limit, err := exchange.Dollars(usd)
	if err != nil {
		return fail(usageError{fmt.Errorf("--budget: %w", err)})
	}
	if limit == 0 && (s.Input > 0 || s.Output > 0) {
		return fail(usageError{errors.New("--budget: the API costs money; say how much it may be")})
	}
	c, err := collect.New(collect.Config{
		BaseURL: s.BaseURL, APIKey: key, Provider: collect.ProviderOf(s.BaseURL), Model: s.Model, Price: p, Budget: meter.NewBudget(limit), Ledger: to,
		Limits: collect.Limits{Concurrent: 4}, TermsID: "suspect", TermsBasis: "a model under test: its answers teach nobody",
	})
	if err != nil {
		return fail(err)
	}
	return c, exchange.Request{Endpoint: s.BaseURL, Model: s.Model, Stage: "expose"}, func() { _ = c.Close() }, nil
}
