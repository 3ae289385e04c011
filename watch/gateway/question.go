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
var references = map[string]bool{
	"image_url": true, "input_image": true, "file_id": true, "input_file": true, "file_url": true, "input_audio": true,
	"previous_response_id": true, "conversation": true, "prompt_id": true, "source": true, "container": true,
}

// refers reports whether a string of a request, wherever it is, is one of references.
func refers(body []byte) bool {
	for {
		open := bytes.IndexByte(body, '"')
		if open < 0 {
			return false
		}
		var text []byte
		if text, body = stringAt(body[open+1:]); references[string(text)] {
			return true
		}
	}
}

// ask reads a request's body. Its error is what the client should be told. Each
// client waits for it: beside the check, the body is gone over once, and of its
// fields those are decoded that count.
func ask(w *modelWire, body []byte) (*question, error) {
	// Among others, repeated names are refused, which servers read in different ways.
	if err := wire.Check(body); err != nil {
		return nil, fmt.Errorf("the request body is not valid: %w", err)
	}
	q := &question{body: body, upstream: body, answers: 1, generates: w.name != wireEmbeddings.name}
	var options, prompt json.RawMessage
	err := eachField(body, func(name string, value []byte) error {
		var err error
		switch name {
		case "model":
			err = json.Unmarshal(value, &q.model)
		case "stream":
			err = json.Unmarshal(value, &q.stream)
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			err = count(value, &q.maxTokens)
		case "n", "best_of":
			err = count(value, &q.answers)
		case "stream_options":
			options = value
		case "prompt":
			prompt = value
		}
		if err != nil {
			return fmt.Errorf("%s is not what it has to be", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case q.model == "":
		return nil, errors.New("you must provide a model parameter")
	case q.stream && w.stream == nil:
		return nil, fmt.Errorf("the %s wire does not stream", w.name)
	}
	if w.name == wireCompletions.name {
		q.answers *= prompts(prompt)
	}
	q.refers = refers(body)
	if w.inject && q.stream {
		if err := q.injectUsage(options); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// eachField calls fn for the fields of an object that has been checked to be valid
// JSON, and says so if it is no object.
func eachField(body []byte, fn func(name string, value []byte) error) error {
	rest := bytes.TrimLeft(body, " \t\r\n")
	if len(rest) == 0 || rest[0] != '{' {
		return errors.New("the request body is not a JSON object")
	}
	for rest = rest[1:]; ; {
		open := bytes.IndexByte(rest, '"')
		if open < 0 {
			return nil
		}
		raw := rest[open:]
		_, rest = stringAt(raw[1:])
		raw = raw[:len(raw)-len(rest)]
		rest = bytes.TrimLeft(rest, ": \t\r\n")
		n := valueEnd(rest)
		name := string(raw[1 : len(raw)-1])
		if bytes.IndexByte(raw, '\\') >= 0 && json.Unmarshal(raw, &name) != nil {
			return errors.New("the request body has a name that cannot be read")
		}
		if err := fn(name, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
}

// valueEnd is where the value ends that s begins with.
func valueEnd(s []byte) int {
	depth := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			_, rest := stringAt(s[i+1:])
			if i = len(s) - len(rest); depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			} else if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return len(s)
}

// count reads a number of tokens or answers, of which the largest counts; null is
// none.
func count(value []byte, into *int64) error {
	var n *int64
	if err := json.Unmarshal(value, &n); err != nil || n == nil {
		return err
	}
	if *n < 0 || *n > 1<<32 {
		return errors.New("out of range")
	}
	*into = max(*into, *n)
	return nil
}

// prompts is how many prompts a completions request has, each of which is answered.
func prompts(prompt json.RawMessage) int64 {
	var list []json.RawMessage
	if json.Unmarshal(prompt, &list) != nil || len(list) == 0 {
		return 1
	}
	if first := list[0][0]; first != '"' && first != '[' {
		return 1 // the ids of one prompt
	}
	return int64(len(list))
}

// injectUsage asks for a stream's usage where the client did not.
func (q *question) injectUsage(had json.RawMessage) error {
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
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // an answer may take longer
			return body, taken, nil
		case err != nil:
			return nil, taken, fmt.Errorf("the request body could not be read: %w", err)
		}
	}
}
