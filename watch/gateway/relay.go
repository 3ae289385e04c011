package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"retort/exchange"
)

// afterLast is how long a stream may stay open after its last event: what comes
// in that time is still passed on with it.
const afterLast = 250 * time.Millisecond

// maxFailed is how much is kept of an answer in whose place another upstream's is
// passed on.
const maxFailed = 64 << 10

// readSome reads the beginning of a body and closes it.
func readSome(resp *http.Response) []byte {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxFailed)) // what came counts
	return body
}

// relay passes an upstream's response on, records it, and lets its end out when it
// is durable.
func (x *passage) relay(resp *http.Response, err error) {
	defer x.cancel(nil)
	x.c.rateHeaders(x.w.Header(), x.rt, time.Now())
	x.w.Header().Set(ExchangeHeader, x.e.ID.String())
	if err != nil {
		x.conclude(reading{}, err)
		if x.finish() != nil {
			x.unrecorded()
			return
		}
		if errors.Is(err, errClient) {
			panic(http.ErrAbortHandler) // nobody reads an answer
		}
		status := http.StatusBadGateway
		if errors.Is(err, errFirstByte) {
			status = http.StatusGatewayTimeout
		}
		x.rt.fail(x.w, status, "upstream_failed", "the upstream did not answer")
		return
	}
	defer resp.Body.Close()
	copyHeader(x.w.Header(), resp.Header)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	encoded := resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity"
	if media == "text/event-stream" && !encoded && x.rt.wire != nil && x.rt.wire.stream != nil {
		x.stream(resp)
		return
	}
	x.whole(resp, encoded)
}

// stream passes server-sent events on.
func (x *passage) stream(resp *http.Response) {
	gate := newGate(x.rt.wire, x.q.strip)
	if x.q.strip {
		x.w.Header().Del("Content-Length")
	}
	x.status(resp)
	defer x.giveBack()
	cause := x.read(resp, func(p []byte) {
		if p = gate.push(p); len(p) > 0 {
			x.write(p)
			x.flush()
		}
	}, func() bool { return gate.over })
	whole := gate.over || cause == nil
	if gate.over {
		cause = nil // what ended a stream after its last event does not matter
	}
	err := gate.err
	if whole && err == nil {
		err = gate.end()
	}
	what := gate.view.read()
	what.err = err
	if !whole {
		what.usage = exchange.Usage{} // a running total need not be the total
	}
	x.unread = x.rt.wire.name
	x.conclude(what, cause)
	if x.finish() != nil {
		x.unrecorded()
		return
	}
	x.write(gate.rest()) // which goes out with the end of the response
	x.close(resp, whole)
}

// whole passes a body on that is no stream: its last piece, and with it the status
// of a short one, waits.
func (x *passage) whole(resp *http.Response, encoded bool) {
	var last, body []byte
	if n := resp.ContentLength; x.q != nil && n > 0 && n <= maxView {
		body = make([]byte, 0, n)
	}
	defer x.giveBack() // last is in one of its buffers
	cause := x.read(resp, func(p []byte) {
		if len(last) > 0 {
			x.status(resp)
			x.write(last)
			x.flush()
		}
		last = p
		if x.q != nil && len(body) < maxView {
			body = append(body, p...)
		}
	}, func() bool { return false })
	var what reading
	if x.q != nil && cause == nil && !encoded && resp.StatusCode/100 == 2 && int64(len(body)) == x.got {
		what = x.rt.wire.whole(body)
		if x.q.generates {
			x.unread = x.rt.wire.name
		}
	}
	x.conclude(what, cause)
	if x.finish() != nil {
		x.unrecorded()
		return
	}
	if cause != nil && !x.begun && !errors.Is(cause, errClient) {
		clear(x.w.Header())
		x.rt.fail(x.w, http.StatusBadGateway, "upstream_failed", "the upstream's answer broke off")
		return
	}
	x.status(resp)
	x.write(last)
	x.close(resp, cause == nil)
}

// giveBack returns the buffers that read has used.
func (x *passage) giveBack() {
	for i, buf := range x.bufs {
		if buf != nil {
			buffers.Put(buf)
			x.bufs[i] = nil
		}
	}
}

