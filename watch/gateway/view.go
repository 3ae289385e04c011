package gateway

import (
	"bytes"
	"encoding/json"
	"errors"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// reading is what was read of a response: what the gateway must know, while the
// answer itself is left to who reads the ledger.
type reading struct {
	finish             string
	produced           int64 // bytes of text, reasoning and calls
	usage              exchange.Usage
	model, fingerprint string
	err                error // why it is no whole answer
}

// assembler is a wire's reader of streams.
type assembler interface {
	Feed(p []byte) error
	Flush() error
	Finished() bool // the stream's last event was seen
}

// view reads a stream's events as they pass. Most of them add a few words to the
// answer and say nothing else: of those it counts the words. The others, which
// tell usage, model, finish or an error, the wire's reader reads.
type view struct {
	assembler
	result   func(assembler) reading
	adds     func(*glance) bool // an event adds to the answer and says nothing else
	first    []byte             // the first event, if it only adds: it names the model as well
	told     bool               // an event that does not only add was read
	produced int64
	like     []byte // an event that only adds, as which most are but for their text
	likeness glance // what it shows
}

// event reads a whole event.
func (v *view) event(ev []byte) error {
	g, known := v.alike(ev)
	if !known {
		g = look(ev)
	}
	v.produced += g.text
	if v.adds(&g) {
		if !known && g.end > 0 {
			v.like = append(v.like[:0], ev...)
			typ := append(v.likeness.typ[:0], g.typ...) // g's is of ev
			v.likeness = g
			v.likeness.typ = typ
		}
		if v.first == nil {
			v.first = bytes.Clone(ev)
		}
		return nil
	}
	v.told = v.told || g.names > 0
	return v.Feed(ev)
}

// alike returns what look does where an event is like the one before but for the
// words that it adds.
func (v *view) alike(ev []byte) (g glance, known bool) {
	at := v.likeness.at
	if at == 0 || len(ev) <= at || !bytes.Equal(ev[:at], v.like[:at]) {
		return glance{}, false
	}
	text, rest := stringAt(ev[at:])
	if len(rest) == 0 || !bytes.Equal(rest, v.like[v.likeness.end:]) {
		return glance{}, false
	}
	g = v.likeness
	g.text += int64(len(text)) - int64(g.end-1-g.at)
	return g, true
}

// read returns what is known so far.
func (v *view) read() reading {
	if !v.told && v.first != nil {
		// A stream that was cut: its error is known without this event's.
		_ = v.Feed(v.first)
		v.told = true
	}
	r := v.result(v.assembler)
	r.produced = v.produced
	return r
}

func newOpenAIView() *view {
	return &view{assembler: openai.NewStream(), adds: addsChat, result: func(a assembler) reading {
		answer, usage, meta := a.(*openai.Stream).Result()
		return reading{finish: answer.FinishReason, usage: usage, model: meta.Model, fingerprint: meta.Fingerprint}
	}}
}

func newResponsesView() *view {
	return &view{assembler: openai.NewResponsesStream(), adds: addsResponses, result: func(a assembler) reading {
		answer, usage, meta := a.(*openai.ResponsesStream).Result()
		return reading{finish: answer.FinishReason, usage: usage, model: meta.Model, fingerprint: meta.Fingerprint}
	}}
}

func newMessagesView() *view {
	return &view{assembler: anthropic.NewStream(), adds: addsMessages, result: func(a assembler) reading {
		answer, usage, meta := a.(*anthropic.Stream).Result()
		return reading{finish: answer.FinishReason, usage: usage, model: meta.Model}
	}}
}

func addsChat(g *glance) bool { return g.choices && !g.tells }

func addsResponses(g *glance) bool {
	return bytes.HasSuffix(g.typ, []byte(".delta")) && !g.response && !g.tells
}

func addsMessages(g *glance) bool { return string(g.typ) == "content_block_delta" && !g.tells }

// glance is what an event shows without being decoded, whatever its wire and at
// whatever depth. What it cannot see, such as a name with escapes, costs a field
// and not the stream's bytes.
type glance struct {
	names    int    // names of fields
	text     int64  // about how many bytes of text it adds
	typ      []byte // the first field called type, if it is a string
	choices  bool   // there is a field of that name
	response bool
	tells    bool // usage, finish_reason or error has a value
	at, end  int  // where in the event the last text that it adds begins, and behind its quote; 0 if it adds none
}

func look(ev []byte) glance {
	var g glance
	for i := 0; ; {
		open := bytes.IndexByte(ev[i:], '"')
		if open < 0 {
			return g
		}
		name, rest := stringAt(ev[i+open+1:])
		i = len(ev) - len(rest)
		if len(rest) == 0 || rest[0] != ':' && rest[0] != ' ' {
			continue
		}
		value := bytes.TrimLeft(rest, " \t")
		if len(value) == 0 || value[0] != ':' {
			continue // it was a value
		}
		if value = bytes.TrimLeft(value[1:], " \t"); len(value) == 0 {
			return g
		}
		var text []byte
		if value[0] == '"' {
			text, rest = stringAt(value[1:])
			i = len(ev) - len(rest)
		}
		if g.field(name, text, value[0]) && value[0] == '"' {
			g.at, g.end = len(ev)-len(value)+1, i
		}
	}
}

// field notes a field: its value, if that is a string, and how the value begins. It
// reports whether the field is one for text.
func (g *glance) field(name, text []byte, begins byte) bool {
	g.names++
	switch string(name) {
	case "content", "reasoning_content", "reasoning", "refusal", "arguments", "text", "thinking", "partial_json", "delta":
		g.text += int64(len(text))
		return true
	case "type":
		if g.typ == nil {
			g.typ = text
		}
	case "choices":
		g.choices = true
	case "response":
		g.response = true
	case "usage", "finish_reason", "error":
		g.tells = g.tells || begins != 'n'
	}
	return false
}

// stringAt splits what follows a quote at the quote that ends the string.
func stringAt(s []byte) (text, rest []byte) {
	for i := 0; ; {
		n := bytes.IndexByte(s[i:], '"')
		if n < 0 {
			return s, nil
		}
		i += n + 1
		escapes := 0
		for j := i - 2; j >= 0 && s[j] == '\\'; j-- {
			escapes++
		}
		if escapes%2 == 0 {
			return s[:i-1], s[i:]
		}
	}
}

// readAnswer makes of what a parser of whole answers returns a reading.
func readAnswer(a exchange.Answer, usage exchange.Usage, model, fingerprint string, err error) reading {
	n := len(a.Content) + len(a.Reasoning)
	for _, call := range a.ToolCalls {
		n += len(call.Name) + len(call.Arguments)
	}
	return reading{finish: a.FinishReason, produced: int64(n), usage: usage, model: model, fingerprint: fingerprint, err: err}
}

// readOpenAI reads a body of one of OpenAI's wires that is not streamed.
func readOpenAI(parse func([]byte) (exchange.Answer, exchange.Usage, openai.Meta, error)) func([]byte) reading {
	return func(body []byte) reading {
		answer, usage, meta, err := parse(body)
		return readAnswer(answer, usage, meta.Model, meta.Fingerprint, err)
	}
}

func parseResponses(body []byte) (exchange.Answer, exchange.Usage, openai.Meta, error) {
	return openai.ParseResponses("application/json", body)
}

func readMessages(body []byte) reading {
	answer, usage, meta, err := anthropic.ParseResponse(body)
	return readAnswer(answer, usage, meta.Model, "", err)
}

// The events by which a stream tells of a failure. Errors of encoding cannot
// happen: the values hold strings alone.

func eventOpenAI(message string) []byte {
	b, _ := json.Marshal(openai.ErrorEnvelope{Error: openai.ErrorBody{Message: message, Type: "server_error"}})
	return append(append([]byte("data: "), b...), "\n\n"...)
}

func eventResponses(message string) []byte {
	b, _ := json.Marshal(map[string]string{"type": openai.EventErr, "code": "server_error", "message": message})
	return append(append([]byte("event: error\ndata: "), b...), "\n\n"...)
}

func eventAnthropic(message string) []byte {
	b, _ := json.Marshal(anthropic.ErrorEnvelope{Type: anthropic.EventError, Error: anthropic.ErrorBody{Type: anthropic.ErrAPI, Message: message}})
	return append(append([]byte("event: error\ndata: "), b...), "\n\n"...)
}

// refusal reports whether err is what a provider said, in place of an answer that
// came to its end.
func refusal(err error) bool {
	var o *openai.APIError
	var a *anthropic.APIError
	return errors.As(err, &o) || errors.As(err, &a)
}
