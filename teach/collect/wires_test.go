package collect

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
	"retort/openai"
	"retort/teach/reference"
)

// onEveryWire runs a test for each wire, streamed and not.
func onEveryWire(t *testing.T, test func(t *testing.T, wire Wire, stream bool)) {
	t.Helper()
	for _, wire := range Wires() {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s stream=%v", wire, stream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, wire, stream) })
			})
		}
	}
}

// referenceRig is a collector that asks the reference teacher over a wire, and
// the teacher's bill.
func referenceRig(t *testing.T, wire Wire, stream bool, cfg reference.Config, change func(*Config)) (*rig, func() []reference.BillLine) {
	t.Helper()
	cfg.BillPath = filepath.Join(t.TempDir(), "bill.jsonl")
	cfg.Keys = []string{secret}
	teacher, err := reference.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, stop := serve(t, teacher.Handler(), func() error { return nil }, func(c *Config) {
		c.Model, c.Price, c.Provider = cfg.ModelName(), cfg.Prices(), reference.Provider
		c.Wire, c.Stream = wire, stream
		c.Endpoint = wire.Endpoint(cfg.Endpoint())
		if change != nil {
			change(c)
		}
	})
	return r, func() []reference.BillLine {
		t.Helper()
		stop()
		if err := teacher.Close(); err != nil {
			t.Fatal(err)
		}
		bill, err := reference.ReadBill(cfg.BillPath)
		if err != nil {
			t.Fatal(err)
		}
		return bill
	}
}

func problem(params string) exchange.Request {
	return exchange.Request{MaxTokens: 600, Params: []byte(params), Messages: []exchange.Message{
		{Role: "system", Content: "Think, then answer."}, {Role: "user", Content: "What is 12*34?"}, {Role: "assistant", Content: "408"}, {Role: "user", Content: "What is 47*36?"},
	}}
}

// lone returns the single exchange of a ledger and checks it against the single
// line of a bill.
func lone(t *testing.T, r *rig, bill []reference.BillLine) *exchange.Exchange {
	t.Helper()
	all := r.ledger.exchanges(t)
	if len(all) != 1 || len(bill) != 1 || bill[0].Attempt != all[0].ID.String() {
		t.Fatalf("%d exchanges, bill %+v", len(all), bill)
	}
	e, u := all[0], bill[0].Usage
	want := exchange.Usage{
		Source: exchange.UsageReported, Input: u.Input, CachedInput: u.CachedInput, CacheWrite: u.CacheWrite, CacheWriteLong: u.CacheWriteLong,
		Output: u.Output, Reasoning: u.Reasoning,
	}
	if d := cmp.Diff(want, e.Usage); d != "" {
		t.Errorf("usage (-bill +books):\n%s", d)
	}
	if e.Cost != bill[0].Cost || e.Worst < e.Cost || e.Cost == 0 {
		t.Errorf("cost %d of at most %d, bill %d", e.Cost, e.Worst, bill[0].Cost)
	}
	return e
}

func TestTheSameProblemHasTheSameAnswerAndBillOnEveryWire(t *testing.T) {
	type result struct {
		answer exchange.Answer
		usage  exchange.Usage
	}
	var first *result
	onEveryWire(t, func(t *testing.T, wire Wire, stream bool) {
		r, end := referenceRig(t, wire, stream, reference.Config{Seed: 3}, nil)
		if err := r.Check(t.Context()); err != nil {
			t.Error(err)
		}
		got, err := r.Ask(t.Context(), problem(`{"temperature":0}`))
		if err != nil {
			t.Fatal(err)
		}
		e := lone(t, r, end())
		if d := cmp.Diff(got.Answer, e.Answer); d != "" || !e.OK() || e.ModelAnswered != "reference" || e.Endpoint != wire.Endpoint((reference.Config{Seed: 3}).Endpoint()) {
			t.Errorf("stored %+v\n%s", e, d)
		}
		if e.Answer.Content != "1692" || e.Answer.FinishReason != "stop" || !strings.Contains(e.Answer.Reasoning, "7*6=42") {
			t.Errorf("answer %+v", e.Answer)
		}
		now := &result{e.Answer, e.Usage}
		if first == nil {
			first = now
		}
		if d := cmp.Diff(first, now, cmp.AllowUnexported(result{})); d != "" {
			t.Errorf("differs from the first wire's:\n%s", d)
		}
		raw, _ := json.Marshal(e)
		if strings.Contains(string(raw), secret) {
			t.Error("the key is in the ledger")
		}
		if wire == WireMessages && e.RequestHeader["anthropic-version"] == "" {
			t.Errorf("headers %v", e.RequestHeader)
		}
	})
}

