package detect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"retort/exchange"
	"retort/importer"
)

// Where the logs of gateways name the account, the times and the parameters; the
// first that is there counts.
var (
	accountFields = []string{"account", "user_api_key_hash", "api_key", "user_api_key", "key", "user_id", "user", "end_user", "tenant"}
	sentFields    = []string{"startTime", "start_time", "sent", "timestamp", "time", "ts", "created_at", "created"}
	lastFields    = []string{"endTime", "end_time", "completionStartTime", "finished_at"}
	paramFields   = []string{"model_parameters", "optional_params", "parameters", "params"}
)

// LogReport says what became of a log's rows.
type LogReport struct {
	Rows      int64 `json:"rows"`
	Read      int64 `json:"read"`
	Refused   int64 `json:"refused"`    // by the importer: no conversation, or failed
	NoAccount int64 `json:"no_account"` // that name no account
	NoTime    int64 `json:"no_time"`
}

// ReadLog reads a log that another program wrote, and calls fn with each exchange:
// LiteLLM's (its logging payload or its spend logs), spans of OpenTelemetry's gen_ai
// conventions as OTLP JSON, and JSON lines with prompt and response. Accounts become
// hashes under key. Rows without an account or a time are counted and passed over.
func ReadLog(ctx context.Context, r io.Reader, name string, key []byte, fn func(*exchange.Exchange) error) (*LogReport, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	head, err := in.Peek(1 << 16)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("log %s: %w", name, err)
	}
	var from io.Reader = in
	if bytes.Contains(head, []byte(`"resourceSpans"`)) {
		pr, pw := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			pw.CloseWithError(spans(in, pw))
		}()
		defer func() { pr.Close(); <-done }()
		from = pr
	}
	rep := &LogReport{}
	read, err := importer.Read(ctx, from, importer.Options{Name: name}, func(it *importer.Item) error {
		e, err := logged(it, name, key, rep)
		if err != nil || e == nil {
			return err
		}
		rep.Read++
		return fn(e)
	})
	rep.Rows = read.Rows
	for _, n := range read.Refused {
		rep.Refused += n
	}
	if err != nil {
		return rep, fmt.Errorf("log %s: %w", name, err)
	}
	return rep, nil
}

// logged is the exchange of a row; nil if it cannot be placed.
func logged(it *importer.Item, name string, key []byte, rep *LogReport) (*exchange.Exchange, error) {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(it.Raw, &row); err != nil {
		return nil, fmt.Errorf("row %d: %w", it.Row, err)
	}
	inside := func(names ...string) {
		for _, n := range names {
			var sub map[string]json.RawMessage
			if json.Unmarshal(row[n], &sub) != nil {
				var text string
				if json.Unmarshal(row[n], &text) != nil || json.Unmarshal([]byte(text), &sub) != nil {
					continue
				}
			}
			for k, v := range sub {
				if _, ok := row[k]; !ok {
					row[k] = v
				}
			}
		}
	}
	inside("metadata", "user_api_key_dict")
	account := ""
	for _, f := range accountFields {
		if account = plain(row[f]); account != "" {
			break
		}
	}
	if account == "" {
		rep.NoAccount++
		return nil, nil
	}
	var sent, last int64
	for _, f := range sentFields {
		if sent = moment(row[f]); sent != 0 {
			break
		}
	}
	for _, f := range lastFields {
		if last = moment(row[f]); last != 0 {
			break
		}
	}
	if sent == 0 {
		rep.NoTime++
		return nil, nil
	}
	inside(append([]string{"request", "request_body"}, paramFields...)...)
	body := map[string]any{"messages": messages(it.Messages)}
	for _, f := range []string{"temperature", "n", "max_tokens", "max_completion_tokens", "seed", "logprobs", "reasoning_effort", "reasoning", "thinking", "response_format"} {
		if v, ok := row[f]; ok {
			body[f] = v
		}
	}
	if it.Tools != nil {
		body["tools"] = it.Tools
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("row %d: %w", it.Row, err)
	}
	usage := it.Usage
	if usage.Output == 0 {
		usage.Input, usage.Output = count(row["prompt_tokens"]), count(row["completion_tokens"])
	}
	digest := it.Digest()
	id := exchange.ID{}
	copy(id[:], digest)
	return &exchange.Exchange{
		ID: id, Origin: exchange.OriginImport, Endpoint: importer.EndpointPrefix + name, ModelAsked: it.Model, ModelAnswered: it.Model,
		Account: exchange.HashAccount(key, account), Attempt: 1, Status: 200, RequestBody: raw, Answer: it.Answer, Usage: usage,
		Times: exchange.Times{Queued: sent, Sent: sent, LastByte: max(sent, last)},
	}, nil
}

func messages(list []exchange.Message) []map[string]string {
	out := make([]map[string]string, len(list))
	for i, m := range list {
		out[i] = map[string]string{"role": m.Role, "content": m.Content}
		if m.ToolCallID != "" {
			out[i]["tool_call_id"] = m.ToolCallID
		}
	}
	return out
}

// plain is a string or a number as text.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

