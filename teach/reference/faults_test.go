package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retort/openai"
)

// faulty serves a teacher with one fault at every request; its delays are
// counted, not waited for.
func faulty(t *testing.T, f Faults, where string) (*Server, *[]time.Duration, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bill")
	teacher, err := New(Config{Faults: f, Reasoning: where, BillPath: path})
	if err != nil {
		t.Fatal(err)
	}
	var slept []time.Duration
	teacher.sleep = func(_ *http.Request, d time.Duration) { slept = append(slept, d) }
	return start(t, teacher), &slept, path
}

// outcome is what a client sees of one reply.
type outcome struct {
	status int
	raw    []byte
	read   error // of reading the body
	parse  error
	kept   string // reasoning → content
	usage  string
	done   bool
}

func observe(t *testing.T, s *Server, streamed bool) outcome {
	t.Helper()
	more := `,"temperature":0`
	if streamed {
		more += `,"stream":true,"stream_options":{"include_usage":true}`
	}
	resp, raw, err := post(t, s, body(product, more), AttemptHeader, "a")
	o := outcome{status: resp.StatusCode, raw: raw, read: err}
	a, u, meta, err := openai.Parse(resp.Header.Get("Content-Type"), raw)
	o.parse, o.kept, o.usage, o.done = err, a.Reasoning+" → "+a.Content, string(u.Source), meta.Done
	return o
}

func TestEveryFaultCanBeObserved(t *testing.T) {
	sound, _, _ := faulty(t, Faults{}, "")
	want := map[bool]outcome{false: observe(t, sound, false), true: observe(t, sound, true)}
	for streamed, o := range want {
		if o.status != 200 || o.read != nil || o.parse != nil || !strings.HasSuffix(o.kept, "→ 1692") || o.usage != "reported" {
			t.Fatalf("without faults (streamed %v): %+v", streamed, o)
		}
	}
	for _, c := range []struct {
		faults Faults
		billed bool
		check  func(o, sound outcome, streamed bool, slept []time.Duration) bool
	}{
		{Faults{ServerError: 1}, false, func(o, _ outcome, _ bool, _ []time.Duration) bool { return o.status == 500 && o.parse != nil }},
		{Faults{Cut: 1}, true, func(o, _ outcome, _ bool, _ []time.Duration) bool {
			return o.status == 200 && errors.Is(o.read, io.ErrUnexpectedEOF) && len(o.raw) > 0
		}},
		{Faults{SlowStart: 1, SlowFor: "7s"}, true, func(o, sound outcome, _ bool, slept []time.Duration) bool {
			return o.kept == sound.kept && len(slept) == 1 && slept[0] == 7*time.Second
		}},
		{Faults{Stall: 1, StallFor: "8s"}, true, func(o, sound outcome, _ bool, slept []time.Duration) bool {
			return o.kept == sound.kept && len(slept) == 1 && slept[0] == 8*time.Second
		}},
		{Faults{Truncate: 1}, true, func(o, sound outcome, streamed bool, _ []time.Duration) bool {
			return o.status == 200 && o.read == nil && !o.done && len(o.raw) < len(sound.raw) && (streamed || o.parse != nil)
		}},
		{Faults{Malformed: 1}, true, func(o, _ outcome, _ bool, _ []time.Duration) bool {
			return o.status == 200 && o.read == nil && o.parse != nil
		}},
		{Faults{MissingUsage: 1}, true, func(o, sound outcome, _ bool, _ []time.Duration) bool {
			return o.kept == sound.kept && o.usage == "missing" && !bytes.Contains(o.raw, []byte("prompt_tokens"))
		}},
		{Faults{EmptyThink: 1}, true, func(o, _ outcome, _ bool, _ []time.Duration) bool {
			return o.kept == " → 1692" && o.parse == nil
		}},
	} {
		for _, streamed := range []bool{false, true} {
			s, slept, path := faulty(t, c.faults, "")
			o := observe(t, s, streamed)
			if !c.check(o, want[streamed], streamed, *slept) {
				t.Errorf("%+v, streamed %v: status %d, read %v, parse %v, %q, usage %s, slept %v:\n%s", c.faults, streamed, o.status, o.read, o.parse, o.kept, o.usage, *slept, o.raw)
			}
			lines, err := ReadBill(path)
			if err != nil || (len(lines) == 1) != c.billed {
				t.Errorf("%+v, streamed %v: bill %+v, %v", c.faults, streamed, lines, err)
			}
			if c.billed && (lines[0].Fault == "" || lines[0].Usage.Output == 0) {
				t.Errorf("%+v: billed %+v", c.faults, lines[0])
			}
		}
	}
}

