package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

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

// ask reads a request's body. Its error is what the client should be told.
func ask(w *modelWire, body []byte) (*question, error) {
	if err := wire.Check(body); err != nil {
		return nil, fmt.Errorf("the request body is not valid: %w", err)
	}
	var f wire.Fields
	if err := json.Unmarshal(body, &f); err != nil || f == nil {
		return nil, errors.New("the request body is not a JSON object")
	}
	q := &question{body: body, upstream: body, answers: 1, generates: w.name != wireEmbeddings.name}
	for _, field := range []struct {
		name string
		into any
	}{{"model", &q.model}, {"stream", &q.stream}} {
		if raw, ok := f[field.name]; ok && json.Unmarshal(raw, field.into) != nil {
			return nil, fmt.Errorf("%s is not what it has to be", field.name)
		}
	}
	if q.model == "" {
		return nil, errors.New("you must provide a model parameter")
	}
	if q.stream && w.stream == nil {
		return nil, fmt.Errorf("the %s wire does not stream", w.name)
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens"} {
		n, err := count(f, name)
		if err != nil {
			return nil, err
		}
		q.maxTokens = max(q.maxTokens, n)
	}
	for _, name := range []string{"n", "best_of"} {
		n, err := count(f, name)
		if err != nil {
			return nil, err
		}
		q.answers = max(q.answers, n)
	}
	q.answers *= prompts(w, f)
	for _, name := range references {
		q.refers = q.refers || bytes.Contains(body, name)
	}
	if w.inject && q.stream {
		if err := q.injectUsage(f); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// count reads a field that is a number of tokens or answers, 0 if it is absent.
func count(f wire.Fields, name string) (int64, error) {
	var n *int64
	if raw, ok := f[name]; ok && json.Unmarshal(raw, &n) != nil || n != nil && (*n < 0 || *n > 1<<32) {
		return 0, fmt.Errorf("%s is not a number that it can be", name)
	}
	if n == nil {
		return 0, nil
	}
	return *n, nil
}

// prompts is how many prompts a completions request has, each of which is answered.
func prompts(w *modelWire, f wire.Fields) int64 {
	var list []json.RawMessage
	if w.name != wireCompletions.name || json.Unmarshal(f["prompt"], &list) != nil || len(list) == 0 {
		return 1
	}
	if first := list[0][0]; first != '"' && first != '[' {
		return 1 // the ids of one prompt
	}
	return int64(len(list))
}

// injectUsage asks for a stream's usage where the client did not.
func (q *question) injectUsage(f wire.Fields) error {
	options := make(wire.Fields)
	had, err := f.Take("stream_options", &options)
	if err != nil {
		return err
	}
	var asked bool
	if raw, ok := options["include_usage"]; ok && json.Unmarshal(raw, &asked) != nil {
		return errors.New("stream_options.include_usage is neither true nor false")
	}
	if asked {
		return nil
	}
	q.strip = true
	if !had && bytes.IndexByte(q.body, '{') >= 0 && !bytes.Contains(q.body, []byte(`"stream_options"`)) { // the rest stays byte for byte
		i := bytes.IndexByte(q.body, '{') + 1
		q.upstream = bytes.Join([][]byte{q.body[:i], []byte(`"stream_options":{"include_usage":true},`), q.body[i:]}, nil)
		return nil
	}
	options["include_usage"] = json.RawMessage("true")
	if err := f.Set("stream_options", options); err != nil {
		return err
	}
	q.upstream, err = wire.Encode(f)
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
