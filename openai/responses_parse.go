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

// ParseResponses reads the body of a response of the responses wire with a 2xx
// status, streamed or not, as Parse does for the chat wire. The finish reason is
// the chat wire's: stop, tool_calls, length or content_filter.
func ParseResponses(contentType string, raw []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	media, _, _ := mime.ParseMediaType(contentType)
	if !wire.LooksLikeObject(raw) && (media == "text/event-stream" || wire.LooksLikeEvents(raw)) {
		return ParseResponsesStream(raw)
	}
	none := exchange.Usage{Source: exchange.UsageMissing}
	if err := Check(raw); err != nil {
		return exchange.Answer{}, none, Meta{}, err
	}
	var r ResponsesResult
	if err := json.Unmarshal(raw, &r); err != nil {
		if isEnvelope(raw) { // an error that is no object
			return exchange.Answer{}, none, Meta{}, ParseError(0, raw)
		}
		return exchange.Answer{}, none, Meta{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r.Object == "" && r.Output == nil && isEnvelope(raw) {
		return exchange.Answer{}, none, Meta{}, ParseError(0, raw)
	}
	s := NewResponsesStream()
	s.meta.Streamed = false
	s.end(&r)
	answer, usage, meta := s.Result()
	err := r.failure()
	if err == nil && r.Output == nil {
		err = fmt.Errorf("%w: no output", ErrMalformed)
	}
	return answer, usage, meta, err
}

func isEnvelope(raw []byte) bool {
	var env struct {
		Error json.RawMessage `json:"error"`
	}
	return json.Unmarshal(raw, &env) == nil && len(env.Error) > 0 && !bytes.Equal(env.Error, []byte("null"))
}

// ParseResponsesStream reads a whole body of server-sent events. A stream is
// complete when response.completed or response.incomplete was seen; otherwise
// the error is ErrCut. An error event, or response.failed, makes the error an
// *APIError.
func ParseResponsesStream(raw []byte) (exchange.Answer, exchange.Usage, Meta, error) {
	s := NewResponsesStream()
	err := s.Feed(raw)
	if err == nil {
		err = s.Flush()
	}
	answer, usage, meta := s.Result()
	return answer, usage, meta, err
}

// ResponsesStream assembles an answer from the events of a streamed response
// as they arrive.
type ResponsesStream struct {
	dec    EventDecoder
	meta   Meta
	usage  *ResponsesUsage
	items  []*itemBuilder // in the order in which they began
	finish string
}

// itemBuilder collects the pieces of one output item.
type itemBuilder struct {
	index                             int
	typ, id, name                     string
	text, refusal, reasoning, summary strings.Builder
	summaries                         int // parts of the summary so far
	args                              strings.Builder
}

// NewResponsesStream returns an empty ResponsesStream.
func NewResponsesStream() *ResponsesStream { return &ResponsesStream{meta: Meta{Streamed: true}} }

// Feed reads the next piece of the body.
func (s *ResponsesStream) Feed(p []byte) error { return s.dec.Feed(p, s.event) }

// Flush ends the body and reports whether the answer came to its end.
func (s *ResponsesStream) Flush() error {
	err := s.dec.Flush(func(ev Event, complete bool) error {
		err := s.event(ev)
		if !complete && errors.Is(err, ErrMalformed) { // half an event
			return nil
		}
		return err
	})
	if err == nil && !s.meta.Done {
		err = ErrCut
	}
	return err
}

// Finished reports whether the event that ends a response has been seen.
func (s *ResponsesStream) Finished() bool { return s.meta.Done }

// Result returns the answer, usage and description as far as they were read.
func (s *ResponsesStream) Result() (exchange.Answer, exchange.Usage, Meta) {
	usage := exchange.Usage{Source: exchange.UsageMissing}
	if s.meta.NoUsage = "not sent"; s.usage != nil {
		usage = usageOf(s.usage.chat(), &s.meta)
	}
	return s.answer(), usage, s.meta
}

func (s *ResponsesStream) event(ev Event) error {
	if s.meta.Done {
		s.meta.AfterDone++
		return nil
	}
	if bytes.Equal(bytes.TrimSpace(ev.Data), []byte("[DONE]")) { // of servers that end every stream so
		return nil
	}
	if err := Check(ev.Data); err != nil {
		if ev.Name == EventErr {
			return ParseError(0, ev.Data)
		}
		return fmt.Errorf("event of the stream: %w", err)
	}
	var e ResponsesEvent
	if err := json.Unmarshal(ev.Data, &e); err != nil {
		return fmt.Errorf("event of the stream: %w: %w", ErrMalformed, err)
	}
	if e.Type == "" {
		e.Type = ev.Name
	}
	if e.Type == EventErr || e.Type == "" && isEnvelope(ev.Data) {
		return ParseError(0, ev.Data)
	}
	return s.take(&e)
}

func (s *ResponsesStream) take(e *ResponsesEvent) error {
	delta := ""
	if e.Delta != nil {
		delta = *e.Delta
	}
	switch e.Type {
	case EventCreated, EventInProgress:
		s.name(e.Response)
	case EventItemAdded, EventItemDone:
		if e.Item != nil {
			s.replace(whole(deref(e.OutputIndex), e.Item))
		}
	case EventTextDelta:
		s.item(e.OutputIndex).text.WriteString(delta)
	case EventRefusalDelta:
		s.item(e.OutputIndex).refusal.WriteString(delta)
	case EventReasoningDelta:
		s.item(e.OutputIndex).reasoning.WriteString(delta)
	case EventSummaryAdded:
		s.item(e.OutputIndex).summaryPart()
	case EventSummaryDelta:
		s.item(e.OutputIndex).summary.WriteString(delta)
	case EventArgsDelta:
		s.item(e.OutputIndex).args.WriteString(delta)
	case EventCompleted, EventIncomplete, EventFailed:
		s.meta.Done = true
		if e.Response == nil {
			return fmt.Errorf("event of the stream: %w: %s without its response", ErrMalformed, e.Type)
		}
		s.end(e.Response)
		if err := e.Response.failure(); err != nil {
			return err
		}
		if e.Type == EventFailed {
			return &APIError{Code: StatusFailed, Message: "the response failed"}
		}
	}
	return nil
}

func deref(i *int) int {
	if i == nil {
		return 0
	}
	return *i
}

func (s *ResponsesStream) item(index *int) *itemBuilder {
	at := deref(index)
	for _, b := range s.items {
		if b.index == at {
			return b
		}
	}
	b := &itemBuilder{index: at}
	s.items = append(s.items, b)
	return b
}

func (s *ResponsesStream) replace(b *itemBuilder) {
	for i, old := range s.items {
		if old.index == b.index {
			s.items[i] = b
			return
		}
	}
	s.items = append(s.items, b)
}

func (b *itemBuilder) summaryPart() {
	if b.summaries++; b.summaries > 1 {
		b.summary.WriteString("\n\n")
	}
}

func (s *ResponsesStream) name(r *ResponsesResult) {
	if r != nil {
		s.meta.ID, s.meta.Model = cmp.Or(r.ID, s.meta.ID), cmp.Or(r.Model, s.meta.Model)
	}
}

// end takes over what a whole response says. Its output counts, unless it has
// none, as from servers that send it in pieces only.
func (s *ResponsesStream) end(r *ResponsesResult) {
	s.name(r)
	s.usage = r.Usage
	if len(r.Output) > 0 {
		s.items = nil
		for i := range r.Output {
			s.items = append(s.items, whole(i, &r.Output[i]))
		}
	}
	s.finish = "stop"
	if r.Status == StatusIncomplete {
		s.finish = StatusIncomplete
		if d := r.IncompleteDetails; d != nil {
			s.finish = d.Reason
		}
		if s.finish == "max_output_tokens" {
			s.finish = "length"
		}
	}
}

// whole is an item that came in one piece.
func whole(index int, it *Item) *itemBuilder {
	b := &itemBuilder{index: index, typ: it.Type, id: cmp.Or(it.CallID, it.ID), name: it.Name}
	if it.Arguments != nil {
		b.args.WriteString(*it.Arguments)
	}
	for _, p := range it.Content.Parts() {
		switch {
		case p.Refusal != nil:
			b.refusal.WriteString(*p.Refusal)
		case p.Text == nil:
		case it.Type == ItemReasoning:
			b.reasoning.WriteString(*p.Text)
		default:
			b.text.WriteString(*p.Text)
		}
	}
	if it.Content.text != nil {
		b.text.WriteString(*it.Content.text)
	}
	if it.Summary != nil {
		for _, p := range *it.Summary {
			if p.Text != nil {
				b.summaryPart()
				b.summary.WriteString(*p.Text)
			}
		}
	}
	return b
}

// answer is the parsed view. Reasoning that is shown counts before its summary.
func (s *ResponsesStream) answer() exchange.Answer {
	slices.SortStableFunc(s.items, func(x, y *itemBuilder) int { return cmp.Compare(x.index, y.index) })
	var asm answerBuilder
	for _, b := range s.items {
		reasoning := b.reasoning.String()
		if reasoning == "" {
			reasoning = b.summary.String()
		}
		if reasoning != "" && asm.reasoning.Len() > 0 {
			asm.reasoning.WriteString("\n\n")
		}
		asm.reasoning.WriteString(reasoning)
		asm.content.WriteString(b.text.String())
		asm.refusal.WriteString(b.refusal.String())
		if b.typ == ItemCall {
			call := &callBuilder{index: b.index, id: b.id, name: b.name}
			call.args.WriteString(b.args.String())
			asm.calls = append(asm.calls, call)
		}
	}
	asm.finish = s.finish
	if asm.finish == "stop" && len(asm.calls) > 0 {
		asm.finish = "tool_calls"
	}
	return asm.answer()
}
