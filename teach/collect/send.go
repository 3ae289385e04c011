package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/openai"
)

// AttemptHeader carries the attempt's id, so that a teacher's records can be
// matched with ours.
const AttemptHeader = "X-Retort-Attempt"

const (
	// maxBody bounds a response body.
	maxBody = 64 << 20
	// afterDone is how long a stream may stay open after its last event: long
	// enough for the connection to be used again, if the server ends it.
	afterDone = 250 * time.Millisecond
)

// The reasons for which a request is given up.
var (
	errDeadline = errors.New("deadline exceeded")
	errStall    = errors.New("the response stalled")
	errOver     = errors.New("the stream is over") // not a failure
	errTooLarge = fmt.Errorf("%w: larger than %d bytes", openai.ErrMalformed, maxBody)
)

// job is one attempt to be made.
type job struct {
	request exchange.Request
	key     exchange.Key
	body    []byte
	attempt int
	parent  exchange.ID
	queued  time.Time
	worst   exchange.Pico
}

// result is one attempt that was made and recorded.
type result struct {
	e       *exchange.Exchange
	hints   meter.Hints
	refusal *refusal // what the teacher said, if it said that it failed
	cause   error    // of the failure; nil if there was none
	err     error    // the failure as a caller sees it
	sent    bool     // a connection was there, so that it may have been billed
}

func (r *result) id() exchange.ID {
	if r == nil {
		return exchange.ID{}
	}
	return r.e.ID
}

func (r *result) exchange() *exchange.Exchange {
	if r == nil {
		return nil
	}
	return r.e
}

// outcome is what the limiter learns.
func (r *result) outcome() meter.Outcome {
	o := meter.Outcome{Hints: r.hints, Tokens: -1, OK: r.e.Status >= 200 && r.e.Status < 300}
	if r.e.Usage.Source == exchange.UsageReported {
		o.Tokens = r.e.Usage.Input + r.e.Usage.Output
	}
	overloaded := r.e.Status == 529 || r.e.Status == http.StatusServiceUnavailable && r.hints.RetryAfter > 0
	o.Refused = r.e.ErrorClass == exchange.ClassRateLimited || overloaded
	return o
}

// send records the intent, sends the request, reads the response and records
// what came with its end. A nil result with an error means that it was not
// sent.
func (c *Collector) send(ctx context.Context, j job) (*result, error) {
	now := time.Now()
	e := &exchange.Exchange{
		ID: exchange.NewID(now), Parent: j.parent, Key: j.key,
		Run: j.request.Run, Stage: j.request.Stage, Family: j.request.Family, Problem: j.request.Problem,
		Origin: exchange.OriginAPI, Provider: c.cfg.Provider, Endpoint: c.cfg.Endpoint, ModelAsked: c.cfg.Model,
		TermsID: c.cfg.TermsID, TermsBasis: c.cfg.TermsBasis, Attempt: j.attempt,
		RequestBody: j.body, Worst: j.worst, Price: c.cfg.Price.ID,
		Times: exchange.Times{Queued: j.queued.UnixNano(), Sent: now.UnixNano()},
	}
	req, err := c.newRequest(e)
	if err != nil {
		return nil, err
	}
	e.RequestHeader = c.keep(req.Header, requestHeaders)
	intent, err := ledger.NewIntent(e)
	if err != nil {
		return nil, &LedgerError{What: "an intent", Err: err}
	}
	if err := c.cfg.Ledger.Append(ctx, intent); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &LedgerError{What: fmt.Sprintf("the intent of exchange %s", e.ID), Err: err}
	}
	e.Times.Sent = time.Now().UnixNano()
	c.event(Event{Kind: EventSent, Key: j.key, Exchange: &exchange.Exchange{ID: e.ID, Key: e.Key, Attempt: e.Attempt, Family: e.Family, Stage: e.Stage}})
	res := &result{e: e}
	rec := &recorder{ledger: c.cfg.Ledger, id: e.ID, secret: []byte(c.cfg.APIKey), ends: c.codec.ends}
	c.exchange(ctx, req, res, rec)
	fragments, lost := rec.finish()
	e.ResponseBody = rec.body
	c.conclude(ctx, j, res)
	end, err := ledger.NewEnd(e)
	if err != nil || lost != nil {
		return res, &LedgerError{What: fmt.Sprintf("the response of exchange %s", e.ID), Err: errors.Join(lost, err)}
	}
	// What has been read is recorded even if the caller has gone.
	if err := c.cfg.Ledger.Append(context.WithoutCancel(ctx), append(fragments, end)...); err != nil {
		return res, &LedgerError{What: fmt.Sprintf("the end of exchange %s", e.ID), Err: err}
	}
	return res, nil
}

func (c *Collector) newRequest(e *exchange.Exchange) (*http.Request, error) {
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(e.RequestBody))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.what(), err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.cfg.Stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	req.Header.Set("User-Agent", "retort")
	req.Header.Set(AttemptHeader, e.ID.String())
	c.codec.header(req.Header, &c.cfg, e.RequestBody)
	return req, nil
}

// exchange sends the request and reads the response into the recorder. It
// fills in status, headers and times, and the cause if it ended otherwise than
// by the body's end.
func (c *Collector) exchange(ctx context.Context, req *http.Request, res *result, rec *recorder) {
	rctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deadline := time.AfterFunc(c.cfg.Deadline, func() { cancel(errDeadline) })
	defer deadline.Stop()
	rec.failed = func(err error) { cancel(err) }
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	resp, err := c.client.Do(req.WithContext(httptrace.WithClientTrace(rctx, trace)))
	res.sent = connected.Load()
	if err != nil {
		res.cause = because(rctx, err)
		return
	}
	defer resp.Body.Close()
	e := res.e
	e.Status = resp.StatusCode
	e.ResponseHeader = c.keep(resp.Header, responseHeaders)
	e.Times.FirstByte = time.Now().UnixNano()
	res.hints = meter.ParseHints(resp.Header, time.Now())
	res.sent = true
	stall := time.AfterFunc(c.cfg.Stall, func() { cancel(errStall) })
	defer stall.Stop()
	over := false
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			e.Times.LastByte = time.Now().UnixNano()
			rec.add(buf[:n])
			if !over && rec.streamIsOver() {
				over = true
				stall.Stop()
				stall = time.AfterFunc(afterDone, func() { cancel(errOver) })
				defer stall.Stop()
			} else if !over {
				stall.Reset(c.cfg.Stall)
			}
			if len(rec.body) > maxBody {
				res.cause = errTooLarge
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		default:
			res.cause = because(rctx, err)
			return
		}
	}
}

// because returns why a request ended: the reason for which it was given up,
// if it was, otherwise the error, without the address that it repeats.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
