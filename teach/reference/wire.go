package reference

import (
	"net/http"
	"strconv"
	"time"

	"retort/openai"
)

// eventTokens is how many tokens one event of a stream carries.
const eventTokens = 12

// wireUsage is what a reply says about its tokens; nil where the fault keeps
// it back.
func (rep *reply) wireUsage() *openai.Usage {
	if rep.fault == faultMissingUsage {
		return nil
	}
	u := rep.usage
	return &openai.Usage{
		PromptTokens: u.Input, CompletionTokens: u.Output, TotalTokens: u.Input + u.Output,
		PromptTokensDetails:     &openai.PromptTokensDetails{},
		CompletionTokensDetails: &openai.CompletionTokensDetails{ReasoningTokens: u.Reasoning},
	}
}

// send writes a reply as one JSON object.
func (t *Teacher) send(w http.ResponseWriter, r *http.Request, rep *reply) {
	resp := openai.ChatResponse{
		ID: rep.id, Object: "chat.completion", Created: rep.created, Model: t.cfg.ModelName(),
		SystemFingerprint: t.fingerprint(), Usage: rep.wireUsage(),
	}
	for i, a := range rep.answers {
		m := openai.Message{Role: "assistant", Content: openai.Text(a.text(false))}
		if t.cfg.Reasoning != ReasoningThink {
			thinking := a.text(true)
			m.ReasoningContent = &thinking
		}
		resp.Choices = append(resp.Choices, openai.Choice{Index: i, Message: m, FinishReason: a.finish})
	}
	body, err := openai.Encode(resp)
	if err != nil { // strings and numbers always encode
		_ = openai.WriteError(w, http.StatusInternalServerError, "server_error", "", err.Error())
		return
	}
	half := len(body) / 2
	if rep.fault == faultMalformed {
		body[half/2], body[half] = '"', '"'
		body = append(body, '}')
	}
	w.Header().Set("Content-Type", "application/json")
	if rep.fault != faultTruncate {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(http.StatusOK)
	first, rest := body[:half], body[half:]
	if _, err := w.Write(first); err != nil {
		return
	}
	switch rep.fault {
	case faultTruncate:
		return
	case faultCut:
		flush(w)
		panic(http.ErrAbortHandler) // net/http then cuts the connection
	case faultStall:
		flush(w)
		t.sleep(r, t.delays.stall)
	}
	_, _ = w.Write(rest)
}

// flush sends what was written so far. A writer that cannot flush sends it
// later.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// stream writes a reply as server-sent events.
func (t *Teacher) stream(w http.ResponseWriter, r *http.Request, rep *reply) {
	out := openai.NewStreamWriter(w)
	chunks := t.chunks(rep)
	half := len(chunks) / 2
	for i, c := range chunks {
		if i == half {
			switch rep.fault {
			case faultTruncate:
				return
			case faultCut:
				panic(http.ErrAbortHandler)
			case faultStall:
				t.sleep(r, t.delays.stall)
			}
		}
		var err error
		if i == half && rep.fault == faultMalformed {
			err = out.Raw([]byte(`{"id":"` + rep.id + `","choices":[{"index":0,"delta":{"content":"`))
		} else {
			err = out.Send(c)
		}
		if err != nil {
			return // the client is gone
		}
	}
	_ = out.Done()
}

// chunks are the events of a streamed reply.
func (t *Teacher) chunks(rep *reply) []openai.ChatChunk {
	var out []openai.ChatChunk
	add := func(choices ...openai.ChunkChoice) *openai.ChatChunk {
		if choices == nil {
			choices = []openai.ChunkChoice{}
		}
		out = append(out, openai.ChatChunk{
			ID: rep.id, Object: "chat.completion.chunk", Created: rep.created, Model: t.cfg.ModelName(),
			SystemFingerprint: t.fingerprint(), Choices: choices,
		})
		return &out[len(out)-1]
	}
	for i, a := range rep.answers {
		empty := ""
		add(openai.ChunkChoice{Index: i, Delta: openai.Delta{Role: "assistant", Content: &empty}})
		for rest := a.tokens; len(rest) > 0; {
			text, field := "", rest[0].reasoning
			n := 0
			for n < len(rest) && n < eventTokens && rest[n].reasoning == field {
				text += rest[n].text
				n++
			}
			rest = rest[n:]
			d := openai.Delta{Content: &text}
			if field {
				d = openai.Delta{ReasoningContent: &text}
			}
			add(openai.ChunkChoice{Index: i, Delta: d})
		}
		finish := a.finish
		add(openai.ChunkChoice{Index: i, FinishReason: &finish})
	}
	if o := rep.req.StreamOptions; o != nil && o.IncludeUsage && rep.fault != faultMissingUsage {
		add().Usage = rep.wireUsage()
	}
	return out
}

// sleep waits, but no longer than the client or the server is there.
func sleep(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