func TestFaultsAreSortedTheSameOnEveryWire(t *testing.T) {
	for name, c := range map[string]struct {
		faults reference.Faults
		class  exchange.ErrorClass
		billed bool // and charged its worst case where usage is not reported
	}{
		"rate limit":    {reference.Faults{RateLimit: 1}, exchange.ClassRateLimited, false},
		"server error":  {reference.Faults{ServerError: 1}, exchange.ClassServer, false},
		"cut":           {reference.Faults{Cut: 1}, exchange.ClassNetwork, true},
		"stall":         {reference.Faults{Stall: 1, StallFor: "1h"}, exchange.ClassTimeout, true},
		"late":          {reference.Faults{SlowStart: 1, SlowFor: "1h"}, exchange.ClassTimeout, true},
		"malformed":     {reference.Faults{Malformed: 1}, exchange.ClassMalformed, true},
		"truncated":     {reference.Faults{Truncate: 1}, "", true},
		"missing usage": {reference.Faults{MissingUsage: 1}, "", true},
		"empty think":   {reference.Faults{EmptyThink: 1}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryWire(t, func(t *testing.T, wire Wire, stream bool) {
				class := c.class
				if name == "truncated" { // a stream that just ends; JSON that is half there
					if class = exchange.ClassMalformed; stream {
						class = exchange.ClassNetwork
					}
				}
				r, end := referenceRig(t, wire, stream, reference.Config{Faults: c.faults}, func(cfg *Config) { cfg.MaxAttempts = 1 })
				_, err := r.Ask(t.Context(), problem(`{"temperature":0}`))
				if class != "" {
					wantClass(t, err, class)
				} else if err != nil {
					t.Error(err)
				}
				bill := end()
				e := r.ledger.exchanges(t)[0]
				if e.ErrorClass != class || c.billed != (len(bill) == 1) {
					t.Errorf("class %q, want %q; %d lines billed: %s", e.ErrorClass, class, len(bill), e.ErrorText)
				}
				switch {
				case !c.billed:
					if e.Cost != 0 {
						t.Errorf("charged %d for nothing", e.Cost)
					}
				case name == "empty think":
					if e.Cost != bill[0].Cost || e.Answer.Reasoning != "" || e.Answer.Content != "1692" {
						t.Errorf("%+v", e)
					}
				default:
					if e.Cost != e.Worst || e.Cost < bill[0].Cost || e.Usage.Source != exchange.UsageEstimated {
						t.Errorf("charged %d, worst %d, bill %d, usage %+v", e.Cost, e.Worst, bill[0].Cost, e.Usage)
					}
				}
				if name == "cut" && (len(e.ResponseBody) == 0 || stream && e.Answer.Reasoning == "") {
					t.Errorf("what was read is not kept: %+v", e.Answer)
				}
			})
		})
	}
}

func TestStructuredAnswersAndToolCallsAreKeptWholeOnEveryWire(t *testing.T) {
	const schema = `{"type":"object","properties":{"product":{"type":"integer"}},"required":["product"]}`
	onEveryWire(t, func(t *testing.T, wire Wire, stream bool) {
		for params, want := range map[string]exchange.Answer{
			`{"temperature":0,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":` + schema + `}}}`: {Content: `{"product":1692}`, FinishReason: "stop"},
			`{"temperature":0,"tools":[{"type":"function","function":{"name":"tell","parameters":` + schema + `}}],"tool_choice":"required"}`: {
				FinishReason: "tool_calls", ToolCalls: []exchange.ToolCall{{Name: "tell", Arguments: `{"product":1692}`}}},
			`{"temperature":0,"tools":[{"type":"function","function":{"name":"other"}},{"type":"function","function":{"name":"tell","parameters":` + schema + `}}],"tool_choice":{"type":"function","function":{"name":"tell"}}}`: {
				FinishReason: "tool_calls", ToolCalls: []exchange.ToolCall{{Name: "tell", Arguments: `{"product":1692}`}}},
			`{"temperature":0,"tools":[{"type":"function","function":{"name":"tell","parameters":` + schema + `}}]}`: {Content: "1692", FinishReason: "stop"},
		} {
			r, end := referenceRig(t, wire, stream, reference.Config{}, nil)
			q := problem(params)
			q.Messages = append(q.Messages[:3:3], exchange.Message{Role: "assistant", ToolCalls: []exchange.ToolCall{{ID: "c1", Name: "tell", Arguments: `{"product":1}`}}},
				exchange.Message{Role: "tool", ToolCallID: "c1", Content: "noted"}, q.Messages[3])
			if _, err := r.Ask(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			e := lone(t, r, end())
			got := e.Answer
			for i := range got.ToolCalls {
				if got.ToolCalls[i].ID == "" || !strings.Contains(string(e.ResponseBody), got.ToolCalls[i].ID) {
					t.Errorf("call %+v is not in the raw bytes", got.ToolCalls[i])
				}
				got.ToolCalls[i].ID = ""
			}
			if got.Reasoning == "" {
				t.Error("no reasoning")
			}
			got.Reasoning = ""
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", params, d)
			}
		}
	})
}

