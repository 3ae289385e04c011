package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"retort/anthropic"
	"retort/exchange"
	"retort/ledger"
)

// ExchangeHeader names the exchange in a response, so that a client's records can
// be matched with the gateway's.
const ExchangeHeader = "X-Retort-Exchange"

// The reasons for which an upstream is given up.
var (
	errFirstByte = errors.New("the upstream did not begin to answer")
	errStall     = errors.New("the upstream's answer stalled")
	errOver      = errors.New("the stream is over") // not a failure
	errClient    = errors.New("the client has gone")
)

// serve takes a request through the gateway; see the package comment.
func (g *Gateway) serve(p *policy, rt *route, w http.ResponseWriter, r *http.Request) {
	if no := g.enter(p); no != nil {
		w.Header().Set("Connection", "close")
		g.refuse(w, rt, no)
		return
	}
	defer g.leave()
	ctl := http.NewResponseController(w)
	// What is set while an answer is sent is not for the connection's next one.
	defer func() { _ = ctl.SetWriteDeadline(time.Time{}) }()
	c, no := g.admit(p, rt, r)
	if no != nil {
		if no.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		g.refuse(w, rt, no)
		return
	}
	body, taken, err := g.readBody(p, w, r)
	defer func() { g.room.Release(taken) }()
	if err != nil {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		g.refuse(w, rt, refusedBody(err))
		return
	}
	x := &passage{g: g, p: p, rt: rt, w: w, ctl: ctl, r: r, c: c, body: body, queued: time.Now()}
	if rt.wire != nil {
		if x.q, err = ask(rt.wire, body); err != nil {
			g.refuse(w, rt, &refused{http.StatusBadRequest, "invalid_request", err.Error(), 0})
			return
		}
		x.body = x.q.upstream
		if len(c.key.Models) > 0 && !fits(c.key.Models, x.q.model) {
			g.refuse(w, rt, &refused{http.StatusForbidden, "model_not_allowed", "this key may not ask the model " + excerpt(x.q.model), 0})
			return
		}
	}
	x.run()
}

// admit finds out who sends a request and whether it may go this way.
func (g *Gateway) admit(p *policy, rt *route, r *http.Request) (*caller, *refused) {
	c, no := g.authenticate(p, r)
	switch {
	case no != nil:
		return nil, no
	case len(c.key.Routes) > 0 && !slices.Contains(c.key.Routes, rt.name):
		return nil, &refused{http.StatusForbidden, "route_not_allowed", "this key may not be used for " + rt.name, 0}
	case c.key.Spend != nil && rt.wire == nil && (rt.open || rt.whole):
		return nil, &refused{http.StatusForbidden, "not_metered", "this key has a spend cap, and what " + rt.name + " cost is not known in time", 0}
	case r.Header.Get("Upgrade") != "":
		return nil, &refused{http.StatusNotImplemented, "upgrade_refused", "the gateway records whole requests and answers: it does not upgrade connections", 0}
	case !plainPath.MatchString(r.URL.EscapedPath()):
		return nil, &refused{http.StatusBadRequest, "invalid_path", "the path holds what servers read in different ways", 0}
	}
	return c, nil
}

// authenticate finds the key that a request carries, as a bearer token or as
// Anthropic's header has it.
func (g *Gateway) authenticate(p *policy, r *http.Request) (*caller, *refused) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		secret = r.Header.Get(anthropic.KeyHeader)
	}
	state, key, holder, why := g.ring.find(secret, time.Now())
	if state == nil || why != "" {
		message := "the API key is missing or wrong: send it as Authorization: Bearer KEY"
		if why != "" {
			message = "the API key does not hold: " + why
		}
		return nil, &refused{http.StatusUnauthorized, "invalid_api_key", message, 0}
	}
	c := &caller{state: state, key: key, holder: holder}
	if p.cfg.EndUser != "" {
		if user := r.Header.Get(p.cfg.EndUser); user != "" {
			c.user = exchange.HashAccount(g.account, key.Account+" "+user)
		}
	}
	return c, nil
}

func refusedBody(err error) *refused {
	switch {
	case errors.Is(err, errTooLong):
		return &refused{http.StatusRequestEntityTooLarge, "too_large", err.Error(), 0}
	case errors.Is(err, errNoRoom):
		return &refused{http.StatusServiceUnavailable, "no_room", err.Error(), time.Second}
	}
	return &refused{http.StatusBadRequest, "invalid_request", "the request body did not arrive", 0}
}

