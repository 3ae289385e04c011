package serve

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"retort/student/model"
)

// metrics are what the engine counts since it was made. They hold numbers and
// the names of endpoints, never what was asked, answered or sent as a key.
type metrics struct {
	promptTokens, cachedTokens, outputTokens, refused atomic.Uint64
	used, kept, room                                  atomic.Int64 // tokens of the cache

	mu       sync.Mutex
	requests map[requestKind]uint64
	first    histogram     // seconds from the queue to a request's first token
	each     histogram     // seconds a token after a sequence's first
	slot     time.Duration // how long a sequence keeps its slot: an exponential average, 0 before the first
}

// requestKind is by what requests are told apart.
type requestKind struct {
	endpoint string
	status   int
}

// histogram counts values up to each of its bounds, and beyond the last.
type histogram struct {
	bounds []float64 // ascending
	counts []uint64  // one more
	sum    float64
}

func newHistogram(bounds ...float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v) // a bound belongs to its bucket
	h.counts[i]++
	h.sum += v
}

func newMetrics() *metrics {
	return &metrics{requests: map[requestKind]uint64{},
		first: newHistogram(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
		each:  newHistogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)}
}

// sampled notes that a sequence has a new token.
func (m *metrics) sampled(s *sequence) {
	m.outputTokens.Add(1)
	if s.tokens > 1 {
		return
	}
	s.first = now()
	if s.job.begun {
		return
	}
	s.job.begun = true
	m.mu.Lock()
	m.first.observe(s.first.Sub(s.job.queued).Seconds())
	m.mu.Unlock()
}

// cache notes how full the cache is.
func (m *metrics) cache(u model.CacheUse) {
	m.used.Store(int64(u.Used))
	m.kept.Store(int64(u.Kept))
	m.room.Store(int64(u.Total))
}

// ended notes that a sequence has come to its regular end.
func (m *metrics) ended(s *sequence) {
	t := now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.tokens > 1 {
		m.each.observe(t.Sub(s.first).Seconds() / float64(s.tokens-1))
	}
	kept := t.Sub(s.begun)
	if m.slot == 0 {
		m.slot = kept
	}
	m.slot += (kept - m.slot) / 8
}

// slotTime is how long sequences kept their slots of late, 0 if none has ended.
func (m *metrics) slotTime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slot
}

// statusClosed is nginx's status of a request whose client went away before it
// was answered.
const statusClosed = 499

// count counts the requests to an endpoint by the status of their answers, as
// soon as it is sent: one that fails in mid-stream keeps the status that it began
// with.
func (m *metrics) count(endpoint string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answered := false
		note := func(status int) {
			if !answered {
				m.mu.Lock()
				m.requests[requestKind{endpoint, status}]++
				m.mu.Unlock()
			}
			answered = true
		}
		defer note(statusClosed)
		next(statusWriter{w, note}, r)
	}
}

// statusWriter notes the status of an answer. Handlers here all set one.
type statusWriter struct {
	http.ResponseWriter
	note func(status int)
}

// WriteHeader implements http.ResponseWriter.
func (w statusWriter) WriteHeader(status int) {
	w.note(status)
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (w statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (e *Engine) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer // a slow reader must not hold the engine's locks
	e.writeMetrics(&page)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	w.Write(page.Bytes())
}

// writeMetrics writes everything in Prometheus' text exposition format
// (prometheus.io/docs/instrumenting/exposition_formats).
func (e *Engine) writeMetrics(w io.Writer) {
	e.mu.Lock()
	running, waiting := e.running, e.waiting
	e.mu.Unlock()
	m := e.metrics
	family := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	single := func(name, kind, help string, v uint64) {
		family(name, kind, help)
		fmt.Fprintf(w, "%s %d\n", name, v)
	}
	single("retort_prompt_tokens_total", "counter", "Prompt tokens of the requests taken into the queue.", m.promptTokens.Load())
	single("retort_prompt_tokens_cached_total", "counter", "Prompt tokens that were not read because another prompt began with them.", m.cachedTokens.Load())
	single("retort_completion_tokens_total", "counter", "Tokens sampled.", m.outputTokens.Load())
	single("retort_requests_refused_total", "counter", "Requests refused because the queue was full.", m.refused.Load())
	single("retort_sequences_running", "gauge", "Sequences being decoded.", uint64(running))
	single("retort_sequences_waiting", "gauge", "Sequences in the queue.", uint64(waiting))
	single("retort_slots", "gauge", "Sequences that can be decoded together.", uint64(e.opt.Slots))
	single("retort_queue_limit", "gauge", "Sequences that may wait before requests are refused.", uint64(e.opt.Queue))

	single("go_goroutines", "gauge", "Goroutines that exist.", uint64(runtime.NumGoroutine()))
	single("retort_cache_tokens", "gauge", "Room of the cache in tokens.", uint64(m.room.Load()))
	single("retort_cache_tokens_used", "gauge", "Tokens of the cache taken by sequences being decoded, whole pages counted.", uint64(m.used.Load()))
	single("retort_cache_tokens_kept", "gauge", "Tokens of the cache that are kept for prompts to come.", uint64(m.kept.Load()))

	m.mu.Lock()
	defer m.mu.Unlock()
	distribution := func(name, help string, h *histogram) {
		family(name, "histogram", help)
		total := uint64(0)
		for i, n := range h.counts {
			bound := "+Inf"
			if i < len(h.bounds) {
				bound = strconv.FormatFloat(h.bounds[i], 'g', -1, 64)
			}
			total += n
			fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", name, bound, total)
		}
		fmt.Fprintf(w, "%s_sum %g\n%s_count %d\n", name, h.sum, name, total)
	}
	distribution("retort_time_to_first_token_seconds", "From a request's arrival in the queue to the first token sampled for it.", &m.first)
	distribution("retort_time_per_output_token_seconds", "Mean time of a sequence's tokens after its first, one value for each sequence that ended.", &m.each)
	family("retort_requests_total", "counter", "HTTP requests answered, by endpoint and status (499: the client went away first).")
	for _, k := range slices.SortedFunc(maps.Keys(m.requests), func(a, b requestKind) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.status, b.status))
	}) {
		fmt.Fprintf(w, "retort_requests_total{endpoint=%q,status=\"%d\"} %d\n", k.endpoint, k.status, m.requests[k])
	}
}
