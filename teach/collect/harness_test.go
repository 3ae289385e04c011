package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"retort/exchange"
	"retort/ledger"
	"retort/meter"
	"retort/openai"
	"retort/price"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "sk-very-secret-0123456789"

var tariff = price.Price{ID: "test", Input: 7, CachedInput: 3, Output: 11}

// memory is a ledger in memory.
type memory struct {
	mu   sync.Mutex
	recs []ledger.Record
	gate func(ledger.Record) error // called before a record is kept; may block
}

func (m *memory) Append(ctx context.Context, recs ...ledger.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range recs {
		if m.gate != nil {
			if err := m.gate(r); err != nil {
				return err
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recs = append(m.recs, recs...)
	return nil
}

func (m *memory) Scan(_ context.Context, fn func(ledger.Record) error) error {
	m.mu.Lock()
	recs := slices.Clone(m.recs)
	m.mu.Unlock()
	for _, r := range recs {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// exchanges reads the ledger together.
func (m *memory) exchanges(t *testing.T) (all []*exchange.Exchange) {
	t.Helper()
	err := ledger.Exchanges(t.Context(), m, func(e *exchange.Exchange) error { all = append(all, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// classes lists the error classes of the attempts in the ledger.
func (m *memory) classes(t *testing.T) (out []string) {
	for _, e := range m.exchanges(t) {
		out = append(out, string(e.ErrorClass))
	}
	return out
}

// teacher is a scripted server behind an in-memory network, so that the tests
// run on a fake clock.
type teacher struct {
	answer func(n int, w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) // n from 0
	dial   func() error                                                               // fails a connection

	mu       sync.Mutex
	n        int
	bill     map[string]exchange.Pico // by attempt
	requests []*http.Request
	bodies   []string
}

// charge bills an attempt.
func (s *teacher) charge(r *http.Request, u openai.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bill == nil {
		s.bill = make(map[string]exchange.Pico)
	}
	s.bill[r.Header.Get(AttemptHeader)] += tariff.Cost(u.Exchange())
}

func (s *teacher) billed() exchange.Pico {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := exchange.Pico(0)
	for _, p := range s.bill {
		sum += p
	}
	return sum
}

func (s *teacher) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func (s *teacher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/models" {
		s.answer(-1, w, r, nil)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	q := new(openai.ChatRequest)
	if err := json.Unmarshal(body, q); err != nil {
		openai.WriteError(w, 400, "invalid_request_error", "", err.Error())
		return
	}
	s.mu.Lock()
	n := s.n
	s.n++
	s.requests = append(s.requests, r)
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	s.answer(n, w, r, q)
}

// usage is what a test answer uses.
var usage = openai.Usage{PromptTokens: 10, CompletionTokens: 5, TotalTokens: 15}

// good sends a regular answer that repeats the question.
func (s *teacher) good(w http.ResponseWriter, r *http.Request, q *openai.ChatRequest) {
	s.charge(r, usage)
	text, stop := "re: "+q.Messages[0].Content.String(), "stop"
	if !q.Stream {
		openai.WriteJSON(w, 200, openai.ChatResponse{ID: "i", Model: "m-1", Choices: []openai.Choice{{Message: openai.Message{Role: "assistant", Content: openai.Text(text)}, FinishReason: "stop"}}, Usage: &usage})
		return
	}
	sw := openai.NewStreamWriter(w)
	sw.Send(openai.ChatChunk{ID: "i", Model: "m-1", Choices: []openai.ChunkChoice{{Delta: openai.Delta{Content: &text}}}})
	sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{{FinishReason: &stop}}})
	sw.Send(openai.ChatChunk{Choices: []openai.ChunkChoice{}, Usage: &usage})
	sw.Done()
}

// cut ends the connection in the middle.
func cut(w http.ResponseWriter) {
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// rig is a collector, its teacher, ledger and budget.
type rig struct {
	*Collector
	t      *testing.T
	s      *teacher
	ledger *memory
	budget *meter.Budget
}

// start serves s and makes a collector for it. Everything is closed when the
// test calls the function returned.
func start(t *testing.T, s *teacher, change func(*Config)) (*rig, func()) {
	t.Helper()
	r, stop := serve(t, s, func() error {
		if s.dial == nil {
			return nil
		}
		return s.dial()
	}, change)
	r.s = s
	return r, stop
}

// serve is start for any handler.
func serve(t *testing.T, h http.Handler, dial func() error, change func(*Config)) (*rig, func()) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(l) }()
	transport := newTransport(64)
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := dial(); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
	r := &rig{t: t, ledger: &memory{}, budget: meter.NewBudget(exchange.Dollar)}
	cfg := Config{
		BaseURL: "http://teacher.test/v1", APIKey: secret, Provider: "test", Model: "m", Price: tariff,
		Budget: r.budget, Ledger: r.ledger, Limits: Limits{Concurrent: 8}, Stream: true,
		TermsID: "row", TermsBasis: "basis", Transport: transport, Seed: 1,
	}
	if change != nil {
		change(&cfg)
	}
	r.budget = cfg.Budget
	if m, ok := cfg.Ledger.(*memory); ok {
		r.ledger = m
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Collector = c
	return r, func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		srv.Close()
		<-served
	}
}

func question(text string) exchange.Request {
	return exchange.Request{Messages: []exchange.Message{{Role: "user", Content: text}}, MaxTokens: 100, Run: "run", Stage: "collect", Family: "f", Problem: "p"}
}

// agree checks that our books are those of the teacher: every attempt that it
// billed is in the ledger at no less, and the budget holds their sum.
func (r *rig) agree() {
	r.t.Helper()
	var sum exchange.PicoSum
	ours := make(map[string]exchange.Pico)
	for _, e := range r.ledger.exchanges(r.t) {
		sum.Add(e.Cost)
		ours[e.ID.String()] = e.Cost
		if e.Usage.Source == exchange.UsageReported && e.Cost != r.s.bill[e.ID.String()] {
			r.t.Errorf("attempt %s: %d in our books, %d on the bill", e.ID, e.Cost, r.s.bill[e.ID.String()])
		}
	}
	for id, p := range r.s.bill {
		if ours[id] < p {
			r.t.Errorf("attempt %s is billed %d and in our books at %d", id, p, ours[id])
		}
	}
	if r.budget.Spent().Cmp(sum) != 0 || r.budget.Reserved().Cmp(exchange.PicoSum{}) != 0 {
		r.t.Errorf("budget has spent %v and reserved %v, ledger says %v", r.budget.Spent(), r.budget.Reserved(), sum)
	}
	s := r.Stats()
	both := s.Reported
	both.AddSum(s.UpperBound)
	if both.Cmp(sum) != 0 {
		r.t.Errorf("stats add up to %v, ledger to %v", both, sum)
	}
}

func wantClass(t *testing.T, err error, class exchange.ErrorClass, words ...string) {
	t.Helper()
	var e *exchange.Error
	if !errors.As(err, &e) || e.Class != class {
		t.Errorf("error is %v, want class %s", err, class)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

var errDisk = errors.New("disk is full")

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func numbered(n int) string { return fmt.Sprintf("question %d", n) }
