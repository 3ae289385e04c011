package gateway

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// route is a method and path that the gateway serves.
type route struct {
	name   string // by which keys are scoped and metrics are told apart
	method string
	path   string     // as http.ServeMux has it
	wire   *modelWire // of an exchange with a model; nil where the route is none
	// whole says that a route which is no exchange is recorded with its bodies:
	// what a batch is asked and answered.
	whole bool
	open  bool // listed as unmetered
}

// modelWire is what the gateway must know of a way to ask a model.
type modelWire struct {
	name      string
	operation string       // what OpenTelemetry calls it
	stream    func() *view // reads server-sent events; nil where the wire does not stream
	whole     func(body []byte) reading
	ends      []string // how the lines begin with which a stream's last event begins
	inject    bool     // a stream tells its usage only when stream_options asks for it
	fail      func(w http.ResponseWriter, status int, code, message string) error
	event     func(message string) []byte // that tells of a failure in the middle of a stream
}

var (
	wireChat = &modelWire{
		name: "chat", operation: "chat", stream: newOpenAIView, whole: readOpenAI(openai.ParseResponse),
		ends: dataLines("[DONE]"), inject: true, fail: failOpenAI, event: eventOpenAI,
	}
	wireCompletions = &modelWire{
		name: "completions", operation: "text_completion", stream: wireChat.stream, whole: wireChat.whole,
		ends: wireChat.ends, inject: true, fail: failOpenAI, event: eventOpenAI,
	}
	wireResponses = &modelWire{
		name: "responses", operation: "chat", stream: newResponsesView,
		whole: readOpenAI(parseResponses),
		ends:  eventLines(openai.EventCompleted, openai.EventIncomplete, openai.EventFailed), fail: failOpenAI, event: eventResponses,
	}
	wireEmbeddings = &modelWire{name: "embeddings", operation: "embeddings", whole: readOpenAI(openai.ParseEmbeddings), fail: failOpenAI}
	wireMessages   = &modelWire{
		name: "messages", operation: "chat", stream: newMessagesView, whole: readMessages,
		ends: eventLines(anthropic.EventMessageStop), fail: failAnthropic, event: eventAnthropic,
	}
)

// routes are those that the gateway knows by itself.
var routes = []route{
	{name: "chat", method: "POST", path: "/v1/chat/completions", wire: wireChat},
	{name: "completions", method: "POST", path: "/v1/completions", wire: wireCompletions},
	{name: "responses", method: "POST", path: "/v1/responses", wire: wireResponses},
	{name: "embeddings", method: "POST", path: "/v1/embeddings", wire: wireEmbeddings},
	{name: "messages", method: "POST", path: "/v1/messages", wire: wireMessages},
	{name: "messages", method: "POST", path: "/v1/messages/count_tokens"},
	{name: "models", method: "GET", path: "/v1/models"},
	{name: "models", method: "GET", path: "/v1/models/{id...}"},
	{name: "batches", method: "POST", path: "/v1/files", whole: true},
	{name: "batches", method: "GET", path: "/v1/files"},
	{name: "batches", method: "GET", path: "/v1/files/{id}"},
	{name: "batches", method: "DELETE", path: "/v1/files/{id}"},
	{name: "batches", method: "GET", path: "/v1/files/{id}/content", whole: true},
	{name: "batches", method: "POST", path: "/v1/batches", whole: true},
	{name: "batches", method: "GET", path: "/v1/batches"},
	{name: "batches", method: "GET", path: "/v1/batches/{id}"},
	{name: "batches", method: "POST", path: "/v1/batches/{id}/cancel"},
}

// RouteNames are the names by which keys are scoped.
func RouteNames() []string {
	var out []string
	for _, r := range routes {
		if !slices.Contains(out, r.name) {
			out = append(out, r.name)
		}
	}
	return append(out, unmetered)
}

// unmetered names all routes that a configuration lists as such.
const unmetered = "unmetered"

// isOpenRoute reports whether "METHOD /path" can be listed as unmetered.
func isOpenRoute(s string) bool {
	method, path, _ := strings.Cut(s, " ")
	if !slices.Contains([]string{"GET", "POST", "DELETE"}, method) || !strings.HasPrefix(path, "/v1/") || !plainPath.MatchString(path) {
		return false
	}
	return !slices.ContainsFunc(routes, func(r route) bool { return r.method == method && r.path == path })
}

// plainPath is a path whose meaning no server can mistake: no escapes, no empty or
// dotted segments.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~@:-][A-Za-z0-9_~@:.-]*)+$`)

func dataLines(values ...string) []string {
	var out []string
	for _, v := range values {
		out = append(out, "data: "+v, "data:"+v)
	}
	return out
}

func eventLines(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, "event: "+n, "event:"+n)
	}
	return out
}

// fail answers a request that the gateway refuses.
func (r *route) fail(w http.ResponseWriter, status int, code, message string) {
	// A client that has gone does not read it.
	if r.wire != nil {
		_ = r.wire.fail(w, status, code, message)
		return
	}
	_ = failOpenAI(w, status, code, message)
}

func failOpenAI(w http.ResponseWriter, status int, code, message string) error {
	typ := "invalid_request_error"
	switch {
	case status == http.StatusTooManyRequests:
		typ = "rate_limit_exceeded"
	case status >= 500:
		typ = "server_error"
	}
	return openai.WriteError(w, status, typ, code, message)
}

func failAnthropic(w http.ResponseWriter, status int, _, message string) error {
	if h := w.Header(); h.Get(anthropic.RequestIDHeader) == "" { // that wire's errors have one
		h.Set(anthropic.RequestIDHeader, "req_"+exchange.NewID(time.Now()).String())
	}
	return anthropic.WriteError(w, &anthropic.APIError{Status: status, Type: anthropic.TypeOf(status), Message: message})
}
