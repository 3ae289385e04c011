package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"retort/exchange"
)

// Line is an exchange as it is exported: one JSON object a line. A body that is
// not UTF-8 stands in the field of bytes, which JSON shows in base64. Fields of
// the ledger that this version does not know are kept under their names.
type Line struct {
	ID             exchange.ID       `json:"id"`
	Parent         exchange.ID       `json:"parent,omitzero"`
	Key            exchange.Key      `json:"key,omitzero"`
	Run            string            `json:"run,omitempty"`
	Stage          string            `json:"stage,omitempty"`
	Origin         exchange.Origin   `json:"origin,omitempty"`
	Provider       string            `json:"provider,omitempty"`
	Endpoint       string            `json:"endpoint,omitempty"`
	Model          string            `json:"model,omitempty"`
	ModelAnswered  string            `json:"model_answered,omitempty"`
	Fingerprint    string            `json:"fingerprint,omitempty"`
	Account        string            `json:"account,omitempty"`
	KeyID          string            `json:"key_id,omitempty"`
	EndUser        string            `json:"end_user,omitempty"`
	Family         string            `json:"family,omitempty"`
	Problem        string            `json:"problem,omitempty"`
	Terms          string            `json:"terms,omitempty"`
	TermsBasis     string            `json:"terms_basis,omitempty"`
	ExposureArm    string            `json:"exposure_arm,omitempty"`
	Attempt        int               `json:"attempt,omitempty"`
	Outcome        string            `json:"outcome"` // see Status
	Status         int               `json:"status,omitempty"`
	Error          string            `json:"error,omitempty"`
	RequestHeader  map[string]string `json:"request_header,omitempty"`
	ResponseHeader map[string]string `json:"response_header,omitempty"`
	RequestBody    string            `json:"request_body,omitempty"`
	RequestBytes   []byte            `json:"request_bytes,omitempty"`
	ResponseBody   string            `json:"response_body,omitempty"`
	ResponseBytes  []byte            `json:"response_bytes,omitempty"`
	Answer         exchange.Answer   `json:"answer,omitzero"`
	Usage          exchange.Usage    `json:"usage,omitzero"`
	CostPico       exchange.Pico     `json:"cost_pico"`
	CostUSD        float64           `json:"cost_usd"`
	WorstPico      exchange.Pico     `json:"worst_pico,omitempty"`
	Price          string            `json:"price,omitempty"`
	Times          exchange.Times    `json:"times,omitzero"`
}

// NewLine returns the exported form of e.
func NewLine(e *exchange.Exchange) Line {
	l := Line{
		ID: e.ID, Parent: e.Parent, Key: e.Key, Run: e.Run, Stage: e.Stage, Origin: e.Origin,
		Provider: e.Provider, Endpoint: e.Endpoint, Model: e.ModelAsked, ModelAnswered: e.ModelAnswered,
		Fingerprint: e.Fingerprint, Account: e.Account, KeyID: e.KeyID, EndUser: e.EndUser, Family: e.Family, Problem: e.Problem,
		Terms: e.TermsID, TermsBasis: e.TermsBasis, ExposureArm: e.ExposureArm, Attempt: e.Attempt,
		Outcome: Status(e), Status: e.Status, Error: e.ErrorText,
		RequestHeader: e.RequestHeader, ResponseHeader: e.ResponseHeader,
		Answer: e.Answer, Usage: e.Usage, CostPico: e.Cost, CostUSD: e.Cost.USD(), WorstPico: e.Worst,
		Price: e.Price, Times: e.Times,
	}
	l.RequestBody, l.RequestBytes = textOrBytes(e.RequestBody)
	l.ResponseBody, l.ResponseBytes = textOrBytes(e.ResponseBody)
	return l
}

// lineFields are the names of a Line.
var lineFields = fieldNames(reflect.TypeFor[Line]())

func textOrBytes(b []byte) (string, []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	return "", b
}

