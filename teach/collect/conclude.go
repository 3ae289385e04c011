package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"retort/exchange"
	"retort/openai"
)

// The headers that are kept, in lower case; a trailing * stands for any rest.
// Everything else may hold a secret.
var (
	requestHeaders  = []string{"content-type", "accept", "user-agent", "x-retort-attempt", "anthropic-version"}
	responseHeaders = []string{
		"content-type", "date", "retry-after", "retry-after-ms", "x-request-id", "request-id",
		"openai-processing-ms", "openai-version", "openai-model", "x-ratelimit-*", "anthropic-ratelimit-*",
	}
)

// keep returns the allowed subset of headers.
func (c *Collector) keep(h http.Header, allowed []string) map[string]string {
	kept := make(map[string]string)
	for name, values := range h {
		name = strings.ToLower(name)
		for _, a := range allowed {
			prefix, any := strings.CutSuffix(a, "*")
			if name == a || any && strings.HasPrefix(name, prefix) {
				kept[name] = c.scrub(strings.Join(values, ", "))
			}
		}
	}
	return kept
}

// scrub takes the API key out of text that will be shown or recorded.
func (c *Collector) scrub(s string) string {
	if c.cfg.APIKey == "" {
		return s
	}
	return strings.ReplaceAll(s, c.cfg.APIKey, "[key]")
}

// conclude makes of what came back the exchange's answer, usage, class and
// cost.
func (c *Collector) conclude(ctx context.Context, j job, res *result) {
	e := res.e
	if e.Times.LastByte == 0 {
		e.Times.LastByte = time.Now().UnixNano()
	}
	e.Usage.Source = exchange.UsageMissing
	switch {
	case e.Status == 0:
		c.fail(res, c.classOf(ctx, res.cause), res.cause)
	case e.Status < 200 || e.Status > 299:
		c.refused(res)
	default:
		c.read(ctx, res)
	}
	e.Cost = c.cost(res)
	if e.Usage.Source == exchange.UsageMissing && e.Cost > 0 {
		e.Usage = estimate(j, e)
	}
	if e.Cost > e.Worst {
		c.log.Warn("an answer cost more than its worst case: the teacher did not honour max_tokens, or has a long prompt of its own",
			"attempt", e.ID, "cost", e.Cost, "worst", e.Worst)
	}
}

// refused reads a response with another status than 2xx.
func (c *Collector) refused(res *result) {
	e := res.e
	res.refusal = c.codec.refuse(e.Status, e.ResponseBody)
	var billed struct {
		Usage json.RawMessage `json:"usage"`
	}
	if openai.Check(e.ResponseBody) == nil && json.Unmarshal(e.ResponseBody, &billed) == nil && len(billed.Usage) > 0 {
		e.Usage = c.codec.usage(billed.Usage)
	}
	c.fail(res, classOfRefusal(res.refusal), res.refusal)
}

// read reads a response with status 2xx.
func (c *Collector) read(ctx context.Context, res *result) {
	e := res.e
	answer, usage, meta, err := c.codec.parse(e.ResponseHeader["content-type"], e.ResponseBody)
	e.Answer, e.Usage, e.ModelAnswered, e.Fingerprint = answer, c.cfg.Quirks.usage(usage, meta.total), meta.model, meta.fingerprint
	unread := res.cause != nil && !meta.done // the body did not come to its end
	if meta.streamed && (err != nil || unread) {
		e.Usage = exchange.Usage{Source: exchange.UsageMissing} // a running total need not be the total
	}
	switch {
	case err == nil && (meta.streamed || !unread): // what ended a stream after its answer does not matter
		res.cause = nil
	case unread:
		c.fail(res, c.classOf(ctx, res.cause), res.cause)
	case errors.As(err, &res.refusal):
		c.fail(res, classOfRefusal(res.refusal), res.refusal)
	case errors.Is(err, openai.ErrCut):
		c.fail(res, exchange.ClassNetwork, err)
	default:
		c.fail(res, exchange.ClassMalformed, err)
	}
}