// read passes the pieces of a body to each and to the recording until it ends, and
// returns what ended it otherwise than the body's end. Once over says so, what
// comes within a moment still counts. A piece stays as it is until each has
// returned from the next one.
func (x *passage) read(resp *http.Response, each func([]byte), over func() bool) error {
	stall := x.p.cfg.Limits.stall
	timer := time.AfterFunc(stall, func() { x.cancel(errStall) })
	defer func() { timer.Stop() }()
	reset, last := time.Now(), false
	for i := 0; ; {
		if x.bufs[i] == nil {
			x.bufs[i] = buffers.Get().(*[32 << 10]byte)
		}
		buf := x.bufs[i]
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			i = 1 - i
			now := time.Now()
			x.e.Times.LastByte = now.UnixNano()
			x.got += int64(n)
			if x.rec != nil {
				x.rec.add(buf[:n])
			}
			if x.keep != nil {
				x.keep.add(buf[:n])
			}
			each(buf[:n])
			switch {
			case last:
				if x.got > maxHeld && len(buf) == n { // it does not stop talking
					x.cancel(errOver)
				}
			case over():
				last = true
				timer.Stop()
				timer = time.AfterFunc(afterLast, func() { x.cancel(errOver) })
			case now.Sub(reset) > stall/16: // not for every piece
				timer.Reset(stall)
				reset = now
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return x.because(err)
		}
		if x.g.failed.Load() != nil {
			return errors.New("the ledger failed")
		}
	}
}

// status sends the client the status and the headers, once.
func (x *passage) status(resp *http.Response) {
	if x.begun {
		return
	}
	x.begun = true
	for name := range resp.Trailer {
		x.w.Header().Add("Trailer", name)
	}
	x.w.WriteHeader(resp.StatusCode)
}

// write sends the client a piece. A client that does not read is one that has gone.
func (x *passage) write(p []byte) {
	if len(p) == 0 || x.gone {
		return
	}
	if stall, now := x.p.cfg.Limits.stall, time.Now(); now.Sub(x.deadline) > stall/16 { // not for every piece
		// What it cannot set, such as for an answer to memory, it need not.
		_ = x.ctl.SetWriteDeadline(now.Add(stall))
		x.deadline = now
	}
	if _, err := x.w.Write(p); err != nil {
		x.hungUp()
	}
}

// hungUp notes that the client has gone. An arm of a pair is read to its end
// nevertheless: the other one is, too.
func (x *passage) hungUp() {
	if x.gone = true; x.pair == nil {
		x.cancel(errClient)
	}
}

func (x *passage) flush() {
	if x.gone {
		return
	}
	if err := x.ctl.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		x.hungUp()
	}
}

// close ends the response: cleanly, with the upstream's trailers, if its body came
// to its end.
func (x *passage) close(resp *http.Response, whole bool) {
	if !whole || x.gone {
		x.flush()
		panic(http.ErrAbortHandler) // as the upstream did
	}
	for name, values := range resp.Trailer {
		for _, v := range values {
			x.w.Header().Add(name, v)
		}
	}
}

// classOf sorts what ended an exchange.
func classOf(cause error) exchange.ErrorClass {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(cause, errClient):
		return exchange.ClassCancelled
	case errors.Is(cause, errFirstByte), errors.Is(cause, errStall), errors.As(cause, &timeout) && timeout.Timeout():
		return exchange.ClassTimeout
	case errors.Is(cause, errMalformed):
		return exchange.ClassMalformed
	case refusal(cause):
		return exchange.ClassServer
	}
	return exchange.ClassNetwork
}

// classOfStatus sorts an upstream's refusal.
func classOfStatus(status int) exchange.ErrorClass {
	switch {
	case status == http.StatusTooManyRequests:
		return exchange.ClassRateLimited
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return exchange.ClassAuth
	case status == http.StatusNotFound:
		return exchange.ClassNotFound
	case status == http.StatusPaymentRequired:
		return exchange.ClassQuota
	case status >= 500:
		return exchange.ClassServer
	}
	return exchange.ClassInvalid
}