// WriteJSONL writes the exchanges that f selects as JSON lines and returns their
// number.
func WriteJSONL(ctx context.Context, w io.Writer, r Reader, f Filter) (int, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	n := 0
	out := bufio.NewWriter(w)
	known := lineFields
	err := joined(ctx, r, wantBodies, func(o *opened) error {
		if !f.Match(o.exchange) {
			return nil
		}
		line, err := withExtra(NewLine(o.exchange), o.extra, known)
		if err != nil {
			return fmt.Errorf("export exchange %s: %w", o.exchange.ID, err)
		}
		n++
		if _, err := out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("export as JSON lines: %w", err)
		}
		return nil
	})
	if ferr := out.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("export as JSON lines: %w", ferr)
	}
	return n, err
}

// Remark is a record about an exchange that was written after it, as it is
// exported.
type Remark struct {
	Kind Kind            `json:"kind"`
	Time int64           `json:"time"`
	Head json.RawMessage `json:"head"`
}

// WriteExchange writes one exchange as a line of JSON, as WriteJSONL does, with
// what was said about it since in a member "remarks". It reports whether the
// ledger has the exchange.
func WriteExchange(ctx context.Context, w io.Writer, r Reader, id exchange.ID) (bool, error) {
	var remarks []Remark
	var found *opened
	see := func(rec Record) error {
		if rec.Exchange == id && (rec.Kind == KindVerdict || rec.Kind == KindCorrection) {
			remarks = append(remarks, Remark{rec.Kind, rec.Time, bytes.Clone(rec.Head)})
		}
		return nil
	}
	err := joined(ctx, Watch(r, see), wantBodies, func(o *opened) error {
		if o.exchange.ID == id {
			found = o
		}
		return nil
	})
	if err != nil || found == nil {
		return false, err
	}
	extra := maps.Clone(found.extra)
	if len(remarks) > 0 {
		if extra == nil {
			extra = map[string]json.RawMessage{}
		}
		if extra["remarks"], err = json.Marshal(remarks); err != nil {
			return false, fmt.Errorf("export exchange %s: %w", id, err)
		}
	}
	line, err := withExtra(NewLine(found.exchange), extra, lineFields)
	if err != nil {
		return false, fmt.Errorf("export exchange %s: %w", id, err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return false, fmt.Errorf("export exchange %s: %w", id, err)
	}
	return true, nil
}

// table is an exchange as a row of plain columns.
type table struct {
	ID             string  `parquet:"id"`
	Parent         string  `parquet:"parent"`
	Key            string  `parquet:"key"`
	Run            string  `parquet:"run,dict"`
	Stage          string  `parquet:"stage,dict"`
	Origin         string  `parquet:"origin,dict"`
	Provider       string  `parquet:"provider,dict"`
	Endpoint       string  `parquet:"endpoint,dict"`
	Model          string  `parquet:"model,dict"`
	ModelAnswered  string  `parquet:"model_answered,dict"`
	Fingerprint    string  `parquet:"fingerprint,dict"`
	Account        string  `parquet:"account,dict"`
	KeyID          string  `parquet:"key_id,dict"`
	EndUser        string  `parquet:"end_user,dict"`
	Family         string  `parquet:"family,dict"`
	Problem        string  `parquet:"problem"`
	Terms          string  `parquet:"terms,dict"`
	TermsBasis     string  `parquet:"terms_basis,dict"`
	ExposureArm    string  `parquet:"exposure_arm,dict"`
	Attempt        int32   `parquet:"attempt"`
	Outcome        string  `parquet:"outcome,dict"`
	Status         int32   `parquet:"status"`
	Error          string  `parquet:"error"`
	RequestHeader  string  `parquet:"request_header"`  // a JSON object
	ResponseHeader string  `parquet:"response_header"` // a JSON object
	RequestBody    []byte  `parquet:"request_body"`
	ResponseBody   []byte  `parquet:"response_body"`
	Reasoning      string  `parquet:"reasoning"`
	Content        string  `parquet:"content"`
	ToolCalls      string  `parquet:"tool_calls"` // a JSON array, or ""
	FinishReason   string  `parquet:"finish_reason,dict"`
	UsageSource    string  `parquet:"usage_source,dict"`
	Input          int64   `parquet:"input_tokens"`
	CachedInput    int64   `parquet:"cached_input_tokens"`
	Output         int64   `parquet:"output_tokens"`
	ReasoningToks  int64   `parquet:"reasoning_tokens"`
	CostPico       int64   `parquet:"cost_pico"`
	CostUSD        float64 `parquet:"cost_usd"`
	WorstPico      int64   `parquet:"worst_pico"`
	Price          string  `parquet:"price,dict"`
	Queued         *int64  `parquet:"queued,optional,timestamp(nanosecond)"`
	Sent           *int64  `parquet:"sent,optional,timestamp(nanosecond)"`
	FirstByte      *int64  `parquet:"first_byte,optional,timestamp(nanosecond)"`
	LastByte       *int64  `parquet:"last_byte,optional,timestamp(nanosecond)"`
	Extra          string  `parquet:"extra"` // a JSON object of fields that this version does not know, or ""
}

// exportGroup bounds the memory of an export to about this many bytes.
const exportGroup = 16 << 20

// WriteParquet writes the exchanges that f selects as one Parquet table of plain
// columns and returns their number. Bodies are kept byte for byte.
func WriteParquet(ctx context.Context, w io.Writer, r Reader, f Filter) (int, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	out := parquet.NewGenericWriter[table](w, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}),
		parquet.CreatedBy("retort", "1", ""),
		parquet.SkipPageBounds("request_body"), parquet.SkipPageBounds("response_body"))
	n, size := 0, 0
	err := joined(ctx, r, wantBodies, func(o *opened) error {
		if !f.Match(o.exchange) {
			return nil
		}
		row, err := newTable(o)
		if err != nil {
			return fmt.Errorf("export exchange %s: %w", o.exchange.ID, err)
		}
		if _, err := out.Write([]table{row}); err != nil {
			return fmt.Errorf("export as Parquet: %w", err)
		}
		n++
		if size += len(row.RequestBody) + len(row.ResponseBody) + len(row.Reasoning) + len(row.Content) + 1000; size > exportGroup {
			size = 0
			if err := out.Flush(); err != nil {
				return fmt.Errorf("export as Parquet: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	if err := out.Close(); err != nil {
		return n, fmt.Errorf("export as Parquet: %w", err)
	}
	return n, nil
}

func newTable(o *opened) (table, error) {
	e := o.exchange
	t := table{
		ID: e.ID.String(), Parent: e.Parent.String(), Run: e.Run, Stage: e.Stage, Origin: string(e.Origin),
		Provider: e.Provider, Endpoint: e.Endpoint, Model: e.ModelAsked, ModelAnswered: e.ModelAnswered,
		Fingerprint: e.Fingerprint, Account: e.Account, KeyID: e.KeyID, EndUser: e.EndUser, Family: e.Family, Problem: e.Problem,
		Terms: e.TermsID, TermsBasis: e.TermsBasis, ExposureArm: e.ExposureArm, Attempt: int32(e.Attempt),
		Outcome: Status(e), Status: int32(e.Status), Error: e.ErrorText,
		RequestBody: e.RequestBody, ResponseBody: e.ResponseBody,
		Reasoning: e.Answer.Reasoning, Content: e.Answer.Content, FinishReason: e.Answer.FinishReason,
		UsageSource: string(e.Usage.Source), Input: e.Usage.Input, CachedInput: e.Usage.CachedInput,
		Output: e.Usage.Output, ReasoningToks: e.Usage.Reasoning,
		CostPico: int64(e.Cost), CostUSD: e.Cost.USD(), WorstPico: int64(e.Worst), Price: e.Price,
		Queued: instant(e.Times.Queued), Sent: instant(e.Times.Sent),
		FirstByte: instant(e.Times.FirstByte), LastByte: instant(e.Times.LastByte),
	}
	if !e.Key.IsZero() {
		t.Key = e.Key.String()
	}
	for _, field := range []struct {
		to   *string
		from any
		some bool
	}{
		{&t.RequestHeader, e.RequestHeader, len(e.RequestHeader) > 0},
		{&t.ResponseHeader, e.ResponseHeader, len(e.ResponseHeader) > 0},
		{&t.ToolCalls, e.Answer.ToolCalls, len(e.Answer.ToolCalls) > 0},
		{&t.Extra, o.extra, len(o.extra) > 0},
	} {
		if !field.some {
			continue
		}
		b, err := json.Marshal(field.from)
		if err != nil {
			return t, err
		}
		*field.to = string(b)
	}
	return t, nil
}

// instant returns nil for a time at which nothing happened.
func instant(t int64) *int64 {
	if t == 0 {
		return nil
	}
	return &t
}
