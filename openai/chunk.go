package openai

import (
	"bytes"
	"encoding/json"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// plainChunk is what most chunks of a stream hold. Fields that say nothing about
// the answer are passed over.
type plainChunk struct {
	ID                string         `json:"id"`
	Model             string         `json:"model"`
	SystemFingerprint string         `json:"system_fingerprint"`
	Choices           []plainChoice  `json:"choices"`
	Usage             jsontext.Value `json:"usage"`
	Error             jsontext.Value `json:"error"`
}

type plainChoice struct {
	Index        int            `json:"index"`
	Message      jsontext.Value `json:"message"`
	Delta        plainDelta     `json:"delta"`
	Text         *string        `json:"text"`
	FinishReason *string        `json:"finish_reason"`
}

type plainDelta struct {
	Content          *string        `json:"content"`
	ReasoningContent *string        `json:"reasoning_content"`
	Reasoning        *string        `json:"reasoning"`
	Refusal          *string        `json:"refusal"`
	ToolCalls        jsontext.Value `json:"tool_calls"`
}

// readPlain reads a chunk that adds text, tells the usage and nothing else, in one pass: streams
// consist of them, and a gateway reads them all. It reports whether the chunk was
// one; every other form, valid or not, is for the types that know them all.
func readPlain(data []byte, c *ChatChunk) bool {
	if deep(data) {
		return false
	}
	var p plainChunk
	// It refuses what Check refuses: repeated names, and what is not UTF-8.
	if jsonv2.Unmarshal(data, &p) != nil || given(p.Error) {
		return false
	}
	if given(p.Usage) {
		c.Usage = new(Usage)
		if json.Unmarshal(p.Usage, c.Usage) != nil {
			return false
		}
	}
	for i := range p.Choices {
		from := &p.Choices[i]
		if given(from.Message) || given(from.Delta.ToolCalls) || from.Text != nil && from.Delta.Content != nil {
			return false
		}
		if from.Text != nil {
			from.Delta.Content = from.Text
		}
		c.Choices = append(c.Choices, ChunkChoice{Index: from.Index, FinishReason: from.FinishReason, Delta: Delta{
			Content: from.Delta.Content, ReasoningContent: from.Delta.ReasoningContent,
			Reasoning: from.Delta.Reasoning, Refusal: from.Delta.Refusal,
		}})
	}
	c.ID, c.Model, c.SystemFingerprint = p.ID, p.Model, p.SystemFingerprint
	return true
}

// plainResponse is what most responses that are not streamed hold.
type plainResponse struct {
	ID                string                `json:"id"`
	Model             string                `json:"model"`
	SystemFingerprint string                `json:"system_fingerprint"`
	Choices           []plainResponseChoice `json:"choices"`
	Usage             jsontext.Value        `json:"usage"`
	Error             jsontext.Value        `json:"error"`
}

type plainResponseChoice struct {
	Index   int `json:"index"`
	Message struct {
		Role string `json:"role"`
		plainDelta
	} `json:"message"`
	Text         jsontext.Value `json:"text"`
	FinishReason string         `json:"finish_reason"`
}

// readPlainResponse reads a response whose answers are text and nothing else, as
// readPlain does a chunk.
func readPlainResponse(body []byte, r *ChatResponse) bool {
	if deep(body) {
		return false
	}
	var p plainResponse
	if jsonv2.Unmarshal(body, &p) != nil || given(p.Error) || len(p.Choices) == 0 {
		return false
	}
	for i := range p.Choices {
		from := &p.Choices[i]
		m := &from.Message
		if given(from.Text) || given(m.ToolCalls) || m.Content == nil {
			return false
		}
		r.Choices = append(r.Choices, Choice{Index: from.Index, FinishReason: from.FinishReason, Message: Message{
			Role: m.Role, Content: Text(*m.Content), ReasoningContent: m.ReasoningContent, Reasoning: m.Reasoning, Refusal: m.Refusal,
		}})
	}
	if given(p.Usage) {
		r.Usage = new(Usage)
		if json.Unmarshal(p.Usage, r.Usage) != nil {
			return false
		}
	}
	r.ID, r.Model, r.SystemFingerprint = p.ID, p.Model, p.SystemFingerprint
	return true
}

// deep reports whether a body may be nested deeper than is read.
func deep(body []byte) bool {
	return bytes.Count(body, []byte{'['})+bytes.Count(body, []byte{'{'}) > MaxDepth
}

func given(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }
