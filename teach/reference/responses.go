package reference

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"retort/openai"
)

// readResponses reads a request of the responses wire.
func readResponses(w http.ResponseWriter, r *http.Request) (*asked, *openai.APIError) {
	req, bad := openai.ReadResponsesRequest(w, r, maxBody)
	if bad != nil {
		return nil, bad
	}
	out := &asked{
		ChatRequest: &openai.ChatRequest{Model: req.Model, MaxTokens: req.MaxOutputTokens, Temperature: req.Temperature, TopP: req.TopP, Stream: req.Stream, Extra: openai.Extra{}},
		echo:        openai.Extra{},
	}
	if req.Instructions != "" {
		out.Messages = append(out.Messages, openai.Message{Role: "system", Content: openai.Text(req.Instructions)})
	}
	for i, it := range req.Input {
		m, err := itemMessage(it)
		if err != nil {
			return nil, &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: fmt.Sprintf("input[%d]", i), Message: err.Error()}
		}
		if m != nil {
			out.Messages = append(out.Messages, *m)
		}
	}
	if err := out.responsesTools(req); err != nil {
		return nil, &openai.APIError{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "tools", Message: err.Error()}
	}
	return out, nil
}

// itemMessage is an item of the input as a message, nil for one that says
// nothing to this model.
func itemMessage(it openai.Item) (*openai.Message, error) {
	switch it.Type {
	case "", openai.ItemMessage:
		for _, p := range it.Content.Parts() {
			if p.Text == nil && p.Refusal == nil {
				return nil, fmt.Errorf("this model reads text only, not a part of type %q", p.Type)
			}
		}
		return &openai.Message{Role: it.Role, Content: openai.Text(it.Content.String())}, nil
	case openai.ItemCallOutput:
		var text string
		if json.Unmarshal(it.Output, &text) != nil {
			return nil, fmt.Errorf("this model reads the output of calls as text only")
		}
		return &openai.Message{Role: "tool", ToolCallID: it.CallID, Content: openai.Text(text)}, nil
	case openai.ItemCall, openai.ItemReasoning:
		return nil, nil
	}
	return nil, fmt.Errorf("this model does not know items of type %q", it.Type)
}

// responsesTools takes over tools and text format under the chat wire's names.
func (q *asked) responsesTools(req *openai.ResponsesRequest) error {
	set := func(name string, v any) error {
		raw, err := openai.Encode(v)
		q.Extra[name] = raw
		return err
	}
	var tools []any
	for i, t := range req.Tools {
		if t.Type != "function" {
			return fmt.Errorf("tools[%d]: this model calls functions of the client's own, not a tool of type %q", i, t.Type)
		}
		tools = append(tools, map[string]any{"type": "function", "function": map[string]any{"name": t.Name, "parameters": t.Parameters}})
	}
	for name, v := range map[string]any{"tools": tools, "tool_choice": "auto", "parallel_tool_calls": true, "temperature": req.Temperature, "top_p": req.TopP} {
		raw, err := openai.Encode(v)
		if err != nil {
			return err
		}
		q.echo[name] = raw
	}
	if tools != nil {
		raw, err := openai.Encode(req.Tools)
		if err != nil {
			return err
		}
		q.echo["tools"] = raw
		if err := set("tools", tools); err != nil {
			return err
		}
	} else {
		q.echo["tools"] = json.RawMessage("[]")
	}
	if len(req.ToolChoice) > 0 {
		q.echo["tool_choice"] = req.ToolChoice
		var named struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(req.ToolChoice, &named) == nil && named.Name != "" {
			if err := set("tool_choice", map[string]any{"type": "function", "function": map[string]any{"name": named.Name}}); err != nil {
				return err
			}
		} else {
			q.Extra["tool_choice"] = req.ToolChoice
		}
	}
	if req.Text != nil && req.Text.Format != nil && req.Text.Format.Type == "json_schema" {
		return set("response_format", map[string]any{"type": "json_schema", "json_schema": map[string]any{"schema": req.Text.Format.Schema}})
	}
	return nil
}

// response is a reply as a whole response.
func (t *Teacher) response(rep *reply) openai.ResponsesResult {
	a := rep.answers[0]
	id := strings.TrimPrefix(rep.id, "chatcmpl-")
	out := openai.ResponsesResult{
		ID: "resp_" + id, Object: "response", CreatedAt: rep.created, Status: openai.StatusCompleted, Model: t.cfg.ModelName(), Output: []openai.Item{}, Extra: rep.req.echo,
	}
	if t.thinks(rep) {
		text := a.text(true)
		out.Output = append(out.Output, openai.Item{Type: openai.ItemReasoning, ID: "rs_" + id, Summary: &[]openai.ItemPart{}, Content: openai.ItemParts(openai.ItemPart{Type: openai.PartReasoningText, Text: &text})})
	}
	status := openai.StatusCompleted
	if a.finish == "length" {
		status, out.Status = openai.StatusIncomplete, openai.StatusIncomplete
		out.IncompleteDetails = &openai.IncompleteDetails{Reason: "max_output_tokens"}
	}
	text := a.text(false)
	if a.tool != "" {
		out.Output = append(out.Output, openai.Item{Type: openai.ItemCall, ID: "fc_" + id, CallID: "call_" + id, Name: a.tool, Arguments: &text, Status: status})
	} else {
		out.Output = append(out.Output, openai.Item{Type: openai.ItemMessage, ID: "msg_" + id, Role: "assistant", Status: status, Content: openai.ItemParts(outputText(text))})
	}
	if rep.fault != faultMissingUsage {
		out.Usage = openai.ResponsesUsageOf(rep.usage.exchange())
	}
	return out
}

func outputText(text string) openai.ItemPart {
	return openai.ItemPart{Type: openai.PartOutputText, Text: &text, Annotations: &[]json.RawMessage{}}
}

func (t *Teacher) sendResponse(w http.ResponseWriter, r *http.Request, rep *reply) {
	t.sendJSON(w, r, rep, t.response(rep))
}

// streamResponse writes a reply as the events of the responses wire.
func (t *Teacher) streamResponse(w http.ResponseWriter, r *http.Request, rep *reply) {
	out := openai.NewResponsesWriter(w)
	events := t.responseEvents(rep)
	for i, e := range events {
		if i == len(events)/2 && t.midway(r, rep) {
			return
		}
		var err error
		if i == len(events)/2 && rep.fault == faultMalformed {
			err = out.Raw(openai.EventTextDelta, []byte(`{"type":"response.output_text.delta","delta":"`))
		} else {
			err = out.Send(e)
		}
		if err != nil {
			return // the client is gone
		}
	}
}

// responseEvents are the events of a streamed reply.
func (t *Teacher) responseEvents(rep *reply) []openai.ResponsesEvent {
	whole := t.response(rep)
	begun := whole
	begun.Status, begun.Output, begun.Usage, begun.IncompleteDetails = openai.StatusInProgress, []openai.Item{}, nil, nil
	out := []openai.ResponsesEvent{{Type: openai.EventCreated, Response: &begun}, {Type: openai.EventInProgress, Response: &begun}}
	for i, it := range whole.Output {
		out = append(out, itemEvents(i, it, rep.answers[0])...)
	}
	end := openai.EventCompleted
	if whole.Status == openai.StatusIncomplete {
		end = openai.EventIncomplete
	}
	return append(out, openai.ResponsesEvent{Type: end, Response: &whole})
}

// itemEvents are the events of one item of the output: its beginning, its
// pieces, its end.
func itemEvents(i int, it openai.Item, a *answer) []openai.ResponsesEvent {
	zero := 0
	begun := it
	if it.Status != "" {
		begun.Status = openai.StatusInProgress
	}
	deltas := func(typ string, reasoning bool, logprobs *[]json.RawMessage) (out []openai.ResponsesEvent) {
		for _, text := range a.chunks(reasoning) {
			e := openai.ResponsesEvent{Type: typ, OutputIndex: &i, ItemID: it.ID, Delta: &text, Logprobs: logprobs}
			if typ != openai.EventArgsDelta {
				e.ContentIndex = &zero
			}
			out = append(out, e)
		}
		return out
	}
	var inner []openai.ResponsesEvent
	if it.Type == openai.ItemCall {
		begun.Arguments = new("")
		inner = append(deltas(openai.EventArgsDelta, false, nil), openai.ResponsesEvent{Type: openai.EventArgsDone, OutputIndex: &i, ItemID: it.ID, Name: it.Name, Arguments: it.Arguments})
	} else {
		begun.Content = openai.ItemParts()
		part := it.Content.Parts()[0]
		empty := part
		empty.Text = new("")
		reasoning := it.Type == openai.ItemReasoning
		delta, done, logprobs := openai.EventTextDelta, openai.EventTextDone, &[]json.RawMessage{}
		if reasoning {
			delta, done, logprobs = openai.EventReasoningDelta, openai.EventReasoningDone, nil
		}
		inner = append(inner, openai.ResponsesEvent{Type: openai.EventPartAdded, OutputIndex: &i, ContentIndex: &zero, ItemID: it.ID, Part: &empty})
		inner = append(inner, deltas(delta, reasoning, logprobs)...)
		inner = append(inner,
			openai.ResponsesEvent{Type: done, OutputIndex: &i, ContentIndex: &zero, ItemID: it.ID, Text: part.Text, Logprobs: logprobs},
			openai.ResponsesEvent{Type: openai.EventPartDone, OutputIndex: &i, ContentIndex: &zero, ItemID: it.ID, Part: &part})
	}
	out := append([]openai.ResponsesEvent{{Type: openai.EventItemAdded, OutputIndex: &i, Item: &begun}}, inner...)
	return append(out, openai.ResponsesEvent{Type: openai.EventItemDone, OutputIndex: &i, Item: &it})
}
