package serve

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"retort/openai"
)

// Handler serves POST /v1/chat/completions and /v1/completions, GET /v1/models
// and /v1/models/{model}, GET /metrics in Prometheus' text format, and GET
// /health, also as /healthz, which alone needs no key.
func (e *Engine) Handler() http.Handler {
	mux := http.NewServeMux()
	var paths []string
	add := func(method, path string, serve http.HandlerFunc) {
		mux.HandleFunc(method+" "+path, e.metrics.count(path, serve))
		paths = append(paths, path)
	}
	add("POST", "/v1/chat/completions", e.guard(e.serveChat))
	add("POST", "/v1/completions", e.guard(e.serveCompletions))
	add("GET", "/v1/models", e.guard(e.serveModels))
	add("GET", "/v1/models/{model...}", e.guard(e.serveModel))
	add("GET", "/metrics", e.guard(e.serveMetrics))
	add("GET", "/health", e.serveHealth)
	add("GET", "/healthz", e.serveHealth)
	mux.HandleFunc("/", e.metrics.count("other", func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(paths, r.URL.Path) {
			openai.WriteError(w, http.StatusMethodNotAllowed, "invalid_request_error", "method_not_allowed", r.Method+" is not allowed on "+r.URL.Path)
			return
		}
		openai.WriteError(w, http.StatusNotFound, "invalid_request_error", "not_found", "there is nothing at "+r.URL.Path+"; see /v1/models, /v1/chat/completions and /v1/completions")
	}))
	return mux
}

// guard asks for an API key where there are any.
func (e *Engine) guard(next http.HandlerFunc) http.HandlerFunc {
	if len(e.opt.APIKeys) == 0 {
		return next
	}
	var sums [][sha256.Size]byte
	for _, k := range e.opt.APIKeys {
		sums = append(sums, sha256.Sum256([]byte(k)))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum, right := sha256.Sum256([]byte(key)), 0
		for i := range sums {
			right |= subtle.ConstantTimeCompare(sum[:], sums[i][:])
		}
		if !ok || right == 0 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			openai.WriteError(w, http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "the API key is missing or wrong: send it as Authorization: Bearer KEY")
			return
		}
		next(w, r)
	}
}

func (e *Engine) serveChat(w http.ResponseWriter, r *http.Request) {
	req, bad := openai.ReadChatRequest(w, r, e.opt.MaxBody)
	if bad != nil {
		openai.WriteAPIError(w, bad)
		return
	}
	j, bad := e.newJob(req)
	if bad != nil {
		openai.WriteAPIError(w, bad)
		return
	}
	if req.Stream {
		e.streamChat(w, r, req, j)
		return
	}
	resp, err := e.complete(r.Context(), j, false)
	if err != nil {
		e.fail(w, err)
		return
	}
	openai.WriteJSON(w, http.StatusOK, resp)
}

func (e *Engine) streamChat(w http.ResponseWriter, r *http.Request, req *openai.ChatRequest, j *job) {
	shared := newReply("chatcmpl-")
	chunk := func(choices ...openai.ChunkChoice) openai.ChatChunk {
		if choices == nil {
			choices = []openai.ChunkChoice{}
		}
		return openai.ChatChunk{ID: shared.id, Object: "chat.completion.chunk", Created: shared.created, Model: e.served[j.model].name,
			SystemFingerprint: e.served[j.model].fingerprint, Choices: choices}
	}
	s := streamed{begin: func(send func(any) error) error {
		for i := range j.n {
			empty := ""
			if err := send(chunk(openai.ChunkChoice{Index: i, Delta: openai.Delta{Role: "assistant", Content: &empty}})); err != nil {
				return err
			}
		}
		return nil
	}, event: func(ev event, send func(any) error) error {
		for _, c := range e.chunkChoices(j, ev) {
			if err := send(chunk(c)); err != nil {
				return err
			}
		}
		return nil
	}}
	if req.StreamOptions != nil && req.StreamOptions.IncludeUsage {
		s.usage = func(u *openai.Usage) any {
			last := chunk()
			last.Usage = u
			return last
		}
	}
	e.stream(w, r, j, s)
}

// streamed is how a wire words a stream: its beginning, what each event of the
// job adds, and its usage, each nil where the wire has none.
type streamed struct {
	begin func(send func(any) error) error
	event func(ev event, send func(any) error) error
	usage func(*openai.Usage) any
}

// stream runs a job and sends what it says as it comes.
func (e *Engine) stream(w http.ResponseWriter, r *http.Request, j *job, s streamed) {
	var out *openai.StreamWriter
	tokens, reasoning, err := e.run(r.Context(), j, false, func(ev event) error {
		// The status line waits for the first event, so that what fails before it
		// is an error with a status.
		if out == nil {
			out = openai.NewStreamWriter(w)
			if s.begin != nil {
				if err := s.begin(out.Send); err != nil {
					return err
				}
			}
		}
		return s.event(ev, out.Send)
	})
	switch {
	case err != nil && out == nil:
		e.fail(w, err)
		return
	case err != nil:
		out.Error(apiError(err)) // a client that has gone does not read it
		return
	}
	if s.usage != nil && out.Send(s.usage(usage(j, tokens, reasoning))) != nil {
		return
	}
	out.Done()
}

// chunkChoices are the pieces of an event, in the order reasoning, content, end.
func (e *Engine) chunkChoices(j *job, ev event) []openai.ChunkChoice {
	var out []openai.ChunkChoice
	if ev.piece.reasoning != "" {
		out = append(out, openai.ChunkChoice{Index: ev.choice, Delta: openai.Delta{ReasoningContent: &ev.piece.reasoning}})
	}
	if ev.piece.content != "" || len(ev.logprobs) > 0 && len(out) == 0 {
		out = append(out, openai.ChunkChoice{Index: ev.choice, Delta: openai.Delta{Content: &ev.piece.content}})
	}
	if len(ev.logprobs) > 0 {
		out[0].Logprobs = e.logprobsJSON(j, ev.logprobs)
	}
	if ev.finish != "" {
		out = append(out, openai.ChunkChoice{Index: ev.choice, FinishReason: &ev.finish})
	}
	return out
}

// fail answers a request that came to nothing.
func (e *Engine) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) {
		return // the client has gone
	}
	bad := apiError(err)
	switch bad.Status {
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter()))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	openai.WriteAPIError(w, bad)
}

// retryAfter is in how many seconds, 1 to 60 (official clients heed no longer
// wait), a request that found the queue full may come again: when those that
// wait now should have their slots, judged by how long others kept theirs.
func (e *Engine) retryAfter() int {
	e.mu.Lock()
	turns := float64(e.waiting) / float64(e.opt.Slots)
	e.mu.Unlock()
	wait := time.Duration(turns * float64(e.metrics.slotTime()))
	return int(min(max(1, (wait+time.Second-1)/time.Second), 60))
}

func apiError(err error) *openai.APIError {
	var bad *openai.APIError
	switch {
	case errors.As(err, &bad):
		return bad
	case errors.Is(err, errBusy):
		return &openai.APIError{Status: http.StatusTooManyRequests, Type: "rate_limit_exceeded", Code: "queue_full", Message: "too many requests are waiting: try again in a moment"}
	case errors.Is(err, errClosed):
		return &openai.APIError{Status: http.StatusServiceUnavailable, Type: "server_error", Code: "shutting_down", Message: "the server is shutting down"}
	}
	return &openai.APIError{Status: http.StatusInternalServerError, Type: "server_error", Message: err.Error()}
}

func (e *Engine) serveModels(w http.ResponseWriter, _ *http.Request) {
	list := openai.ModelList{Object: "list"}
	for _, s := range e.served {
		list.Data = append(list.Data, e.modelEntry(s.name))
	}
	openai.WriteJSON(w, http.StatusOK, list)
}

func (e *Engine) serveModel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("model")
	if _, bad := e.modelOf(name); bad != nil {
		openai.WriteAPIError(w, bad)
		return
	}
	openai.WriteJSON(w, http.StatusOK, e.modelEntry(name))
}

func (e *Engine) modelEntry(name string) openai.Model {
	return openai.Model{ID: name, Object: "model", Created: openai.Unix(e.created), OwnedBy: "retort"}
}

func (e *Engine) serveHealth(w http.ResponseWriter, _ *http.Request) {
	status, health := http.StatusOK, "ok"
	e.mu.Lock()
	if e.draining {
		status, health = http.StatusServiceUnavailable, "draining"
	}
	e.mu.Unlock()
	openai.WriteJSON(w, status, map[string]string{"status": health})
}