// passage is one request on its way through.
type passage struct {
	g      *Gateway
	p      *policy
	rt     *route
	w      http.ResponseWriter
	ctl    *http.ResponseController // of w
	r      *http.Request
	c      *caller
	q      *question // nil where the request is no exchange with a model
	body   []byte    // as the upstream gets it
	queued time.Time

	lease    *lease
	e        *exchange.Exchange // of the attempt under way
	rec      *recording         // nil where nothing but the access is recorded
	begun    bool               // the client has been sent the status
	got      int64              // bytes of the response's body
	deadline time.Time          // when the deadline of writes was last set
	bufs     [2]*[32 << 10]byte
	gone     bool            // the client does not take any more
	pair     *pair           // whose live arm it is; nil without a coin
	keep     *armOf          // keeps the body too; nil without a coin
	after    <-chan struct{} // closed when the arm before it is sent; nil: it waits for none
	sent     func()          // says that it is; nil if no arm waits for it
	unread   string          // the wire as which the body can be read; "" if as none
	cancel   context.CancelCauseFunc
	ctx      context.Context
}

func (x *passage) run() {
	g := x.g
	model := ""
	if x.q != nil {
		model = x.q.model
	}
	upstreams := x.p.pick(model)
	if x.q == nil && len(upstreams) > 0 { // files and batches are where they were made
		upstreams = x.p.upstreams[:1]
	}
	if len(upstreams) == 0 {
		g.refuse(x.w, x.rt, &refused{http.StatusNotFound, "model_not_found", "no upstream serves the model " + excerpt(model), 0})
		return
	}
	x.next(upstreams[0])
	var no *refused
	if x.lease, no = g.take(x.r.Context(), x.p, x.c, x.q, x.e.ID); no != nil {
		x.c.rateHeaders(x.w.Header(), x.rt, time.Now())
		g.refuse(x.w, x.rt, no)
		return
	}
	defer x.lease.settle(0, 0) // what was not settled was not sent
	if no = x.flip(upstreams[0]); no != nil {
		g.refuse(x.w, x.rt, no)
		return
	}
	if x.pair != nil {
		defer func() { x.pair.settle(x) }()
	}
	for i, u := range upstreams {
		if i > 0 {
			x.next(u)
		}
		resp, err := x.send(u)
		if last := i+1 == len(upstreams); !last && x.r.Context().Err() == nil && (err != nil || failsOver(resp.StatusCode)) {
			if x.failed(resp, err) != nil {
				x.unrecorded()
				return
			}
			continue
		}
		x.relay(resp, err)
		return
	}
}

// next begins an attempt at an upstream.
func (x *passage) next(u *upstream) {
	e := &exchange.Exchange{
		ID: exchange.NewID(time.Now()), Origin: exchange.OriginServed, Provider: u.Name, Endpoint: u.BaseURL, Attempt: 1,
		Account: x.c.key.Account, KeyID: x.c.key.ID, EndUser: x.c.user,
		RequestHeader: keep(x.r.Header, keptRequest), Times: exchange.Times{Queued: x.queued.UnixNano()},
	}
	if x.rt.wire != nil {
		e.Stage, e.ModelAsked, e.RequestBody = x.rt.wire.name, x.q.model, x.q.body
	} else {
		e.Stage, e.RequestBody = x.rt.name, x.body
	}
	if x.e != nil {
		e.Parent, e.Attempt = x.e.ID, x.e.Attempt+1
	}
	x.e = e
}

// send has the intent recorded and sends the request; its response has begun when it
// returns.
func (x *passage) send(u *upstream) (*http.Response, error) {
	parent := x.r.Context()
	if x.pair != nil { // both arms are read to their end
		parent = context.WithoutCancel(parent)
	}
	x.ctx, x.cancel = context.WithCancelCause(parent)
	if x.lease.price != nil {
		x.e.Price, x.e.Worst = x.lease.price.price.ID, x.lease.worst
	}
	if x.after != nil {
		<-x.after
		x.after = nil
	}
	if x.sent != nil {
		defer x.sent()
	}
	x.e.Times.Sent = time.Now().UnixNano()
	if x.rt.wire != nil || x.rt.whole {
		x.rec = x.g.begin(x.e, x.p.cfg.Store, x.lease.spend != nil)
	}
	req, err := u.request(x.ctx, x.p, x.rt, x.r, x.body)
	if err != nil {
		return nil, err
	}
	if x.sent != nil {
		req = req.WithContext(httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { x.sent() }}))
	}
	timer := time.AfterFunc(x.p.cfg.Limits.firstByte, func() { x.cancel(errFirstByte) })
	resp, err := x.g.client.RoundTrip(req)
	timer.Stop()
	if err != nil {
		return nil, x.because(err)
	}
	x.e.Status = resp.StatusCode
	x.e.ResponseHeader = keep(resp.Header, keptResponse)
	x.e.Times.FirstByte = time.Now().UnixNano()
	return resp, nil
}

