package reference

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// Teacher answers requests: Handler is its HTTP interface, Start serves it. It
// is safe for concurrent use.
type Teacher struct {
	cfg     Config
	delays  delays
	bill    *bill // nil without one
	limiter *limiter
	now     func() time.Time
	sleep   func(r *http.Request, d time.Duration) // the delays of faults
	calls   atomic.Uint64                          // names requests
	cache   promptCache

	mu         sync.Mutex
	burstUntil time.Time
	counts     map[string]int
	closed     bool
}

// maxBody bounds a request body in bytes.
const maxBody = 4 << 20

// New makes a teacher and opens its bill. Close it, or the Server that Start
// returns.
func New(cfg Config) (*Teacher, error) {
	d, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	t := &Teacher{cfg: cfg, delays: d, now: time.Now, sleep: sleep, counts: map[string]int{}}
	if cfg.RPS > 0 {
		t.limiter = newLimiter(&cfg, d, t.now())
	}
	if cfg.BillPath != "" {
		if t.bill, err = openBill(cfg.BillPath, syncDir); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Close closes the bill; requests that come after it fail.
func (t *Teacher) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.bill == nil {
		return nil
	}
	t.closed = true
	if err := t.bill.close(); err != nil {
		return fmt.Errorf("close bill: %w", err)
	}
	return nil
}

// Counts returns how many requests ended in which way so far: "answered",
// "refused" (not a valid request, wrong key), "limited" (429), "failed" (the
// bill could not be written) or the name of a fault as in Faults' options.
func (t *Teacher) Counts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]int, len(t.counts))
	for k, n := range t.counts {
		out[k] = n
	}
	return out
}

func (t *Teacher) count(what string) {
	t.mu.Lock()
	t.counts[what]++
	t.mu.Unlock()
}

// Handler returns the teacher's HTTP interface: /v1/chat/completions,
// /v1/responses, /v1/messages, /v1/models and /healthz.
func (t *Teacher) Handler() http.Handler {
	mux := http.NewServeMux()
	known := []string{"/v1/models", "/healthz"}
	for _, d := range dialects {
		mux.HandleFunc("POST "+d.path, func(w http.ResponseWriter, r *http.Request) { t.answer(d, w, r) })
		known = append(known, d.path)
	}
	mux.HandleFunc("GET /v1/models", t.models)
	mux.HandleFunc("GET /v1/models/{id}", t.model)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_ = openai.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse := dialectOf(r).refuse
		if slices.Contains(known, r.URL.Path) {
			_ = refuse(w, &openai.APIError{Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
				Message: fmt.Sprintf("%s does not take %s", r.URL.Path, r.Method)})
			return
		}
		_ = refuse(w, &openai.APIError{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url", Message: "unknown URL: " + r.Method + " " + r.URL.Path})
	})
	return mux
}

func (t *Teacher) models(w http.ResponseWriter, r *http.Request) {
	d := dialectOf(r)
	if !t.authorize(d, w, r) {
		return
	}
	if d.path == messagesPath {
		name := t.cfg.ModelName()
		_ = anthropic.WriteJSON(w, http.StatusOK, anthropic.ModelList{Data: []anthropic.Model{t.messagesCard()}, FirstID: &name, LastID: &name})
		return
	}
	_ = openai.WriteJSON(w, http.StatusOK, openai.ModelList{Object: "list", Data: []openai.Model{t.card()}})
}

func (t *Teacher) model(w http.ResponseWriter, r *http.Request) {
	d := dialectOf(r)
	if !t.authorize(d, w, r) {
		return
	}
	switch id := r.PathValue("id"); {
	case id != t.cfg.ModelName():
		_ = d.refuse(w, t.noModel(id))
	case d.path == messagesPath:
		_ = anthropic.WriteJSON(w, http.StatusOK, t.messagesCard())
	default:
		_ = openai.WriteJSON(w, http.StatusOK, t.card())
	}
}

func (t *Teacher) card() openai.Model {
	return openai.Model{ID: t.cfg.ModelName(), Object: "model", Created: 1735689600, OwnedBy: "retort"}
}

func (t *Teacher) noModel(name string) *openai.APIError {
	return &openai.APIError{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("the model %q does not exist; there is %q", name, t.cfg.ModelName())}
}

// admit asks the limiter and ongoing bursts, or answers 429.
func (t *Teacher) admit(d *dialect, w http.ResponseWriter, f fault) bool {
	now := t.now()
	wait := time.Duration(0)
	if t.limiter != nil {
		s := t.limiter.take(now)
		if d.path == messagesPath {
			w.Header().Set("Anthropic-Ratelimit-Requests-Limit", strconv.Itoa(s.limit))
			w.Header().Set("Anthropic-Ratelimit-Requests-Remaining", strconv.Itoa(s.remaining))
			w.Header().Set("Anthropic-Ratelimit-Requests-Reset", now.Add(s.full).UTC().Format(time.RFC3339Nano))
		} else {
			w.Header().Set("X-Ratelimit-Limit-Requests", strconv.Itoa(s.limit))
			w.Header().Set("X-Ratelimit-Remaining-Requests", strconv.Itoa(s.remaining))
			w.Header().Set("X-Ratelimit-Reset-Requests", s.full.Round(time.Millisecond).String())
		}
		if !s.ok {
			wait = s.wait
		}
	}
	t.mu.Lock()
	if f == faultRateLimit && !now.Before(t.burstUntil) {
		t.burstUntil = now.Add(t.delays.burst)
	}
	burst := t.burstUntil.Sub(now)
	t.mu.Unlock()
	if f == faultRateLimit {
		wait = max(wait, time.Millisecond) // a burst of no length still refuses its first request
	}
	if wait = max(wait, burst); wait <= 0 {
		return true
	}
	t.count("limited")
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	w.Header().Set("Retry-After-Ms", strconv.FormatInt((wait+time.Millisecond-1).Milliseconds(), 10))
	_ = d.refuse(w, &openai.APIError{Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded",
		Message: fmt.Sprintf("rate limit reached; try again in %s", wait.Round(time.Millisecond))})
	return false
}