func count(raw json.RawMessage) int64 {
	n, err := strconv.ParseFloat(plain(raw), 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0
	}
	return int64(n)
}

// moment reads a time: RFC 3339 or the like, or seconds, milli-, micro- or
// nanoseconds since 1970, told apart by their size.
func moment(raw json.RawMessage) int64 {
	s := plain(raw)
	if s == "" {
		return 0
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixNano()
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	switch {
	case v < 1e11:
		return int64(v * 1e9)
	case v < 1e14:
		return int64(v * 1e6)
	case v < 1e17:
		return int64(v * 1e3)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	return 0
}

// span is what is read of one of OpenTelemetry's.
type span struct {
	Start      json.RawMessage `json:"startTimeUnixNano"`
	End        json.RawMessage `json:"endTimeUnixNano"`
	Attributes []struct {
		Key   string                     `json:"key"`
		Value map[string]json.RawMessage `json:"value"`
	} `json:"attributes"`
	Events []struct {
		Attributes []struct {
			Key   string                     `json:"key"`
			Value map[string]json.RawMessage `json:"value"`
		} `json:"attributes"`
	} `json:"events"`
}

// spans turns OTLP JSON, one export or many behind each other, into rows of a log:
// a row for each span that holds what a model was asked and answered.
func spans(r io.Reader, w io.Writer) error {
	dec := json.NewDecoder(r)
	enc := json.NewEncoder(w)
	for {
		var export struct {
			Resources []struct {
				Scopes []struct {
					Spans []span `json:"spans"`
				} `json:"scopeSpans"`
			} `json:"resourceSpans"`
		}
		if err := dec.Decode(&export); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("spans of OpenTelemetry: %w", err)
		}
		for _, res := range export.Resources {
			for _, scope := range res.Scopes {
				for _, s := range scope.Spans {
					row := s.row()
					if row == nil {
						continue
					}
					if err := enc.Encode(row); err != nil {
						return err
					}
				}
			}
		}
	}
}

// row is a span as a row of a log; nil if nothing was asked of a model in it.
func (s *span) row() map[string]any {
	at := make(map[string]json.RawMessage)
	for _, e := range s.Events {
		for _, a := range e.Attributes {
			for _, v := range a.Value {
				at[a.Key] = v
			}
		}
	}
	for _, a := range s.Attributes {
		for _, v := range a.Value {
			at[a.Key] = v
		}
	}
	asked, answered := spoken(at, "gen_ai.input.messages", "gen_ai.prompt"), spoken(at, "gen_ai.output.messages", "gen_ai.completion")
	if len(asked) == 0 || len(answered) == 0 {
		return nil
	}
	row := map[string]any{
		"messages": asked, "response": answered[len(answered)-1]["content"], "startTime": s.Start, "endTime": s.End,
		"prompt_tokens": at["gen_ai.usage.input_tokens"], "completion_tokens": at["gen_ai.usage.output_tokens"],
	}
	if system := at["gen_ai.system_instructions"]; system != nil {
		if text := partsText(system); text != "" {
			row["messages"] = slices.Insert(asked, 0, map[string]string{"role": "system", "content": text})
		}
	}
	for _, f := range []string{"user.id", "enduser.id", "gen_ai.user.id", "llm.user", "api_key.hash", "tenant.id"} {
		if v := plain(at[f]); v != "" {
			row["account"] = v
			break
		}
	}
	for from, to := range map[string]string{"gen_ai.request.temperature": "temperature", "gen_ai.request.max_tokens": "max_tokens", "gen_ai.request.choice.count": "n", "gen_ai.request.seed": "seed", "gen_ai.response.model": "model"} {
		if v, ok := at[from]; ok {
			if from != "gen_ai.response.model" {
				if n, err := strconv.ParseFloat(plain(v), 64); err == nil { // OTLP writes integers as text
					row[to] = n
				}
				continue
			}
			row[to] = v
		}
	}
	return row
}

// spoken reads the messages of a span: a JSON list as the conventions have it, or
// numbered attributes as older instrumentation writes them.
func spoken(at map[string]json.RawMessage, list, numbered string) []map[string]string {
	var out []map[string]string
	raw := at[list]
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
		Parts   json.RawMessage `json:"parts"`
	}
	if json.Unmarshal(raw, &messages) == nil {
		for _, m := range messages {
			content := plain(m.Content)
			if content == "" {
				content = partsText(m.Parts)
			}
			out = append(out, map[string]string{"role": m.Role, "content": content})
		}
	}
	for i := 0; out == nil || i > 0; i++ {
		content, ok := at[fmt.Sprintf("%s.%d.content", numbered, i)]
		if !ok {
			break
		}
		out = append(out, map[string]string{"role": plain(at[fmt.Sprintf("%s.%d.role", numbered, i)]), "content": plain(content)})
	}
	return out
}

func partsText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	var parts []struct {
		Content json.RawMessage `json:"content"`
		Text    json.RawMessage `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return text
	}
	s := ""
	for _, p := range parts {
		s += plain(p.Content) + plain(p.Text)
	}
	return s
}
