package gateway

import (
	"context"
	"net/http"
	"sync"

	"retort/exchange"
	"retort/ledger"
)

// Coins are those of the exposure test: of some requests two answers are drawn, and
// a secret coin says which one is served. Another room keeps them and their log.
type Coins interface {
	// Consider decides whether a request carries a coin, by the request and by what
	// was asked before, and never by a coin.
	Consider(CoinRequest) bool
	// Flip flips the coin of a request of which Consider said so, and returns when
	// that is durable in the coins' log: nothing is served before. It returns nil if
	// the request carries none after all.
	Flip(context.Context, CoinRequest) (Coin, error)
}

// CoinRequest is a request that may carry a coin.
type CoinRequest struct {
	Exchange exchange.ID // that will be served
	Account  string      // keyed hash
	Wire     string      // one of ledger's wires
	Body     []byte      // as the client sent it
	Share    float64     // of prompts that are to carry a coin
}

// Coin is one that has been flipped.
type Coin interface {
	// Live is which of the two arms is served, 0 or 1. Arms are numbered in the order
	// in which they are sent, so that the coin and nothing else decides which of two
	// calls is served, in whatever a second one may differ from a first.
	Live() int
	// Settle is called once both arms are over, and returns when their hashes, or
	// that they do not count, are durable in the coins' log.
	Settle(context.Context, [2]Arm) error
}

// Arm is one of the two answers.
type Arm struct {
	Exchange exchange.ID
	Answer   exchange.Answer
	OK       bool // it came to a regular end, and can be read
}

// StageWithheld is the stage of exchanges whose answer nobody was served. They have
// no account and name the served exchange as their parent.
const StageWithheld = "withheld"

// pair is a coin and its two arms, under way.
type pair struct {
	g        *Gateway
	coin     Coin
	live     armOf
	withheld armOf
	drained  chan struct{} // closed when withheld is over
}

// armOf is an arm as it comes.
type armOf struct {
	id   exchange.ID
	body []byte // as far as it is kept
	long bool   // it is not kept whole
	arm  Arm
}

// add keeps the next bytes of the answer.
func (a *armOf) add(p []byte) {
	if a.long = a.long || len(a.body)+len(p) > maxView; !a.long {
		a.body = append(a.body, p...)
	}
}

// end reads the answer of the arm, if it is the exchange's and came to its end.
func (a *armOf) end(e *exchange.Exchange, wire string) {
	a.arm = Arm{Exchange: a.id}
	if e.ID != a.id || e.ErrorClass != "" || e.Status/100 != 2 || a.long || wire == "" {
		return
	}
	a.arm.Answer = ledger.ReadAnswer(wire, e.ResponseHeader["content-type"], a.body)
	a.arm.OK = true
}

// flip has a coin flipped if policy asks for it and the request can carry one, and
// sends the arm that is withheld. The live arm is the passage itself: from then on
// it is read to its end even if the client hangs up.
func (x *passage) flip(u *upstream) *refused {
	g := x.g
	if x.lease.share == 0 || g.coins == nil || x.q == nil || !x.q.generates {
		return nil
	}
	req := CoinRequest{Exchange: x.e.ID, Account: x.c.key.Account, Wire: x.rt.wire.name, Body: x.q.body, Share: x.lease.share}
	if !g.coins.Consider(req) {
		return nil
	}
	coin, err := g.coins.Flip(x.r.Context(), req)
	switch {
	case x.r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has gone; the coins' log closes what it began
	case err != nil:
		g.fail(err)
		return &refused{http.StatusServiceUnavailable, "ledger_failed", "the gateway cannot record what it would serve", 0}
	case coin == nil:
		return nil
	}
	g.acted(x.c, x.lease.rule, x.e.ID, "")
	x.pair = &pair{g: g, coin: coin, live: armOf{id: x.e.ID}, drained: make(chan struct{})}
	x.keep = &x.pair.live
	g.also() // until both arms are settled, whatever becomes of the client
	y, sent := x.twin(u), make(chan struct{})
	first, second := x, y
	if coin.Live() == 1 {
		first, second = y, x
	}
	first.sent, second.after = sync.OnceFunc(func() { close(sent) }), sent
	go x.pair.drain(y, u)
	return nil
}

// twin is the passage of the withheld arm: it belongs to no client.
func (x *passage) twin(u *upstream) *passage {
	y := &passage{g: x.g, p: x.p, rt: x.rt, w: nowhere{}, r: x.r.WithContext(context.WithoutCancel(x.r.Context())), c: x.c, q: x.q, body: x.body, queued: x.queued, lease: &lease{price: x.lease.price, worst: x.lease.worst}}
	y.ctl = http.NewResponseController(y.w)
	y.next(u)
	y.e.Parent, y.e.Stage = x.e.ID, StageWithheld
	y.e.Account, y.e.KeyID, y.e.EndUser = "", "", ""
	x.pair.withheld.id = y.e.ID
	y.keep = &x.pair.withheld
	return y
}

// drain reads the withheld arm to its end.
func (p *pair) drain(y *passage, u *upstream) {
	defer close(p.drained)
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { // as net/http does where there is a client
			panic(v)
		}
		p.withheld.end(y.e, y.unread)
	}()
	resp, err := y.send(u)
	y.relay(resp, err)
}

// settle waits for the withheld arm and has the coin settled.
func (p *pair) settle(x *passage) {
	p.live.end(x.e, x.unread)
	go func() {
		defer p.g.leave()
		<-p.drained
		arms := [2]Arm{p.withheld.arm, p.withheld.arm}
		arms[p.coin.Live()] = p.live.arm
		p.g.fail(p.coin.Settle(context.Background(), arms))
	}()
}

// nowhere is a client that takes everything.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}
