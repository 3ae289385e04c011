package gateway

import (
	"encoding/json"
	"errors"

	"retort/anthropic"
	"retort/exchange"
	"retort/openai"
)

// reading is what was read of a response.
type reading struct {
	answer             exchange.Answer
	usage              exchange.Usage
	model, fingerprint string
	err                error // why it is no whole answer
}

// view reads a stream's events as they pass.
type view interface {
	Feed(p []byte) error
	Flush() error
	Finished() bool // the stream's last event was seen
	read() reading
}

type openaiView struct{ *openai.Stream }

func (v openaiView) read() reading {
	answer, usage, meta := v.Result()
	return reading{answer: answer, usage: usage, model: meta.Model, fingerprint: meta.Fingerprint}
}

type responsesView struct{ *openai.ResponsesStream }

func (v responsesView) read() reading {
	answer, usage, meta := v.Result()
	return reading{answer: answer, usage: usage, model: meta.Model, fingerprint: meta.Fingerprint}
}

type messagesView struct{ *anthropic.Stream }

func (v messagesView) read() reading {
	answer, usage, meta := v.Result()
	return reading{answer: answer, usage: usage, model: meta.Model}
}

// readOpenAI reads a body of one of OpenAI's wires that is not streamed.
func readOpenAI(parse func([]byte) (exchange.Answer, exchange.Usage, openai.Meta, error)) func([]byte) reading {
	return func(body []byte) reading {
		answer, usage, meta, err := parse(body)
		return reading{answer, usage, meta.Model, meta.Fingerprint, err}
	}
}

func parseResponses(body []byte) (exchange.Answer, exchange.Usage, openai.Meta, error) {
	return openai.ParseResponses("application/json", body)
}

func readMessages(body []byte) reading {
	answer, usage, meta, err := anthropic.ParseResponse(body)
	return reading{answer: answer, usage: usage, model: meta.Model, err: err}
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