func TestWhatAPromptCacheCostsIsOnOurBooksAsOnTheBill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, end := referenceRig(t, WireMessages, true, reference.Config{}, nil)
		long := problem(`{"temperature":0,"cache_control":{"type":"ephemeral","ttl":"1h"}}`)
		for i := range 3 {
			short := problem(`{"temperature":0,"cache_control":{"type":"ephemeral"}}`)
			short.Sample, long.Sample = i, i
			for _, q := range []exchange.Request{short, long} {
				if _, err := r.Ask(t.Context(), q); err != nil {
					t.Fatal(err)
				}
			}
			if i == 0 {
				time.Sleep(10 * time.Minute) // both are read from what the second wrote; then that of five minutes is gone
			}
		}
		costs := make(map[string]exchange.Pico)
		for _, l := range end() {
			costs[l.Attempt] = l.Cost
		}
		seen := make(map[string]bool)
		for _, e := range r.ledger.exchanges(t) {
			if e.Cost != costs[e.ID.String()] || e.Worst < e.Cost {
				t.Errorf("cost %d of at most %d, bill %d; %+v", e.Cost, e.Worst, costs[e.ID.String()], e.Usage)
			}
			seen["written"] = seen["written"] || e.Usage.CacheWrite > 0
			seen["read"] = seen["read"] || e.Usage.CachedInput > 0
		}
		if !seen["written"] || !seen["read"] {
			t.Errorf("seen %v", seen)
		}
	})
}

func TestAStreamThatStaysOpenAfterItsEndIsNotWaitedForOnAnyWire(t *testing.T) {
	onEveryWire(t, func(t *testing.T, wire Wire, stream bool) {
		if !stream {
			return
		}
		teacher, err := reference.New(reference.Config{})
		if err != nil {
			t.Fatal(err)
		}
		inner := teacher.Handler()
		hang := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(w, r)
			sleepFor(r.Context(), time.Hour)
		})
		r, stop := serve(t, hang, func() error { return nil }, func(c *Config) { c.Model, c.Wire = "reference", wire })
		defer stop()
		begin := time.Now()
		if _, err := r.Ask(t.Context(), problem("{}")); err != nil || time.Since(begin) > time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestAnthropicsRefusalsAreSorted(t *testing.T) {
	for body, c := range map[string]struct {
		status int
		class  exchange.ErrorClass
	}{
		`{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"req_1"}`:                     {429, exchange.ClassRateLimited},
		`{"type":"error","error":{"type":"overloaded_error","message":"busy"}}`:                                          {529, exchange.ClassServer},
		`{"type":"error","error":{"type":"api_error","message":"oops"}}`:                                                 {500, exchange.ClassServer},
		`{"type":"error","error":{"type":"timeout_error","message":"long"}}`:                                             {504, exchange.ClassServer},
		`{"type":"error","error":{"type":"authentication_error","message":"key ` + secret + `"}}`:                        {401, exchange.ClassAuth},
		`{"type":"error","error":{"type":"permission_error","message":"no"}}`:                                            {403, exchange.ClassAuth},
		`{"type":"error","error":{"type":"billing_error","message":"pay"}}`:                                              {402, exchange.ClassQuota},
		`{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to go on."}}`: {400, exchange.ClassQuota},
		`{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: no"}}`:                           {400, exchange.ClassInvalid},
		`{"type":"error","error":{"type":"not_found_error","message":"model: m"}}`:                                       {404, exchange.ClassNotFound},
		`{"type":"error","error":{"type":"request_too_large","message":"big"}}`:                                          {413, exchange.ClassInvalid},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &teacher{}
			s.answer = func(_ int, w http.ResponseWriter, r *http.Request, _ *openai.ChatRequest) {
				if r.URL.Path == "/v1/messages" && (r.Header.Get("x-api-key") != secret || r.Header.Get("anthropic-version") != "2026-10-21" || r.Header.Get("Authorization") != "") {
					t.Errorf("headers %v", r.Header)
				}
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(c.status)
				fmt.Fprint(w, body)
			}
			r, stop := start(t, s, func(cfg *Config) { cfg.Wire, cfg.MaxAttempts = WireMessages, 1 })
			defer stop()
			begin := time.Now()
			_, err := r.Ask(t.Context(), question("hi"))
			wantClass(t, err, c.class)
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the key is shown: %v", err)
			}
			if c.class == exchange.ClassRateLimited && time.Since(begin) < 9*time.Second { // four times, three seconds apart
				t.Errorf("told to wait three seconds each time, and done in %v", time.Since(begin))
			}
		})
	}
}
