package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"retort/exchange"
	"retort/openai"
)

// reply is what all parts of one response share.
type reply struct {
	id      string
	created openai.Unix
}

func newReply(prefix string) reply {
	t := now()
	return reply{id: prefix + exchange.NewID(t).String(), created: openai.Unix(t.Unix())}
}

// answer is what one sequence has said, when it has ended.
type answer struct {
	echo               string
	prompt             []tokenInfo
	reasoning, content string
	logprobs           []tokenInfo
	finish             string
}

// run queues a job and gives its events to on until all sequences have ended.
// Whatever is left of the job when run returns is dropped. It returns the
// tokens sampled and, of those, the ones in the reasoning.
func (e *Engine) run(ctx context.Context, j *job, wait bool, on func(event) error) (tokens, reasoning int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j.ctx = ctx
	if err := e.submit(j, wait); err != nil {
		return 0, 0, err
	}
	defer e.forget(j)
	for left := j.n; left > 0; {
		events, err := j.wait()
		if err != nil {
			return tokens, reasoning, err
		}
		for _, ev := range events {
			if ev.err != nil {
				return tokens, reasoning, ev.err
			}
			if ev.finish != "" {
				left--
				tokens += ev.tokens
				reasoning += ev.reasoning
			}
			if err := on(ev); err != nil {
				return tokens, reasoning, err
			}
		}
	}
	return tokens, reasoning, nil
}

// answers runs a job to its end and returns what its sequences have said, with
// the counts of run.
func (e *Engine) answers(ctx context.Context, j *job, wait bool) (answers []answer, tokens, reasoning int, err error) {
	answers = make([]answer, j.n)
	tokens, reasoning, err = e.run(ctx, j, wait, func(ev event) error {
		a := &answers[ev.choice]
		a.echo += ev.echo
		a.prompt = append(a.prompt, ev.prompt...)
		a.reasoning += ev.piece.reasoning
		a.content += ev.piece.content
		a.logprobs = append(a.logprobs, ev.logprobs...)
		a.finish = ev.finish
		return nil
	})
	return answers, tokens, reasoning, err
}

// complete runs a chat's job to its end and puts the response together.
func (e *Engine) complete(ctx context.Context, j *job, wait bool) (*openai.ChatResponse, error) {
	r := newReply("chatcmpl-")
	answers, tokens, reasoning, err := e.answers(ctx, j, wait)
	if err != nil {
		return nil, err
	}
	resp := &openai.ChatResponse{ID: r.id, Object: "chat.completion", Created: r.created, Model: e.served[j.model].name,
		SystemFingerprint: e.served[j.model].fingerprint, Usage: usage(j, tokens, reasoning)}
	for i, a := range answers {
		m := openai.Message{Role: "assistant", Content: openai.Text(a.content)}
		if a.reasoning != "" {
			m.ReasoningContent = &a.reasoning
		}
		resp.Choices = append(resp.Choices, openai.Choice{Index: i, Message: m, FinishReason: a.finish, Logprobs: e.logprobsJSON(j, a.logprobs)})
	}
	return resp, nil
}

func usage(j *job, tokens, reasoning int) *openai.Usage {
	prompt := j.promptTokens()
	u := &openai.Usage{PromptTokens: int64(prompt), CompletionTokens: int64(tokens), TotalTokens: int64(prompt + tokens)}
	if cached := j.cached.Load(); cached > 0 {
		u.PromptTokensDetails = &openai.PromptTokensDetails{CachedTokens: cached}
	}
	if reasoning > 0 {
		u.CompletionTokensDetails = &openai.CompletionTokensDetails{ReasoningTokens: int64(reasoning)}
	}
	return u
}

// tokenText names a token on the wire: by its text or, where that is a part of a
// character, by its bytes.
func (e *Engine) tokenText(id int32) string {
	b := e.tok.TokenBytes(id)
	if !utf8.Valid(b) {
		return fmt.Sprintf("bytes:%x", b)
	}
	return string(b)
}

// finite makes a log-probability fit for JSON, which has no -Inf.
func finite(logprob float64) float64 { return max(logprob, -9999) }

// logprobsJSON is the wire's logprobs object, or nil where none were asked for.
// It lists every token sampled, those of the reasoning and its tags included.
func (e *Engine) logprobsJSON(j *job, tokens []tokenInfo) json.RawMessage {
	if !j.logprobs {
		return nil
	}
	type one struct {
		Token   string  `json:"token"`
		Logprob float64 `json:"logprob"`
		Bytes   []int   `json:"bytes"`
	}
	type entry struct {
		one
		Top []one `json:"top_logprobs"`
	}
	show := func(t tokenLogprob) one {
		b := e.tok.TokenBytes(t.id)
		o := one{Token: e.tokenText(t.id), Logprob: finite(t.logprob), Bytes: make([]int, len(b))}
		for i, v := range b {
			o.Bytes[i] = int(v)
		}
		return o
	}
	entries := make([]entry, len(tokens))
	for i, t := range tokens {
		entries[i] = entry{one: show(t.tokenLogprob), Top: []one{}}
		for _, alt := range t.top {
			entries[i].Top = append(entries[i].Top, show(alt))
		}
	}
	raw, err := json.Marshal(map[string]any{"content": entries})
	if err != nil {
		return nil // finite numbers and valid strings always marshal
	}
	return raw
}
