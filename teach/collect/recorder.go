package collect

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"retort/exchange"
	"retort/ledger"
)

// gather is how long read bytes wait for more before they are recorded, so
// that a short response is one write, together with its end, and a crash in
// the middle of a long one loses little.
const gather = 50 * time.Millisecond

// recorder collects a response body and records it in fragments while it is
// being read: one fragment at a time is being made durable, and meanwhile the
// next gathers.
type recorder struct {
	ledger ledger.Appender
	id     exchange.ID
	secret []byte      // is not recorded; "" if there is none
	failed func(error) // told, at most once, that a fragment could not be recorded
	ends   []string    // how the lines begin that begin a stream's last event

	body    []byte // all that was read; written by add only
	scanned int    // bytes of body in which no last event begins
	ending  bool   // the last event has begun

	mu       sync.Mutex
	recorded int // bytes of body that are, or are being made, durable
	read     int // bytes of body that may be recorded
	seq      int
	timer    *time.Timer // of the next write; nil if none is due or running
	running  sync.WaitGroup
	err      error
	closed   bool
}

// add appends what was read.
func (r *recorder) add(p []byte) {
	from := len(r.body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.body = append(r.body, p...)
	hide(r.body[max(r.recorded, from-len(r.secret)):], r.secret)
	// The last bytes may be the beginning of the secret.
	r.read = max(r.recorded, len(r.body)-max(len(r.secret)-1, 0))
	if r.timer == nil && r.read > r.recorded && r.err == nil {
		r.running.Add(1)
		r.timer = time.AfterFunc(gather, r.write)
	}
}

// hide overwrites the secret with as many asterisks.
func hide(b, secret []byte) {
	if len(secret) == 0 {
		return
	}
	for {
		i := bytes.Index(b, secret)
		if i < 0 {
			return
		}
		for j := range secret {
			b[i+j] = '*'
		}
		b = b[i+len(secret):]
	}
}

// write records what has gathered, until nothing has.
func (r *recorder) write() {
	defer r.running.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed && r.err == nil && r.read > r.recorded {
		rec := r.next(r.read)
		r.mu.Unlock()
		err := r.ledger.Append(context.Background(), rec)
		r.mu.Lock()
		if err != nil {
			r.err = err
			r.failed(err)
		}
	}
	r.timer = nil
}

// next cuts a fragment off what is not recorded, up to the given end.
func (r *recorder) next(end int) ledger.Record {
	end = min(end, r.recorded+ledger.MaxFragment)
	rec := ledger.NewFragment(r.id, r.seq, bytes.Clone(r.body[r.recorded:end]), time.Now().UnixNano())
	r.recorded = end
	r.seq++
	return rec
}

// finish waits for what is being recorded and returns the fragments of the
// rest, which the caller records together with the end. The error says that an
// earlier fragment could not be recorded.
func (r *recorder) finish() ([]ledger.Record, error) {
	r.mu.Lock()
	r.closed = true
	if r.timer != nil && r.timer.Stop() {
		r.running.Done()
	}
	r.mu.Unlock()
	r.running.Wait()
	var rest []ledger.Record
	for r.recorded < len(r.body) {
		rest = append(rest, r.next(len(r.body)))
	}
	return rest, r.err
}

// streamIsOver reports whether the body holds a stream's last event. Only an
// event can begin a line with it: JSON has no raw line breaks inside of strings.
// The event has ended when a blank line follows.
func (r *recorder) streamIsOver() bool {
	if !r.ending {
		const longest = 64 // more than any beginning of a line that is looked for
		recent := r.body[max(0, r.scanned-longest):]
		r.scanned = len(r.body)
		r.ending = slices.ContainsFunc(r.ends, func(line string) bool {
			return bytes.Contains(recent, []byte("\n"+line)) || bytes.Contains(recent, []byte("\r"+line))
		})
	}
	return r.ending && slices.ContainsFunc([]string{"\n\n", "\r\n\r\n", "\r\r"}, func(blank string) bool { return bytes.HasSuffix(r.body, []byte(blank)) })
}
