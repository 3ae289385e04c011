package anthropic

import (
	"bytes"
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
	ID         string
	Model      string // the model that answered
	StopReason string // as the wire has it
	Streamed   bool   // it came as server-sent events
	Done       bool   // a stream's message_stop was seen
	AfterDone  int    // events after message_stop, which are ignored
	NoUsage    string // why the usage cannot be used; "" if it can
}

// Parse reads the body of a response with a 2xx status, streamed or not. What
// the body looks like decides where the content type does not.
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
	if err := wire.Check(body); err != nil {
		return exchange.Answer{}, none, Meta{}, err
	}
	if isError(body) { // some gateways report failures with status 200
		return exchange.Answer{}, none, Meta{}, ParseError(0, body)
	}
	var r Response
	if err := json.Unmarshal(body, &r); err != nil {
		return exchange.Answer{}, none, Meta{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	meta := Meta{ID: r.ID, Model: r.Model}
	usage := none
	if r.Usage == nil {
		meta.NoUsage = "not sent"
	} else {
		usage, meta.NoUsage = r.Usage.Exchange()
	}
	if r.Content == nil {
		return exchange.Answer{}, usage, meta, fmt.Errorf("%w: no content", ErrMalformed)
	}
	var asm assembler
	for i := range r.Content {
		asm.start(i, &r.Content[i])
	}
	if r.StopReason != nil {
		meta.StopReason = *r.StopReason
	}
	return asm.answer(meta.StopReason), usage, meta, nil
}

// isError reports whether a body is an error envelope.
func isError(body []byte) bool {
	var env struct {
		Type    string            `json:"type"`
		Error   json.RawMessage   `json:"error"`
		Content []json.RawMessage `json:"content"`
	}
	return json.Unmarshal(body, &env) == nil && env.Content == nil && len(env.Error) > 0 && !bytes.Equal(env.Error, []byte("null"))
}

// ParseStream reads a whole body of server-sent events. A stream is complete
// when message_stop or the answer's stop reason was seen; otherwise the error
// is ErrCut. An error event makes the error an *APIError.
func ParseStream(raw []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	s := NewStream()
	err := s.Feed(raw)
	if err == nil {
		err = s.Flush()
	}
	answer, usage, meta := s.Result()
	return answer, usage, meta, err
}

// Stream assembles an answer from the events of a streamed response as they
// arrive.
type Stream struct {
	dec   wire.EventDecoder
	meta  Meta
	usage Usage
	final bool // the usage's output tokens are those of the whole answer
	asm   assembler
}

// NewStream returns an empty Stream.
func NewStream() *Stream { return &Stream{meta: Meta{Streamed: true}} }

// Feed reads the next piece of the body.
func (s *Stream) Feed(p []byte) error { return s.dec.Feed(p, s.event) }

// Flush ends the body and reports whether the answer came to its end.
func (s *Stream) Flush() error {
	err := s.dec.Flush(func(ev wire.Event, complete bool) error {
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

// Complete reports whether the answer is whole: its stop reason or
// message_stop has been seen.
func (s *Stream) Complete() bool { return s.meta.Done || s.meta.StopReason != "" }

// Finished reports whether message_stop has been seen: nothing that follows
// counts.
func (s *Stream) Finished() bool { return s.meta.Done }

// Result returns the answer, usage and description as far as they were read.
func (s *Stream) Result() (exchange.Answer, exchange.Usage, Meta) {
	usage := exchange.Usage{Source: exchange.UsageMissing}
	if s.meta.NoUsage = "not sent"; s.final {
		usage, s.meta.NoUsage = s.usage.Exchange()
	}
	return s.asm.answer(s.meta.StopReason), usage, s.meta
}

func (s *Stream) event(ev wire.Event) error {
	if s.meta.Done {
		s.meta.AfterDone++
		return nil
	}
	if err := wire.Check(ev.Data); err != nil {
		if ev.Name == EventError {
			return ParseError(0, ev.Data)
		}
		return fmt.Errorf("event of the stream: %w", err)
	}
	var e Event
	if err := json.Unmarshal(ev.Data, &e); err != nil {
		return fmt.Errorf("event of the stream: %w: %w", ErrMalformed, err)
	}
	if e.Type == "" {
		e.Type = ev.Name
	}
	switch e.Type {
	case EventError:
		return ParseError(0, ev.Data)
	case EventMessageStart:
		if m := e.Message; m != nil {
			s.meta.ID, s.meta.Model = m.ID, m.Model
			if m.Usage != nil {
				s.usage.merge(m.Usage)
			}
			for i := range m.Content {
				s.asm.start(i, &m.Content[i])
			}
		}
	case EventBlockStart:
		if e.ContentBlock != nil {
			s.asm.start(at(e.Index), e.ContentBlock)
		}
	case EventBlockDelta:
		if e.Delta != nil {
			s.asm.delta(at(e.Index), e.Delta)
		}
	case EventMessageDelta:
		if e.Delta != nil && e.Delta.StopReason != nil {
			s.meta.StopReason = *e.Delta.StopReason
		}
		if e.Usage != nil {
			s.usage.merge(e.Usage)
			s.final = true
		}
	case EventMessageStop:
		s.meta.Done = true
	}
	return nil
}

func at(i *int) int {
	if i == nil {
		return 0
	}
	return *i
}

// assembler puts the blocks of one answer together.
type assembler struct {
	blocks []*blockBuilder // in the order in which they began
}

type blockBuilder struct {
	index          int
	typ            string
	id, name       string
	whole          json.RawMessage // a call's input as its block began; {} where it is streamed
	text, thinking strings.Builder
	input          strings.Builder // a call's, in pieces
}

func (a *assembler) block(index int) *blockBuilder {
	for _, b := range a.blocks {
		if b.index == index {
			return b
		}
	}
	b := &blockBuilder{index: index}
	a.blocks = append(a.blocks, b)
	return b
}

func (a *assembler) start(index int, from *Block) {
	b := a.block(index)
	b.typ, b.id, b.name, b.whole = from.Type, from.ID, from.Name, from.Input
	if from.Text != nil {
		b.text.WriteString(*from.Text)
	}
	if from.Thinking != nil {
		b.thinking.WriteString(*from.Thinking)
	}
}

func (a *assembler) delta(index int, d *Delta) {
	b := a.block(index)
	switch {
	case d.Text != nil:
		b.text.WriteString(*d.Text)
	case d.Thinking != nil:
		b.thinking.WriteString(*d.Thinking)
	case d.PartialJSON != nil:
		b.input.WriteString(*d.PartialJSON)
	}
}

// answer is the parsed view. Several thinking blocks are set apart by a blank
// line; text blocks follow one another as they are.
func (a *assembler) answer(stop string) exchange.Answer {
	slices.SortStableFunc(a.blocks, func(x, y *blockBuilder) int { return x.index - y.index })
	out := exchange.Answer{FinishReason: FinishReason(stop)}
	var content, reasoning strings.Builder
	for _, b := range a.blocks {
		content.WriteString(b.text.String())
		if b.thinking.Len() > 0 {
			if reasoning.Len() > 0 {
				reasoning.WriteString("\n\n")
			}
			reasoning.WriteString(b.thinking.String())
		}
		if b.typ == TypeToolUse {
			out.ToolCalls = append(out.ToolCalls, exchange.ToolCall{ID: b.id, Name: b.name, Arguments: b.arguments()})
		}
	}
	out.Content, out.Reasoning = content.String(), reasoning.String()
	if inside, rest := wire.SplitThink(out.Content); out.Reasoning == "" || inside == "" { // as servers of open models leave it
		out.Content = rest
		if inside != "" {
			out.Reasoning = inside
		}
	}
	return out
}

// arguments is what the model wrote: the pieces, or the whole input.
func (b *blockBuilder) arguments() string {
	switch {
	case b.input.Len() > 0:
		return b.input.String()
	case len(b.whole) > 0:
		return string(b.whole)
	}
	return "{}"
}
