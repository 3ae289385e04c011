package serve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*")*\})? (\S+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$`)
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) [^\\]+$`)
)

// scrape reads the metrics and checks that they are in the exposition format:
// each family described before its samples and in one piece, histograms
// cumulative up to +Inf. It returns the samples by name and labels.
func scrape(t testing.TB, srv *httptest.Server, key string) (map[string]float64, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %s: %s (%v)", resp.StatusCode, resp.Header.Get("Content-Type"), page, err)
	}
	if !strings.HasSuffix(string(page), "\n") {
		t.Error("the last line has no end")
	}
	samples, seen := map[string]float64{}, map[string]bool{}
	family, kind, helped, below := "", "", "", 0.0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		if m := helpLine.FindStringSubmatch(line); m != nil {
			helped = m[1]
			continue
		}
		if m := typeLine.FindStringSubmatch(line); m != nil {
			family, kind, below = m[1], m[2], 0
			if seen[family] || helped != family {
				t.Errorf("%q: the family is there twice, or without help", line)
			}
			seen[family] = true
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q is none of the format", line)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		if !ok || kind == "histogram" && suffix != "_bucket" && suffix != "_sum" && suffix != "_count" || kind != "histogram" && suffix != "" || kind == "counter" && !strings.HasSuffix(family, "_total") {
			t.Errorf("%q stands in the family %s, a %s", line, family, kind)
		}
		if suffix == "_bucket" {
			if v < below {
				t.Errorf("%q is below the bucket before it", line)
			}
			below = v
		}
		if suffix == "_count" && (v != below || samples[family+`_bucket{le="+Inf"}`] != v) {
			t.Errorf("%q is not the last bucket, %v", line, below)
		}
		if _, twice := samples[m[1]+m[2]]; twice {
			t.Errorf("%q is there twice", line)
		}
		samples[m[1]+m[2]] = v
	}
	return samples, string(page)
}

func TestMetricsCountWhatHappened(t *testing.T) {
	pace := make(chan struct{})
	e := scripted(t, &script{pace: pace, counts: true, say: func(string) string { return "333" }}, Options{Slots: 2, Queue: 3, APIKeys: []string{"sesame"}})
	c, srv := dial(t, e, "sesame")

	first := c.Chat.Completions.NewStreaming(t.Context(), chatParams("a secret question"))
	if !first.Next() { // it has a slot, and waits for the pace
		t.Fatal(first.Err())
	}
	full := &job{ctx: t.Context(), prompts: [][]int32{{1, 2}}, n: 4, maxTokens: 1, ready: make(chan struct{}, 1)}
	if err := e.submit(full, false); err != nil { // more than the queue holds, and so taken when it is empty
		t.Fatal(err)
	}
	if _, err := c.Chat.Completions.New(t.Context(), chatParams("too many")); err == nil {
		t.Fatal("the queue is not full")
	}
	got, _ := scrape(t, srv, "sesame")
	for name, want := range map[string]float64{
		"retort_sequences_running": 1, "retort_sequences_waiting": 4, "retort_slots": 2, "retort_queue_limit": 3, "retort_requests_refused_total": 1,
		"retort_time_to_first_token_seconds_count": 1, "retort_completion_tokens_total": 1,
	} {
		if got[name] != want {
			t.Errorf("under way %s is %v, want %v", name, got[name], want)
		}
	}
	close(pace)
	for first.Next() {
	}
	finish(t, full)
	post := func(path, key, body string) {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+key)
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	post("/v1/completions", "sesame", `{"model":"student","prompt":[5,6,7],"max_tokens":0,"echo":true,"logprobs":0}`)
	post("/v1/completions", "sesame", `{"model":"student","prompt":[[5],[6]],"max_tokens":3}`)
	post("/v1/completions", "a wrong key", `{}`)
	post("/v1/a/secret/path", "sesame", `{}`)
	post("/metrics", "sesame", `{}`)

	// The engine's loop may still be giving slots back.
	e.mu.Lock()
	for e.running > 0 {
		e.wake.Wait()
	}
	e.mu.Unlock()
	got, page := scrape(t, srv, "sesame")
	said := len(vocabulary().Encode("333")) + 1
	prompt := len(promptOf(t, question("a secret question").Messages))
	for name, want := range map[string]float64{
		"retort_sequences_running": 0, "retort_sequences_waiting": 0, "retort_requests_refused_total": 1,
		"retort_prompt_tokens_total":                                          float64(prompt + 2 + 3 + 2),
		"retort_completion_tokens_total":                                      float64(said + 4 + 2*min(said, 3)),
		"retort_time_to_first_token_seconds_count":                            3, // one a request; the one of a prompt alone has none
		"retort_time_per_output_token_seconds_count":                          3, // one a sequence of more than one token
		`retort_requests_total{endpoint="/v1/chat/completions",status="200"}`: 1,
		`retort_requests_total{endpoint="/v1/chat/completions",status="429"}`: 1,
		`retort_requests_total{endpoint="/v1/completions",status="200"}`:      2,
		`retort_requests_total{endpoint="/v1/completions",status="401"}`:      1,
		`retort_requests_total{endpoint="other",status="404"}`:                1,
		`retort_requests_total{endpoint="other",status="405"}`:                1,
		`retort_requests_total{endpoint="/metrics",status="200"}`:             1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, secret := range []string{"secret", "sesame", "wrong"} {
		if strings.Contains(page, secret) {
			t.Errorf("the metrics hold %q:\n%s", secret, page)
		}
	}
}

func TestAHistogramPutsABoundIntoItsBucket(t *testing.T) {
	h := newHistogram(1, 2)
	for _, v := range []float64{0, 1, 1.5, 2, 2.5, 100} {
		h.observe(v)
	}
	if fmt.Sprint(h.counts) != "[2 2 2]" || h.sum != 107 {
		t.Errorf("counts are %v, sum %v", h.counts, h.sum)
	}
}

func TestHealthTellsThatTheServerDrains(t *testing.T) {
	e := scripted(t, &script{say: sums}, Options{APIKeys: []string{"k"}})
	_, srv := dial(t, e, "")
	check := func(status int, body string) {
		t.Helper()
		resp, err := srv.Client().Get(srv.URL + "/health")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status || strings.TrimSpace(string(got)) != body {
			t.Errorf("%d %s (%v), want %d %s", resp.StatusCode, got, err, status, body)
		}
	}
	check(200, `{"status":"ok"}`)
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(503, `{"status":"draining"}`)
}

func TestRetryAfterIsWhenTheQueueShouldHaveMoved(t *testing.T) {
	for _, c := range []struct {
		waiting, slots int
		slot           time.Duration
		want           int
	}{
		{256, 16, 0, 1}, // nothing is known yet
		{16, 16, 200 * time.Millisecond, 1},
		{16, 16, time.Second, 1},
		{32, 16, 1100 * time.Millisecond, 3},
		{8, 2, 5 * time.Second, 20},
		{256, 1, time.Minute, 60},
	} {
		e := &Engine{opt: Options{Slots: c.slots}, metrics: newMetrics(), waiting: c.waiting}
		e.metrics.slot = c.slot
		if got := e.retryAfter(); got != c.want {
			t.Errorf("%d waiting for %d slots of %v: %d s, want %d", c.waiting, c.slots, c.slot, got, c.want)
		}
	}
}
