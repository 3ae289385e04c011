package collect

import (
	"encoding/json"
	"errors"
	"net/http"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// codec is one wire as the collector speaks it.
type codec struct {
	path   string // after the base URL
	list   string // query of the list of models
	encode func(c *Config, r exchange.Request, key exchange.Key) ([]byte, error)
	// parse reads a body; its error is a *refusal where the teacher says that
	// it failed.
	parse  func(contentType string, raw []byte) (exchange.Answer, exchange.Usage, reply, error)
	refuse func(status int, body []byte) *refusal        // reads the body of a response that is no success
	usage  func(raw json.RawMessage) exchange.Usage      // reads a usage by itself
	header func(h http.Header, cfg *Config, body []byte) // body is nil where none is sent
	ends   []string                                      // how the lines begin that begin a stream's last event
}

// reply is what a response says about itself.
type reply struct {
	model, fingerprint string
	streamed           bool  // it came as server-sent events
	done               bool  // the event that ends a stream was seen
	total              int64 // tokens in all, as reported; 0 if not
}

// refusal is what a teacher says about a request that failed.
type refusal struct {
	status     int // 0 where it came in the middle of a stream
	code, kind string
	err        error // as the wire's own room reads it
}

// Error implements error.
func (r *refusal) Error() string { return r.err.Error() }

// Unwrap returns what the wire's own room made of it.
func (r *refusal) Unwrap() error { return r.err }

var codecs = map[Wire]*codec{
	WireChat: {
		path: "/chat/completions", header: bearer, refuse: openaiRefusal, parse: openaiParse(openai.Parse),
		encode: func(c *Config, r exchange.Request, key exchange.Key) ([]byte, error) {
			return openai.EncodeRequest(r, key, c.openaiOptions())
		},
		usage: func(raw json.RawMessage) exchange.Usage {
			u := new(openai.Usage)
			return counts(json.Unmarshal(raw, u), u.Exchange)
		},
		ends: []string{"data: [DONE]", "data:[DONE]"},
	},
	WireResponses: {
		path: "/responses", header: bearer, refuse: openaiRefusal, parse: openaiParse(openai.ParseResponses),
		encode: func(c *Config, r exchange.Request, _ exchange.Key) ([]byte, error) {
			return openai.EncodeResponses(r, c.openaiOptions())
		},
		usage: func(raw json.RawMessage) exchange.Usage {
			u := new(openai.ResponsesUsage)
			return counts(json.Unmarshal(raw, u), u.Exchange)
		},
		ends: eventLines(openai.EventCompleted, openai.EventIncomplete, openai.EventFailed),
	},
	WireMessages: {
		path: "/messages", list: "?limit=1000",
		encode: func(c *Config, r exchange.Request, _ exchange.Key) ([]byte, error) {
			return anthropic.EncodeRequest(r, anthropic.RequestOptions{Stream: c.Stream})
		},
		parse: func(contentType string, raw []byte) (exchange.Answer, exchange.Usage, reply, error) {
			answer, usage, meta, err := anthropic.Parse(contentType, raw)
			var api *anthropic.APIError
			if errors.As(err, &api) {
				err = anthropicRefusal(api)
			}
			return answer, usage, reply{model: meta.Model, streamed: meta.Streamed, done: meta.Done}, err
		},
		refuse: func(status int, body []byte) *refusal { return anthropicRefusal(anthropic.ParseError(status, body)) },
		header: func(h http.Header, cfg *Config, body []byte) {
			h.Set(anthropic.VersionHeader, anthropic.VersionOf(body))
			switch {
			case cfg.Quirks.BearerKey:
				bearer(h, cfg, body)
			case cfg.APIKey != "":
				h.Set(anthropic.KeyHeader, cfg.APIKey)
			}
		},
		usage: func(raw json.RawMessage) exchange.Usage {
			u := new(anthropic.Usage)
			return counts(json.Unmarshal(raw, u), func() exchange.Usage { out, _ := u.Exchange(); return out })
		},
		ends: eventLines(anthropic.EventMessageStop),
	},
}

// openaiOptions are the options of OpenAI's wires, as the provider wants them.
func (cfg *Config) openaiOptions() openai.RequestOptions {
	q := cfg.Quirks
	field := cfg.TokensField
	if field == "" {
		field = q.TokensField
	}
	return openai.RequestOptions{
		Stream: cfg.Stream, TokensField: field,
		SeedField: q.SeedField, ReasoningField: q.ReasoningField,
		NoSeed: q.NoSeed, NoStreamOptions: q.NoStreamOptions, NoReasoning: q.NoReasoningBack,
	}
}

func bearer(h http.Header, cfg *Config, _ []byte) {
	if cfg.APIKey != "" {
		h.Set("Authorization", "Bearer "+cfg.APIKey)
	}
}

func openaiParse(parse func(string, []byte) (exchange.Answer, exchange.Usage, openai.Meta, error)) func(string, []byte) (exchange.Answer, exchange.Usage, reply, error) {
	return func(contentType string, raw []byte) (exchange.Answer, exchange.Usage, reply, error) {
		answer, usage, meta, err := parse(contentType, raw)
		var api *openai.APIError
		if errors.As(err, &api) {
			err = &refusal{status: api.Status, code: api.Code, kind: api.Type, err: api}
		}
		return answer, usage, reply{model: meta.Model, fingerprint: meta.Fingerprint, streamed: meta.Streamed, done: meta.Done, total: meta.TotalTokens}, err
	}
}

func openaiRefusal(status int, body []byte) *refusal {
	e := openai.ParseError(status, body)
	return &refusal{status: e.Status, code: e.Code, kind: e.Type, err: e}
}

func anthropicRefusal(e *anthropic.APIError) *refusal {
	return &refusal{status: e.Status, code: e.Type, err: e}
}

// counts is a usage that could be read, or a missing one.
func counts(err error, usage func() exchange.Usage) exchange.Usage {
	if err != nil {
		return exchange.Usage{Source: exchange.UsageMissing}
	}
	return usage()
}

// eventLines are the lines that begin events of the given names.
func eventLines(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, "event: "+n, "event:"+n)
	}
	return out
}
