package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"retort/exchange"
	"retort/openai"
)

var _ exchange.Asker = (*Engine)(nil)

// Ask answers a request in process, as it would be answered over the wire. It
// waits for room in the queue, so that callers may ask from as many goroutines
// as they like: the engine decodes as many together as it has slots. The
// exchange costs nothing and is not recorded anywhere.
func (e *Engine) Ask(ctx context.Context, r exchange.Request) (*exchange.Exchange, error) {
	queued := now()
	x := &exchange.Exchange{ID: exchange.NewID(queued), Run: r.Run, Stage: r.Stage, Family: r.Family, Problem: r.Problem,
		Origin: exchange.OriginAPI, Provider: "retort", Endpoint: r.Endpoint, ModelAsked: r.Model, Attempt: 1,
		Times: exchange.Times{Queued: queued.UnixNano(), Sent: queued.UnixNano()}, Usage: exchange.Usage{Source: exchange.UsageMissing}}
	fail := func(class exchange.ErrorClass, code string, err error) (*exchange.Exchange, error) {
		x.ErrorClass, x.ErrorText = class, err.Error()
		x.Times.LastByte = now().UnixNano()
		return x, &exchange.Error{Op: "ask", What: r.Model, Class: class, Code: code, Err: err}
	}
	req, err := wireRequest(&r, x)
	if err != nil {
		return fail(exchange.ClassInvalid, "", err)
	}
	j, bad := e.newJob(req)
	if bad != nil {
		x.Status = bad.Status
		class := exchange.ClassInvalid
		if bad.Status == http.StatusNotFound {
			class = exchange.ClassNotFound
		}
		return fail(class, bad.Code, bad)
	}
	if j.n != 1 {
		return fail(exchange.ClassInvalid, "", fmt.Errorf("n is %d: ask for one sample at a time", j.n))
	}
	resp, err := e.complete(ctx, j, true)
	switch {
	case ctx.Err() != nil:
		return fail(exchange.ClassCancelled, "", context.Cause(ctx))
	case errors.Is(err, errClosed):
		x.Status = http.StatusServiceUnavailable
		return fail(exchange.ClassServer, "shutting_down", err)
	case err != nil:
		x.Status = http.StatusInternalServerError
		return fail(exchange.ClassServer, "", err)
	}
	x.Times.LastByte = now().UnixNano()
	x.Times.FirstByte = x.Times.LastByte
	x.Status = http.StatusOK
	if x.ResponseBody, err = openai.Encode(resp); err != nil {
		return fail(exchange.ClassMalformed, "", err)
	}
	x.ModelAnswered, x.Fingerprint = resp.Model, resp.SystemFingerprint
	c := resp.Choices[0]
	x.Answer = exchange.Answer{Content: c.Message.Content.String(), FinishReason: c.FinishReason}
	if c.Message.ReasoningContent != nil {
		x.Answer.Reasoning = *c.Message.ReasoningContent
	}
	x.Usage = exchange.Usage{Source: exchange.UsageReported, Input: resp.Usage.PromptTokens, Output: resp.Usage.CompletionTokens}
	if d := resp.Usage.CompletionTokensDetails; d != nil {
		x.Usage.Reasoning = d.ReasoningTokens
	}
	return x, nil
}

// wireRequest makes the request that r is on the wire, and notes it and its key
// in x.
func wireRequest(r *exchange.Request, x *exchange.Exchange) (*openai.ChatRequest, error) {
	req := new(openai.ChatRequest)
	if len(r.Params) > 0 {
		if err := json.Unmarshal(r.Params, req); err != nil {
			return nil, fmt.Errorf("request parameters: %w", err)
		}
	}
	var err error
	if x.Key, err = r.Key(); err != nil {
		return nil, err
	}
	req.Model = r.Model
	req.Messages = nil
	for _, m := range r.Messages {
		msg := openai.Message{Role: m.Role, Content: openai.Text(m.Content)}
		if m.Reasoning != "" {
			msg.ReasoningContent = &m.Reasoning
		}
		req.Messages = append(req.Messages, msg)
	}
	if r.MaxTokens > 0 {
		req.MaxTokens, req.MaxCompletionTokens = &r.MaxTokens, nil
	}
	if r.Seed == exchange.SeedDerived {
		seed := x.Key.Seed()
		req.Seed = &seed
	}
	x.RequestBody, err = openai.Encode(req)
	return req, err
}
