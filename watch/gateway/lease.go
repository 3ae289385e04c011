package gateway

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
)

// refused is why a request is not passed on, and what the client is told.
type refused struct {
	status        int
	code, message string
	retryAfter    time.Duration // 0: nothing is said
}

// lease is what one request has taken of its key's rates and money.
type lease struct {
	grants  []*meter.Grant
	spend   *meter.Reservation // nil without a cap
	price   *Price             // nil where none is known
	worst   exchange.Pico
	rule    *Rule   // of the policy, that fits; nil if none does
	share   float64 // of prompts that carry a coin
	settled bool
}

// caller is who sent a request.
type caller struct {
	state  *keyState
	key    Key
	holder Account
	user   string // keyed hash of the end user, if one is named
}

// ruleFor returns the first rule that fits, nil if none does.
func (p *policy) ruleFor(c *caller, model string) *Rule {
	for i := range p.cfg.Rules {
		r := &p.cfg.Rules[i]
		if len(r.Accounts) > 0 && !slices.ContainsFunc(r.Accounts, func(a string) bool { return strings.HasPrefix(c.key.Account, a) }) ||
			len(r.Marks) > 0 && !slices.Contains(r.Marks, c.holder.Mark) ||
			len(r.Models) > 0 && !fits(r.Models, model) {
			continue
		}
		return r
	}
	return nil
}

// take holds a request against policy, rates and spend cap, and reserves what it
// may use. The caller settles the lease. q is nil where the request is no exchange
// with a model.
func (g *Gateway) take(ctx context.Context, p *policy, c *caller, q *question, id exchange.ID) (*lease, *refused) {
	l := &lease{}
	tokens, model := int64(0), ""
	if q != nil {
		tokens, model = int64(len(q.body))/4+q.maxTokens*q.answers, q.model
		l.price = p.cfg.priceOf(q.model)
	}
	quotas := []*meter.Quota{c.state.quota}
	if l.rule = p.ruleFor(c, model); l.rule != nil {
		if no := g.act(ctx, l, c, id); no != nil {
			return nil, no
		}
		if l.rule.Action == ledger.ActionCap {
			quotas = append(quotas, g.ring.capped(c.key.Account, l.rule))
		}
	}
	now := time.Now()
	for _, quota := range quotas {
		grant, err := quota.Take(now, tokens)
		var over *meter.ExceededError
		if errors.As(err, &over) {
			l.settle(0, 0)
			return nil, &refused{http.StatusTooManyRequests, "rate_limit_exceeded", over.Error(), over.RetryAfter}
		}
		l.grants = append(l.grants, grant)
	}
	if no := g.reserve(l, c, q, now); no != nil {
		l.settle(0, 0)
		return nil, no
	}
	return l, nil
}

// act does what a lease's rule says, and records it. That a coin was flipped is
// recorded where it is.
func (g *Gateway) act(ctx context.Context, l *lease, c *caller, id exchange.ID) *refused {
	r, detail := l.rule, ""
	switch r.Action {
	case ledger.ActionBlock:
		g.acted(c, r, exchange.ID{}, "")
		return &refused{http.StatusForbidden, "blocked", "this account may not do this; ask the gateway's operator (rule " + r.Name + ")", 0}
	case ledger.ActionAttest:
		if time.Now().UnixNano() >= c.holder.Attested {
			g.acted(c, r, exchange.ID{}, "missing")
			return &refused{http.StatusForbidden, "attestation_required", "this account has to attest first what it uses answers for; ask the gateway's operator (rule " + r.Name + ")", 0}
		}
		detail = "given"
	case ledger.ActionSlow:
		detail = r.Delay
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
		}
	case ledger.ActionCoin:
		l.share = r.Share
		return nil
	}
	g.acted(c, r, id, detail)
	return nil
}

// reserve takes the worst case out of the key's spend cap.
func (g *Gateway) reserve(l *lease, c *caller, q *question, now time.Time) *refused {
	budget := g.ring.spend(c.state, &c.key, now)
	if budget == nil {
		if q != nil && l.price != nil { // recorded, for who reads the ledger after a crash
			l.worst, _ = l.price.worst(q)
		}
		return nil
	}
	if q == nil {
		return nil
	}
	if l.price == nil {
		return &refused{http.StatusForbidden, "price_unknown", "this key has a spend cap, and no price is known for the model " + q.model, 0}
	}
	worst, err := l.price.worst(q)
	if err != nil {
		return &refused{http.StatusBadRequest, "cost_unbounded", "this key has a spend cap, and the request's cost is not bounded: " + err.Error(), 0}
	}
	l.worst = worst
	var over *meter.OverBudgetError
	if l.spend, err = budget.Reserve(worst); errors.As(err, &over) {
		return &refused{http.StatusTooManyRequests, "insufficient_quota", "the spend cap of this key is reached: " + over.Spent.String() + " of " + over.Limit.String() +
			" is spent, " + over.Reserved.String() + " is reserved for requests under way, and this request could cost " + worst.String(), 0}
	}
	return nil
}

// settle puts what the request used in place of what it took. Only the first call
// counts.
func (l *lease) settle(tokens int64, cost exchange.Pico) {
	if l.settled {
		return
	}
	l.settled = true
	for _, grant := range l.grants {
		grant.Settle(tokens)
	}
	if l.spend != nil {
		l.spend.Settle(cost)
	}
}

// acted records what policy did, without waiting for it.
func (g *Gateway) acted(c *caller, r *Rule, id exchange.ID, detail string) {
	g.metrics.actions.WithLabelValues(r.Action, r.Name).Inc()
	rec, err := ledger.NewAction(ledger.Action{Exchange: id, Account: c.key.Account, KeyID: c.key.ID, Action: r.Action, Rule: r.Name, Detail: detail})
	if err != nil {
		g.fail(err)
		return
	}
	g.ledger.Submit(g.fail, rec)
}

// rateHeaders tell a client what its key has left, in the words of its wire.
func (c *caller) rateHeaders(h http.Header, rt *route, now time.Time) {
	requests, tokens := c.state.quota.PerMinute(now)
	for _, r := range []struct {
		name string
		left meter.Left
	}{{"Requests", requests}, {"Tokens", tokens}} {
		if r.left.Limit == 0 {
			continue
		}
		if rt.wire == wireMessages {
			h.Set("Anthropic-Ratelimit-"+r.name+"-Limit", strconv.FormatInt(r.left.Limit, 10))
			h.Set("Anthropic-Ratelimit-"+r.name+"-Remaining", strconv.FormatInt(r.left.Remaining, 10))
			h.Set("Anthropic-Ratelimit-"+r.name+"-Reset", now.Add(r.left.Reset).UTC().Format(time.RFC3339))
			continue
		}
		h.Set("X-Ratelimit-Limit-"+r.name, strconv.FormatInt(r.left.Limit, 10))
		h.Set("X-Ratelimit-Remaining-"+r.name, strconv.FormatInt(r.left.Remaining, 10))
		h.Set("X-Ratelimit-Reset-"+r.name, r.left.Reset.Round(time.Millisecond).String())
	}
}

// refuse tells a client that its request is not passed on.
func (g *Gateway) refuse(w http.ResponseWriter, rt *route, no *refused) {
	if no.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.retryAfter.Seconds()))))
	}
	g.metrics.refused.WithLabelValues(rt.name, no.code).Inc()
	rt.fail(w, no.status, cmp.Or(no.code, "refused"), no.message)
}