// The whole answer was generated, so all of it is billed, although half of it
// arrives.
func TestACutAnswerIsBilledWhole(t *testing.T) {
	s, _, path := faulty(t, Faults{Cut: 1}, "")
	observe(t, s, true)
	lines, err := ReadBill(path)
	if err != nil {
		t.Fatal(err)
	}
	sound, _, soundPath := faulty(t, Faults{}, "")
	observe(t, sound, true)
	want, err := ReadBill(soundPath)
	if err != nil {
		t.Fatal(err)
	}
	if lines[0].Usage != want[0].Usage || lines[0].Cost != want[0].Cost {
		t.Errorf("billed %+v, whole %+v", lines[0], want[0])
	}
}

func TestEmptyThinkKeepsItsTags(t *testing.T) {
	s, _, _ := faulty(t, Faults{EmptyThink: 1}, ReasoningThink)
	o := observe(t, s, false)
	var resp openai.ChatResponse
	if err := json.Unmarshal(o.raw, &resp); err != nil || resp.Choices[0].Message.Content.String() != "<think>\n\n</think>\n\n1692" || o.kept != " → 1692" {
		t.Errorf("got %s, %v", o.raw, err)
	}
}

func TestABurstRefusesForItsLength(t *testing.T) {
	teacher, err := New(Config{Faults: Faults{RateLimit: 0.5, Burst: "1500ms"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	teacher.now = func() time.Time { return now }
	s := start(t, teacher)
	hit, miss := "", ""
	for i := 0; hit == "" || miss == ""; i++ {
		a := fmt.Sprint("attempt ", i)
		if teacher.cfg.Faults.draw(a) == faultRateLimit {
			hit = a
		} else {
			miss = a
		}
	}
	status := func(attempt string) (int, http.Header) {
		resp, _, _ := post(t, s, body(product, ""), AttemptHeader, attempt)
		return resp.StatusCode, resp.Header
	}
	if got, _ := status(miss); got != 200 {
		t.Errorf("before the burst: %d", got)
	}
	if got, h := status(hit); got != 429 || h.Get("Retry-After") != "2" || h.Get("Retry-After-Ms") != "1500" {
		t.Errorf("the burst begins with %d, %v", got, h)
	}
	now = now.Add(time.Second)
	if got, h := status(miss); got != 429 || h.Get("Retry-After") != "1" || h.Get("Retry-After-Ms") != "500" {
		t.Errorf("within the burst: %d, %v", got, h)
	}
	now = now.Add(500 * time.Millisecond)
	if got, _ := status(miss); got != 200 {
		t.Errorf("after the burst: %d", got)
	}
}

func TestFaultsComeAtTheirRates(t *testing.T) {
	const n, rate = 20000, 0.05
	f := Faults{Seed: 3, RateLimit: rate, ServerError: rate, Cut: rate, SlowStart: rate, Stall: rate, Truncate: rate, Malformed: rate, MissingUsage: rate, EmptyThink: rate}
	other := f
	other.Seed = 4
	got, moved := map[fault]int{}, 0
	for i := range n {
		a := fmt.Sprint(i)
		d := f.draw(a)
		got[d]++
		if d != f.draw(a) {
			t.Fatal("the same attempt meets another fault the second time")
		}
		if d != other.draw(a) {
			moved++
		}
	}
	margin := 4 * math.Sqrt(n*rate*(1-rate))
	for _, r := range f.rates() {
		if math.Abs(float64(got[r.fault])-n*rate) > margin {
			t.Errorf("%s befalls %d of %d, want %v±%.0f", r.fault, got[r.fault], n, n*rate, margin)
		}
	}
	if moved < n/4 {
		t.Errorf("another seed changed %d of %d draws", moved, n)
	}
}
