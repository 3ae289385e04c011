package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"retort/internal/wire"
)

// question is what a request asks of a model, as far as the gateway must know.
type question struct {
	body      []byte // as the client sent it
	upstream  []byte // as the upstream gets it: with usage asked for, where need be
	model     string
	stream    bool
	strip     bool  // usage was asked for by the gateway and not by the client
	maxTokens int64 // most tokens of one answer; 0 if the request does not say
	answers   int64 // how many it asks for, over all its prompts
	generates bool  // tokens come out; embeddings have none
	refers    bool  // it refers to what is not in it, so that its bytes do not bound its tokens
}

// references are names of fields through which a request brings in more input than
// it holds.
var references = [][]byte{
	[]byte(`"image_url"`), []byte(`"input_image"`), []byte(`"file_id"`), []byte(`"input_file"`), []byte(`"file_url"`), []byte(`"input_audio"`),
	[]byte(`"previous_response_id"`), []byte(`"conversation"`), []byte(`"prompt_id"`), []byte(`"source"`), []byte(`"container"`),
}

// asked is what is read of a request: one pass, since each client waits for it.
type asked struct {
	Model               *string        `json:"model"`
	Stream              *bool          `json:"stream"`
	StreamOptions       jsontext.Value `json:"stream_options"`
	MaxTokens           *int64         `json:"max_tokens"`
	MaxCompletionTokens *int64         `json:"max_completion_tokens"`
	MaxOutputTokens     *int64         `json:"max_output_tokens"`
	N                   *int64         `json:"n"`
	BestOf              *int64         `json:"best_of"`
	Prompt              jsontext.Value `json:"prompt"`
}

// ask reads a request's body. Its error is what the client should be told.
func ask(w *modelWire, body []byte) (*question, error) {
	// What servers could read in different ways, such as repeated names, is refused
	// here as wire.Check does.
	if bytes.Count(body, []byte{'['})+bytes.Count(body, []byte{'{'}) > wire.MaxDepth {
		if err := wire.Check(body); err != nil {
			return nil, fmt.Errorf("the request body is not valid: %w", err)
		}
	}
	var f asked
	if err := jsonv2.Unmarshal(body, &f); err != nil {
		var wrong *jsonv2.SemanticError
		if !errors.As(err, &wrong) {
			return nil, fmt.Errorf("the request body is not valid: %w", err)
		}
		if wrong.JSONPointer == "" {
			return nil, errors.New("the request body is not a JSON object")
		}
		return nil, fmt.Errorf("%s is not what it has to be", strings.ReplaceAll(string(wrong.JSONPointer[1:]), "/", "."))
	}
	if f.Model == nil || *f.Model == "" {
		return nil, errors.New("you must provide a model parameter")
	}
	q := &question{body: body, upstream: body, model: *f.Model, stream: f.Stream != nil && *f.Stream, answers: 1, generates: w.name != wireEmbeddings.name}
	if q.stream && w.stream == nil {
		return nil, fmt.Errorf("the %s wire does not stream", w.name)
	}
	for _, c := range []struct {
		name string
		n    *int64
		into *int64
	}{
		{"max_tokens", f.MaxTokens, &q.maxTokens}, {"max_completion_tokens", f.MaxCompletionTokens, &q.maxTokens},
		{"max_output_tokens", f.MaxOutputTokens, &q.maxTokens}, {"n", f.N, &q.answers}, {"best_of", f.BestOf, &q.answers},
	} {
		if c.n == nil {
			continue
		}
		if *c.n < 0 || *c.n > 1<<32 {
			return nil, fmt.Errorf("%s is not a number that it can be", c.name)
		}
		*c.into = max(*c.into, *c.n)
	}
	if w.name == wireCompletions.name {
		q.answers *= prompts(f.Prompt)
	}
	for _, name := range references {
		q.refers = q.refers || bytes.Contains(body, name)
	}
	if w.inject && q.stream {
		if err := q.injectUsage(f.StreamOptions); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// prompts is how many prompts a completions request has, each of which is answered.
func prompts(prompt jsontext.Value) int64 {
	var list []json.RawMessage
	if prompt.Kind() != '[' || json.Unmarshal(prompt, &list) != nil || len(list) == 0 {
		return 1
	}
	if first := list[0][0]; first != '"' && first != '[' {
		return 1 // the ids of one prompt
	}
	return int64(len(list))
}

// injectUsage asks for a stream's usage where the client did not.
func (q *question) injectUsage(had jsontext.Value) error {
	options := make(wire.Fields)
	if len(had) > 0 && json.Unmarshal(had, &options) != nil {
		return errors.New("stream_options is not an object")
	}
	var asked bool
	if raw, ok := options["include_usage"]; ok && json.Unmarshal(raw, &asked) != nil {
		return errors.New("stream_options.include_usage is neither true nor false")
	}
	if asked {
		return nil
	}
	q.strip = true
	if len(had) == 0 { // the rest stays byte for byte
		i := bytes.IndexByte(q.body, '{') + 1
		q.upstream = bytes.Join([][]byte{q.body[:i], []byte(`"stream_options":{"include_usage":true},`), q.body[i:]}, nil)
		return nil
	}
	var all wire.Fields
	if err := json.Unmarshal(q.body, &all); err != nil {
		return fmt.Errorf("the request body is not valid: %w", err)
	}
	if options == nil { // it was null
		options = make(wire.Fields)
	}
	options["include_usage"] = json.RawMessage("true")
	if err := all.Set("stream_options", options); err != nil {
		return err
	}
	var err error
	q.upstream, err = wire.Encode(all)
	return err
}

// errTooLong and errNoRoom say why a body is not read.
var (
	errTooLong = errors.New("the request body is too large")
	errNoRoom  = errors.New("the gateway has no room for another request body at the moment")
)

// readBody reads a request's body into the memory that all requests share, and
// returns how much of that it takes: also where there is an error.
func (g *Gateway) readBody(p *policy, w http.ResponseWriter, r *http.Request) (body []byte, taken int64, err error) {
	limit := p.cfg.Limits.body
	if r.ContentLength > limit {
		return nil, 0, errTooLong
	}
	// What it cannot set, such as for a request from memory, it need not.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(p.cfg.Limits.receive))
	defer func() { _ = http.NewResponseController(w).SetReadDeadline(time.Time{}) }()
	const step = 64 << 10
	for {
		if len(body) == cap(body) {
			grow := max(int64(cap(body)), step)
			if left := r.ContentLength - int64(len(body)); r.ContentLength > 0 {
				grow = min(grow, left+1) // one more byte finds the end
			}
			if !g.room.TryAcquire(grow) {
				return nil, taken, errNoRoom
			}
			taken += grow
			larger := make([]byte, len(body), int64(cap(body))+grow)
			copy(larger, body)
			body = larger
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, taken, errTooLong
		case errors.Is(err, io.EOF):
			return body, taken, nil
		case err != nil:
			return nil, taken, fmt.Errorf("the request body could not be read: %w", err)
		}
	}
}
