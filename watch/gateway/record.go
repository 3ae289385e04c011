package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"retort/exchange"
	"retort/ledger"
)

// gather is how long read bytes wait for more before they are recorded: a crash in
// the middle of a long answer loses little, and few ends meet a sync under way that
// is not theirs.
const gather = 250 * time.Millisecond

// The headers that are kept, in lower case; a trailing * stands for any rest.
// Everything else may hold a secret.
var (
	keptRequest  = []string{"content-type", "accept", "user-agent", "anthropic-version", "anthropic-beta", "x-stainless-*"}
	keptResponse = []string{"content-type", "content-encoding", "date", "retry-after", "x-request-id", "request-id", "openai-processing-ms", "openai-version", "x-ratelimit-*", "anthropic-ratelimit-*"}
)

func keep(h http.Header, allowed []string) map[string]string {
	kept := make(map[string]string)
	for name, values := range h {
		name = strings.ToLower(name)
		if slices.ContainsFunc(allowed, func(a string) bool {
			prefix, any := strings.CutSuffix(a, "*")
			return name == a || any && strings.HasPrefix(name, prefix)
		}) {
			kept[name] = strings.Join(values, ", ")
		}
	}
	return kept
}

// pieces are slices in which bytes gather before they are recorded.
var pieces = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is how long they may be to be kept.
const maxPooled = 64 << 10

// recording writes one exchange into the ledger while it happens. It is used by
// one goroutine.
type recording struct {
	g     *Gateway
	e     *exchange.Exchange
	store Store

	started *exchange.Exchange // e as it was when it was sent

	piece   []byte // of the response body, not yet submitted
	seq     int
	flushed time.Time
	timer   *time.Timer // submits the intent, if nothing did before
	intent  sync.Once
	size    int64 // of the response body so far
	salt    [16]byte
	sum     hash.Hash // of the salt and the response body, where only that is kept
	request string    // salted hash of the request body, likewise
}

// begin has the intent recorded: at once where the key's money is counted, since
// what a crash forgets could be spent again; else within a moment, together with
// what has come by then.
func (g *Gateway) begin(e *exchange.Exchange, store Store, atOnce bool) *recording {
	started := *e
	r := &recording{g: g, e: e, store: store, started: &started, flushed: time.Now()}
	if store == StoreHashed {
		rand.Read(r.salt[:]) // never fails
		r.sum = sha256.New()
		r.sum.Write(r.salt[:])
		h := sha256.New()
		h.Write(r.salt[:])
		h.Write(e.RequestBody)
		r.request = hex.EncodeToString(h.Sum(nil))
	}
	if atOnce {
		r.submitIntent()
		return r
	}
	r.timer = time.AfterFunc(gather, r.submitIntent)
	return r
}

// submitIntent submits the intent, unless it is.
func (r *recording) submitIntent() {
	r.intent.Do(func() {
		if rec, err := r.intentRecord(); err == nil {
			r.g.ledger.Submit(r.g.fail, rec)
		}
	})
}

// intentRecord makes the intent. That it cannot be made fails the gateway.
func (r *recording) intentRecord() (ledger.Record, error) {
	kept := *r.started
	if r.store != StoreFull {
		kept.RequestBody = nil
	}
	rec, err := ledger.NewIntent(&kept)
	r.g.fail(err)
	return rec, err
}

// add records the next bytes of the response body. It waits while too much is not
// yet durable.
func (r *recording) add(p []byte) {
	r.size += int64(len(p))
	if r.sum != nil {
		r.sum.Write(p)
	}
	if r.store != StoreFull {
		return
	}
	if r.piece == nil {
		r.piece = *pieces.Get().(*[]byte)
	}
	for len(p) > 0 {
		n := min(len(p), ledger.MaxFragment-len(r.piece))
		r.piece = append(r.piece, p[:n]...)
		p = p[n:]
		if len(r.piece) == ledger.MaxFragment || time.Since(r.flushed) >= gather {
			r.flush()
		}
	}
}

// flush submits what has gathered. Until that is durable it counts against the
// memory that all answers share.
func (r *recording) flush() {
	rec, ok := r.next()
	if !ok {
		return
	}
	r.submitIntent()
	n := int64(len(rec.Body))
	// It comes to its end: what is submitted becomes durable, or fails.
	if r.g.pending.Acquire(context.Background(), n) == nil {
		r.g.ledger.Submit(func(err error) {
			r.g.pending.Release(n)
			r.g.fail(err)
		}, rec)
	}
	r.flushed = time.Now()
}

func (r *recording) next() (ledger.Record, bool) {
	if len(r.piece) == 0 {
		return ledger.Record{}, false
	}
	rec := ledger.NewFragment(r.e.ID, r.seq, r.piece, time.Now().UnixNano())
	r.seq++
	r.piece = r.piece[:0] // the records are submitted before the next add
	return rec, true
}

// end submits what is left with the end and returns when all of the exchange is
// durable. Unread is the wire as which who wants the answer can read the body.
func (r *recording) end(unread string) error {
	if r.timer != nil {
		r.timer.Stop()
	}
	recs := make([]ledger.Record, 0, 3)
	r.intent.Do(func() { // all of a short exchange is one write
		if rec, err := r.intentRecord(); err == nil {
			recs = append(recs, rec)
		}
	})
	if rec, ok := r.next(); ok {
		recs = append(recs, rec)
	}
	head := ledger.EndOf(r.e)
	head.ResponseBytes = r.size
	if r.store == StoreFull {
		head.Unread = unread
	} else {
		head.ResponseBytes = 0 // the ledger has none of them
		head.Extra = map[string]json.RawMessage{
			"store": text(string(r.store)), "request_received": number(int64(len(r.e.RequestBody))), "response_received": number(r.size),
		}
	}
	if r.sum != nil {
		head.Extra["salt"] = text(hex.EncodeToString(r.salt[:]))
		head.Extra["request_sha256"] = text(r.request)
		head.Extra["response_sha256"] = text(hex.EncodeToString(r.sum.Sum(nil)))
	}
	rec, err := head.Record(r.e.ID)
	if err != nil {
		r.g.fail(err)
		return err
	}
	done := make(chan error, 1)
	r.g.ledger.Submit(func(err error) { done <- err }, append(recs, rec)...)
	if piece := r.piece[:0]; cap(piece) > 0 && cap(piece) <= maxPooled {
		pieces.Put(&piece)
	}
	r.piece = nil
	err = <-done
	r.g.fail(err)
	return err
}

func text(s string) json.RawMessage  { return strconv.AppendQuote(nil, s) } // of plain letters and digits
func number(n int64) json.RawMessage { return strconv.AppendInt(nil, n, 10) }
