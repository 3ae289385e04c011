package reference

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
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
		if a.tool != "" {
			m.Content, m.ToolCalls = openai.Content{}, []openai.ToolCall{a.call(rep, i)}
		}
		if t.cfg.Reasoning != ReasoningThink {
			thinking := a.text(true)
			m.ReasoningContent = &thinking
		}
		resp.Choices = append(resp.Choices, openai.Choice{Index: i, Message: m, FinishReason: a.chatFinish()})
	}
	t.sendJSON(w, r, rep, resp)
}

// call is the call of a tool that an answer is.
func (a *answer) call(rep *reply, index int) openai.ToolCall {
	id := fmt.Sprintf("call_%s_%d", strings.TrimPrefix(rep.id, "chatcmpl-"), index)
	return openai.ToolCall{ID: id, Type: "function", Function: openai.FunctionCall{Name: a.tool, Arguments: a.text(false)}}
}

// callPiece is a piece of that call in a stream; the first one names it.
func (a *answer) callPiece(rep *reply, index int, arguments string, first bool) openai.ToolCall {
	piece := openai.ToolCall{Index: new(0), Function: openai.FunctionCall{Arguments: arguments}}
	if first {
		whole := a.call(rep, index)
		piece.ID, piece.Type, piece.Function.Name = whole.ID, whole.Type, whole.Function.Name
	}
	return piece
}

// chatFinish is the finish reason on the chat wire.
func (a *answer) chatFinish() string {
	if a.tool != "" && a.finish == "stop" {
		return "tool_calls"
	}
	return a.finish
}

// chunks are the texts of the events that one field of an answer is streamed in.
func (a *answer) chunks(reasoning bool) []string {
	var out []string
	n := eventTokens
	for _, p := range a.tokens {
		if p.reasoning != reasoning {
			continue
		}
		if n == eventTokens {
			out, n = append(out, ""), 0
		}
		out[len(out)-1] += p.text
		n++
	}
	return out
}

// sendJSON writes a reply as one JSON object, with the fault that befell it.
func (t *Teacher) sendJSON(w http.ResponseWriter, r *http.Request, rep *reply, v any) {
	body, err := openai.Encode(v)
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
		if i == half && t.midway(r, rep) {
			return
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

// midway does what a fault does in the middle of a stream, and reports whether
// that ends it.
func (t *Teacher) midway(r *http.Request, rep *reply) bool {
	switch rep.fault {
	case faultTruncate:
		return true
	case faultCut:
		panic(http.ErrAbortHandler) // net/http then cuts the connection
	case faultStall:
		t.sleep(r, t.delays.stall)
	}
	return false
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
			switch {
			case field:
				d = openai.Delta{ReasoningContent: &text}
			case a.tool != "":
				d = openai.Delta{ToolCalls: []openai.ToolCall{a.callPiece(rep, i, text, len(rest) == len(a.tokens)-int(a.reasoning)-n)}}
			}
			add(openai.ChunkChoice{Index: i, Delta: d})
		}
		finish := a.chatFinish()
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
