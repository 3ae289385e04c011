package reference

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"retort/anthropic"
	"retort/openai"
)

// A request of any wire is read as a chat-completions request: that is what the
// teacher answers, and what its randomness depends on. Tools and formats travel
// in it under the chat wire's names.

// dialect is one wire as the teacher speaks it.
type dialect struct {
	path   string
	idName string // header that names a request in its response
	key    func(h http.Header) (key string, ok bool)
	askFor string // what to do about a missing key
	read   func(w http.ResponseWriter, r *http.Request) (*asked, *openai.APIError)
	refuse func(w http.ResponseWriter, e *openai.APIError) error
	send   func(t *Teacher, w http.ResponseWriter, r *http.Request, rep *reply)
	stream func(t *Teacher, w http.ResponseWriter, r *http.Request, rep *reply)
}

// asked is a request as the teacher reads it.
type asked struct {
	*openai.ChatRequest
	silent bool         // no reasoning is wanted
	cache  []cachePoint // up to where the prompt is to be cached
	echo   openai.Extra // fields that a response repeats
}

const (
	messagesPath  = "/v1/messages"
	responsesPath = "/v1/responses"
)

var dialects = []*dialect{
	{
		path: "/v1/chat/completions", idName: "X-Request-Id", key: bearerKey, askFor: "send it as Authorization: Bearer KEY",
		read: func(w http.ResponseWriter, r *http.Request) (*asked, *openai.APIError) {
			req, bad := openai.ReadChatRequest(w, r, maxBody)
			return &asked{ChatRequest: req}, bad
		},
		refuse: openai.WriteAPIError, send: (*Teacher).send, stream: (*Teacher).stream,
	},
	{
		path: responsesPath, idName: "X-Request-Id", key: bearerKey, askFor: "send it as Authorization: Bearer KEY",
		read: readResponses, refuse: openai.WriteAPIError, send: (*Teacher).sendResponse, stream: (*Teacher).streamResponse,
	},
	{
		path: messagesPath, idName: anthropic.RequestIDHeader, askFor: "send it as x-api-key",
		key: func(h http.Header) (string, bool) {
			if key := h.Get(anthropic.KeyHeader); key != "" {
				return key, true
			}
			return bearerKey(h)
		},
		read: readMessages, refuse: refuseMessages, send: (*Teacher).sendMessage, stream: (*Teacher).streamMessage,
	},
}

// failure is what a server error looks like: 500, or on the messages wire one
// time in two 529, as a server that is asked too much has it.
func (d *dialect) failure(w http.ResponseWriter, attempt string) *openai.APIError {
	if sum := sha256.Sum256([]byte(attempt)); d.path == messagesPath && sum[0]%2 == 1 {
		w.Header().Set("Retry-After", "1")
		return &openai.APIError{Status: anthropic.StatusOverloaded, Message: "Overloaded"}
	}
	return &openai.APIError{Status: http.StatusInternalServerError, Type: "server_error", Message: "the server had an error while processing the request"}
}

// dialectOf returns the dialect that a request is made in, where its path is
// that of several.
func dialectOf(r *http.Request) *dialect {
	if r.Header.Get(anthropic.VersionHeader) != "" {
		return dialects[2]
	}
	return dialects[0]
}

func bearerKey(h http.Header) (string, bool) {
	return strings.CutPrefix(h.Get("Authorization"), "Bearer ")
}

// authorize checks the API key, or answers 401.
func (t *Teacher) authorize(d *dialect, w http.ResponseWriter, r *http.Request) bool {
	if len(t.cfg.Keys) == 0 {
		return true
	}
	key, ok := d.key(r.Header)
	if ok {
		sum, match := sha256.Sum256([]byte(key)), 0
		for _, k := range t.cfg.Keys {
			want := sha256.Sum256([]byte(k))
			match |= subtle.ConstantTimeCompare(sum[:], want[:])
		}
		if match == 1 {
			return true
		}
	}
	message := "no API key was given: " + d.askFor
	if ok {
		message = "the API key is not correct"
	}
	t.count("refused")
	_ = d.refuse(w, &openai.APIError{Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key", Message: message})
	return false
}