// because is why the upstream's answer ended: the reason for which it was given
// up, if it was.
func (x *passage) because(err error) error {
	if x.pair == nil && x.r.Context().Err() != nil {
		return errClient
	}
	if cause := context.Cause(x.ctx); cause != nil {
		return cause
	}
	return err
}

// failed records an attempt in whose place another follows.
func (x *passage) failed(resp *http.Response, err error) error {
	defer x.cancel(nil)
	if resp != nil {
		body := readSome(resp)
		if x.rec != nil {
			x.rec.add(body)
		}
	}
	x.conclude(reading{}, err)
	if x.rec == nil {
		return nil
	}
	err = x.rec.end("")
	x.g.trace(x)
	return err
}

// conclude makes of what came back the exchange's usage, class and cost.
func (x *passage) conclude(what reading, cause error) {
	e := x.e
	if e.Times.LastByte == 0 {
		e.Times.LastByte = time.Now().UnixNano()
	}
	e.Answer.FinishReason, e.Usage, e.ModelAnswered, e.Fingerprint = what.finish, what.usage, what.model, what.fingerprint
	if e.Usage.Source == "" {
		e.Usage.Source = exchange.UsageMissing
	}
	if cause == nil {
		cause = what.err
	}
	ok := e.Status >= 200 && e.Status < 300
	switch {
	case cause != nil:
		e.ErrorClass, e.ErrorText = classOf(cause), excerpt(cause.Error())
	case e.Status != 0 && !ok:
		e.ErrorClass = classOfStatus(e.Status)
	}
	if x.q == nil {
		return
	}
	switch {
	case e.Usage.Source == exchange.UsageReported:
	case !ok, refusal(what.err) && what.produced == 0:
		return // it did nothing
	default:
		e.Usage = x.estimate(&what)
	}
	if x.lease.price != nil {
		if e.Cost = x.lease.price.price.Cost(e.Usage); e.Usage.Source != exchange.UsageReported && x.lease.worst > 0 {
			e.Cost = min(e.Cost, x.lease.worst)
		}
	}
}

// estimate guesses token counts where none were reported: four bytes a token, of
// what was produced.
func (x *passage) estimate(what *reading) exchange.Usage {
	u := exchange.Usage{Source: exchange.UsageEstimated, Input: int64(len(x.q.body)+3) / 4}
	if !x.q.generates {
		return u
	}
	if u.Output = (what.produced + 3) / 4; u.Output == 0 { // nothing could be read of it
		u.Output = (x.got + 3) / 4
	}
	return u
}

// finish settles the lease and makes the exchange durable.
func (x *passage) finish() error {
	e := x.e
	x.lease.settle(e.Usage.Input+e.Usage.Output, e.Cost)
	if x.rec == nil {
		x.access()
		return nil
	}
	began := time.Now()
	err := x.rec.end(x.unread)
	x.g.metrics.durable.Observe(time.Since(began).Seconds())
	x.g.metrics.ended(x.rt, e)
	x.g.trace(x)
	return err
}

// access records a request that is no exchange, without waiting for it.
func (x *passage) access() {
	x.g.metrics.requests.WithLabelValues(x.rt.name, strconv.Itoa(x.e.Status), string(x.e.ErrorClass)).Inc()
	rec, err := ledger.NewAccess(ledger.Access{
		Account: x.c.key.Account, KeyID: x.c.key.ID, EndUser: x.c.user, Method: x.r.Method, Path: x.r.URL.Path,
		Status: x.e.Status, Sent: int64(len(x.body)), Got: x.got, Took: int64(time.Since(x.queued)),
	})
	if err != nil {
		x.g.fail(err)
		return
	}
	x.g.ledger.Submit(x.g.fail, rec)
}

// unrecorded ends a request whose end the ledger did not take: never cleanly.
func (x *passage) unrecorded() {
	const message = "the gateway could not record the answer"
	if !x.begun {
		clear(x.w.Header())
		x.rt.fail(x.w, http.StatusServiceUnavailable, "ledger_failed", message)
		return
	}
	if x.q != nil && x.q.stream {
		// What follows aborts the connection in any case.
		_, _ = x.w.Write(x.rt.wire.event(message))
		_ = x.ctl.Flush()
	}
	panic(http.ErrAbortHandler) // net/http's way to cut a connection
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}
