package openai

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"

	"retort/exchange"
	"retort/internal/wire"
)

// Meta is what a response says about itself.
type Meta struct {
	ID          string
	Model       string // the model that answered
	Fingerprint string
	Choices     int    // how many answers came; the answer returned is the one of the lowest index
	Streamed    bool   // it came as server-sent events
	Done        bool   // a stream's [DONE] was seen
	AfterDone   int    // events after [DONE], which are ignored
	NoUsage     string // why the usage cannot be used; "" if it can
	TotalTokens int64  // of a usage that can be used, as reported; 0 if not
}

// Parse reads the body of a response with a 2xx status, streamed or not. What
// the body looks like decides where the content type does not: servers send
// JSON to who asked for a stream and the reverse.
//
// The answer and the usage hold whatever could be read even when there is an
// error. A usage that was not sent or cannot be believed has the source
// missing.
func Parse(contentType string, raw []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	media, _, _ := mime.ParseMediaType(contentType)
	if wire.LooksLikeObject(raw) || media != "text/event-stream" && !wire.LooksLikeEvents(raw) {
		return ParseResponse(raw)
	}
	return ParseStream(raw)
}

// ParseResponse reads a body that is not streamed.
func ParseResponse(body []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	none := exchange.Usage{Source: exchange.UsageMissing}
	var r ChatResponse
	if !readPlainResponse(body, &r) {
		if err := Check(body); err != nil {
			return exchange.Answer{}, none, Meta{}, err
		}
		if e := envelope(body); e != nil { // some gateways report failures with status 200
			return exchange.Answer{}, none, Meta{}, e
		}
		r = ChatResponse{}
		if err := json.Unmarshal(body, &r); err != nil {
			return exchange.Answer{}, none, Meta{}, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	meta := Meta{ID: r.ID, Model: r.Model, Fingerprint: r.SystemFingerprint, Choices: len(r.Choices)}
	usage := usageOf(r.Usage, &meta)
	if len(r.Choices) == 0 {
		return exchange.Answer{}, usage, meta, fmt.Errorf("%w: no choices", ErrMalformed)
	}
	first := slices.MinFunc(r.Choices, func(a, b Choice) int { return cmp.Compare(a.Index, b.Index) })
	var asm answerBuilder
	asm.message(&first.Message)
	asm.content.WriteString(completion(first.Extra))
	asm.finish = first.FinishReason
	return asm.answer(), usage, meta, nil
}

// envelope returns the error of a body that is an error envelope, otherwise
// nil.
func envelope(body []byte) *APIError {
	var env struct {
		Error   json.RawMessage   `json:"error"`
		Choices []json.RawMessage `json:"choices"`
	}
	if json.Unmarshal(body, &env) != nil || len(env.Choices) > 0 || len(env.Error) == 0 || bytes.Equal(env.Error, []byte("null")) {
		return nil
	}
	return ParseError(0, body)
}

// usageOf converts reported counts, and notes in meta why it cannot.
func usageOf(u *Usage, meta *Meta) exchange.Usage {
	meta.NoUsage = ""
	switch {
	case u == nil:
		meta.NoUsage = "not sent"
		return exchange.Usage{Source: exchange.UsageMissing}
	case u.Problem != "":
		meta.NoUsage = u.Problem
	default:
		meta.TotalTokens = u.TotalTokens
	}
	return u.Exchange()
}

// ParseStream reads a whole body of server-sent events. A stream is complete
// when [DONE] or the answer's finish reason was seen; otherwise the error is
// ErrCut. An error event makes the error an *APIError.
func ParseStream(raw []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	s := NewStream()
	err := s.Feed(raw)
	if err == nil {
		err = s.Flush()
	}
	return s.answer(), s.usage(), s.meta, err
}

// Stream assembles an answer from the events of a streamed response as they
// arrive.
type Stream struct {
	dec     EventDecoder
	meta    Meta
	last    *Usage
	choices map[int]bool
	index   int // of the answer that is assembled
	answerBuilder
}

// NewStream returns an empty Stream.
func NewStream() *Stream {
	return &Stream{meta: Meta{Streamed: true}, choices: make(map[int]bool)}
}

// Feed reads the next piece of the body.
func (s *Stream) Feed(p []byte) error { return s.dec.Feed(p, s.event) }

// Flush ends the body and reports whether the answer came to its end.
func (s *Stream) Flush() error {
	err := s.dec.Flush(func(ev Event, complete bool) error {
		err := s.event(ev)
		if !complete && errors.Is(err, ErrMalformed) { // half an event
			return nil
		}
		return err
	})
	if err == nil && !s.Complete() {
		err = ErrCut
	}
	return err
}

// Complete reports whether the answer is whole: its finish reason or [DONE]
// has been seen. Its usage may still be to come.
func (s *Stream) Complete() bool { return s.meta.Done || s.finish != "" }

// Finished reports whether [DONE] has been seen: nothing that follows counts.
func (s *Stream) Finished() bool { return s.meta.Done }

// Result returns the answer, usage and description as far as they were read.
func (s *Stream) Result() (exchange.Answer, exchange.Usage, Meta) {
	usage := s.usage()
	return s.answer(), usage, s.meta
}

func (s *Stream) usage() exchange.Usage { return usageOf(s.last, &s.meta) }

func (s *Stream) event(ev Event) error {
	if s.meta.Done {
		s.meta.AfterDone++
		return nil
	}
	if bytes.Equal(bytes.TrimSpace(ev.Data), []byte("[DONE]")) {
		s.meta.Done = true
		return nil
	}
	if ev.Name == "error" {
		return ParseError(0, ev.Data)
	}
	var c ChatChunk
	if readPlain(ev.Data, &c) {
		s.chunk(&c)
		return nil
	}
	if err := Check(ev.Data); err != nil {
		return fmt.Errorf("event of the stream: %w", err)
	}
	c = ChatChunk{}
	if err := json.Unmarshal(ev.Data, &c); err != nil {
		if e := envelope(ev.Data); e != nil { // an error that is not an object
			return e
		}
		return fmt.Errorf("event of the stream: %w: %w", ErrMalformed, err)
	}
	if c.Error != nil {
		e := &APIError{}
		e.fill(*c.Error)
		return e
	}
	s.chunk(&c)
	return nil
}

func (s *Stream) chunk(c *ChatChunk) {
	if c.ID != "" {
		s.meta.ID = c.ID
	}
	if c.Model != "" {
		s.meta.Model = c.Model
	}
	if c.SystemFingerprint != "" {
		s.meta.Fingerprint = c.SystemFingerprint
	}
	if c.Usage != nil { // some servers send a running total in every chunk: the last one counts
		s.last = c.Usage
	}
	for i := range c.Choices {
		ch := &c.Choices[i]
		if !s.choices[ch.Index] {
			s.choices[ch.Index] = true
			s.meta.Choices++
			if len(s.choices) == 1 || ch.Index < s.index {
				s.index, s.answerBuilder = ch.Index, answerBuilder{}
			}
		}
		if ch.Index != s.index {
			continue
		}
		if ch.Message != nil {
			s.message(ch.Message)
		}
		s.delta(&ch.Delta)
		s.content.WriteString(completion(ch.Extra))
		if ch.FinishReason != nil && *ch.FinishReason != "" {
			s.finish = *ch.FinishReason
		}
	}
}

// completion is the text of a choice of the older completions wire, whose answers
// are otherwise alike.
func completion(extra Extra) string {
	var text string
	if raw, ok := extra["text"]; !ok || json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// answerBuilder collects the pieces of one answer.
type answerBuilder struct {
	content, reasoning, refusal strings.Builder
	calls                       []*callBuilder
	byIndex                     map[int]*callBuilder
	byID                        map[string]*callBuilder
	finish                      string
}

type callBuilder struct {
	index    int
	id, name string
	args     strings.Builder
}

func (b *answerBuilder) message(m *Message) {
	b.content.WriteString(m.Content.String())
	b.pieces(m.ReasoningContent, m.Reasoning, m.Refusal)
	for i := range m.ToolCalls {
		one := m.ToolCalls[i]
		one.Index = &i // a message's calls are whole, whatever they are numbered
		b.call(&one)
	}
}

func (b *answerBuilder) delta(d *Delta) {
	if d.Content != nil {
		b.content.WriteString(*d.Content)
	}
	b.pieces(d.ReasoningContent, d.Reasoning, d.Refusal)
	for i := range d.ToolCalls {
		b.call(&d.ToolCalls[i])
	}
}

// pieces adds reasoning under whichever name it came; servers that send both
// send the same text twice.
func (b *answerBuilder) pieces(content, reasoning, refusal *string) {
	switch {
	case content != nil && *content != "":
		b.reasoning.WriteString(*content)
	case reasoning != nil:
		b.reasoning.WriteString(*reasoning)
	}
	if refusal != nil {
		b.refusal.WriteString(*refusal)
	}
}

// call adds a piece of a tool call to the call that it belongs to: by index,
// else by id, else to the last one.
func (b *answerBuilder) call(c *ToolCall) {
	if b.byIndex == nil {
		b.byIndex, b.byID = make(map[int]*callBuilder), make(map[string]*callBuilder)
	}
	var to *callBuilder
	switch {
	case c.Index != nil:
		to = b.byIndex[*c.Index]
	case c.ID != "":
		to = b.byID[c.ID]
	case len(b.calls) > 0:
		to = b.calls[len(b.calls)-1]
	}
	if to == nil {
		to = &callBuilder{index: len(b.calls)}
		if c.Index != nil {
			to.index = *c.Index
		}
		b.calls = append(b.calls, to)
		b.byIndex[to.index] = to
	}
	if c.ID != "" {
		b.byID[c.ID] = to
	}
	if c.ID != "" {
		to.id = c.ID
	}
	if to.name == "" {
		to.name = c.Function.Name
	}
	to.args.WriteString(c.Function.Arguments)
}

// answer is the parsed view. Reasoning is taken out of the content where the
// server left it there; a refusal is the content where there is no other.
func (b *answerBuilder) answer() exchange.Answer {
	a := exchange.Answer{Reasoning: b.reasoning.String(), Content: b.content.String(), FinishReason: b.finish}
	if inside, rest := SplitThink(a.Content); a.Reasoning == "" || inside == "" {
		a.Content = rest
		if inside != "" {
			a.Reasoning = inside
		}
	}
	if a.Content == "" {
		a.Content = b.refusal.String()
	}
	slices.SortStableFunc(b.calls, func(x, y *callBuilder) int { return cmp.Compare(x.index, y.index) })
	for _, c := range b.calls {
		a.ToolCalls = append(a.ToolCalls, exchange.ToolCall{ID: c.id, Name: c.name, Arguments: c.args.String()})
	}
	return a
}