// answer answers a request in the wire that it is made in.
func (t *Teacher) answer(d *dialect, w http.ResponseWriter, r *http.Request) {
	call := t.calls.Add(1)
	w.Header().Set(d.idName, fmt.Sprintf("req-%d", call))
	if !t.authorize(d, w, r) {
		return
	}
	attempt := r.Header.Get(AttemptHeader)
	drawn := attempt
	if drawn == "" {
		drawn = fmt.Sprintf("call %d", call)
	}
	f := t.cfg.Faults.draw(drawn)
	if !t.admit(d, w, f) {
		return
	}
	req, bad := d.read(w, r)
	if bad == nil {
		bad = t.check(req.ChatRequest)
	}
	if bad != nil {
		t.count("refused")
		_ = d.refuse(w, bad)
		return
	}
	if f == faultServerError {
		t.count(string(f))
		_ = d.refuse(w, d.failure(w, drawn))
		return
	}
	rep, err := t.reply(req, f)
	if err == nil {
		err = t.charge(rep, attempt, f)
	}
	if err != nil {
		t.count("failed")
		_ = d.refuse(w, &openai.APIError{Status: http.StatusInternalServerError, Type: "server_error", Message: err.Error()})
		return
	}
	if f == faultNone {
		t.count("answered")
	} else {
		t.count(string(f))
	}
	if f == faultSlowStart {
		t.sleep(r, t.delays.slow)
	}
	if req.Stream {
		d.stream(t, w, r, rep)
	} else {
		d.send(t, w, r, rep)
	}
}

// check reports what the teacher cannot do of a request that is well formed.
func (t *Teacher) check(req *openai.ChatRequest) *openai.APIError {
	bad := func(param, format string, args ...any) *openai.APIError {
		return &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
	}
	if req.Model != t.cfg.ModelName() {
		return t.noModel(req.Model)
	}
	if v := req.Temperature; v != nil && (*v < 0 || *v > 2) {
		return bad("temperature", "temperature is %v, must be between 0 and 2", *v)
	}
	if v := req.TopP; v != nil && (*v <= 0 || *v > 1) {
		return bad("top_p", "top_p is %v, must be above 0 and at most 1", *v)
	}
	if len(req.Stop) > 4 {
		return bad("stop", "stop holds %d sequences, at most 4 are allowed", len(req.Stop))
	}
	user := false
	for i, m := range req.Messages {
		switch m.Role {
		case "system", "developer", "assistant", "tool":
		case "user":
			user = true
		default:
			return bad(fmt.Sprintf("messages[%d].role", i), "the role %q is none of system, developer, user, assistant, tool", m.Role)
		}
		if !m.Content.TextOnly() {
			return bad(fmt.Sprintf("messages[%d].content", i), "this model reads text only")
		}
	}
	if !user {
		return bad("messages", "messages hold none of the role user")
	}
	return nil
}

// reply is everything that one request gets.
type reply struct {
	id      string
	created openai.Unix
	req     *asked
	answers []*answer
	usage   BillUsage
	fault   fault
}

// reply generates the answers to a request.
func (t *Teacher) reply(req *asked, f fault) (*reply, error) {
	n := 1
	if req.N != nil {
		n = *req.N
	}
	rep := &reply{req: req, created: openai.Unix(t.now().Unix()), fault: f}
	rep.id = fmt.Sprintf("chatcmpl-%s", exchange.NewID(t.now()))
	rep.usage.Input = inputTokens(req.ChatRequest)
	t.cache.serve(req.cache, &rep.usage, t.now())
	for i := range n {
		a, err := t.generate(req.ChatRequest, i, f == faultEmptyThink || req.silent)
		if err != nil {
			return nil, err
		}
		rep.answers = append(rep.answers, a)
		rep.usage.Output += int64(len(a.tokens))
		rep.usage.Reasoning += a.reasoning
	}
	return rep, nil
}

// charge writes the bill for a reply; it returns when that is on disk.
func (t *Teacher) charge(rep *reply, attempt string, f fault) error {
	if t.bill == nil {
		return nil
	}
	u := rep.usage
	return t.bill.add(BillLine{
		Attempt: attempt,
		Time:    t.now().UnixNano(),
		Model:   t.cfg.ModelName(),
		Usage:   u,
		Cost:    t.cfg.Prices().Cost(u.exchange()),
		Status:  http.StatusOK,
		Fault:   string(f),
	})
}

// fingerprint names the teacher's configuration in its replies.
func (t *Teacher) fingerprint() string {
	sum := sha256.Sum256([]byte(t.cfg.Endpoint()))
	return "fp_" + hex.EncodeToString(sum[:5])
}