func (c *Collector) fail(res *result, class exchange.ErrorClass, cause error) {
	res.cause = cause
	res.e.ErrorClass = class
	res.e.ErrorText = c.scrub(cause.Error())
}

// cost is what the attempt is charged; see the package comment.
func (c *Collector) cost(res *result) exchange.Pico {
	e := res.e
	switch {
	case e.Usage.Source == exchange.UsageReported:
		return c.cfg.Price.Cost(e.Usage)
	case e.Status == 0 && !res.sent, e.Status != 0 && (e.Status < 200 || e.Status > 299):
		return 0
	}
	return e.Worst
}

// estimate guesses token counts where none were reported: four bytes a token.
func estimate(j job, e *exchange.Exchange) exchange.Usage {
	u := exchange.Usage{Source: exchange.UsageEstimated}
	for _, m := range j.request.Messages {
		u.Input += int64(len(m.Content)+len(m.Reasoning)+3)/4 + 4
	}
	u.Reasoning = int64(len(e.Answer.Reasoning)+3) / 4
	u.Output = u.Reasoning + int64(len(e.Answer.Content)+3)/4
	return u
}

// classOf sorts the failure of a connection.
func (c *Collector) classOf(ctx context.Context, cause error) exchange.ErrorClass {
	var timeout interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil:
		return exchange.ClassCancelled
	case errors.Is(cause, errDeadline), errors.Is(cause, errStall), errors.As(cause, &timeout) && timeout.Timeout():
		return exchange.ClassTimeout
	case errors.Is(cause, openai.ErrMalformed):
		return exchange.ClassMalformed
	}
	return exchange.ClassNetwork
}

// classOfRefusal sorts what a teacher says about a failure, by its code where
// that says more than the status.
func classOfRefusal(r *refusal) exchange.ErrorClass {
	what := strings.ToLower(r.code + " " + r.kind)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(what, w) {
				return true
			}
		}
		return false
	}
	status := r.status
	switch {
	case has("insufficient_quota", "insufficient_balance", "billing") || status == http.StatusPaymentRequired,
		strings.Contains(strings.ToLower(r.err.Error()), "credit balance is too low"): // Anthropic, as an invalid request
		return exchange.ClassQuota
	case status == http.StatusTooManyRequests || has("rate_limit") || status == 0 && has("429"):
		return exchange.ClassRateLimited
	case status == http.StatusUnauthorized || status == http.StatusForbidden || has("invalid_api_key"):
		return exchange.ClassAuth
	case status == http.StatusNotFound || has("model_not_found"):
		return exchange.ClassNotFound
	case status == 0, status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly:
		return exchange.ClassServer
	}
	return exchange.ClassInvalid
}

// failure is the error that a caller sees for a failed attempt.
func (c *Collector) failure(ctx context.Context, res *result) error {
	e := res.e
	out := &exchange.Error{Op: "ask", What: c.what(), Class: e.ErrorClass, Err: res.cause}
	if res.refusal != nil {
		out.Code = c.scrub(res.refusal.code)
	}
	switch e.ErrorClass {
	case exchange.ClassCancelled:
		out.Err = context.Cause(ctx)
	case exchange.ClassAuth:
		out.Err = fmt.Errorf("the teacher does not accept the API key; check the variable that api_key_env names: %w", res.cause)
		if c.cfg.APIKey == "" {
			out.Err = fmt.Errorf("the teacher wants an API key; name the variable that holds it as api_key_env: %w", res.cause)
		}
	case exchange.ClassNotFound:
		out.Err = c.notFound(ctx, res.cause)
	case exchange.ClassQuota:
		out.Err = fmt.Errorf("the account at the teacher has no money or quota left: %w", res.cause)
	case exchange.ClassInvalid:
		if e.Status >= 300 && e.Status < 400 {
			out.Err = fmt.Errorf("the teacher redirects, which is not followed; check base_url: %w", res.cause)
		}
	}
	if c.cfg.APIKey != "" && out.Err != nil && strings.Contains(out.Err.Error(), c.cfg.APIKey) {
		out.Err = errors.New(c.scrub(out.Err.Error()))
	}
	return out
}
