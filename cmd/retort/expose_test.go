package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/prove/commit"
	"retort/workspace"
)

// coinsIn fills a workspace's log as a gateway does and returns what was served to
// each prompt.
func coinsIn(t *testing.T, dir string, n int) map[string]string {
	t.Helper()
	ws, err := workspace.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := commit.OpenKey(ws)
	if err != nil {
		t.Fatal(err)
	}
	store, err := segment.Open(ws.Path("ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log, err := commit.Open(t.Context(), commit.Options{Key: key, Ledger: store, History: store})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{}
	for i := range n {
		prompt := fmt.Sprintf("What is in flask %d?", i)
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%q}],"temperature":1}`, prompt)
		msgs, err := commit.Read(commit.WireChat, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		var arms [2]commit.Arm
		for j, said := range []string{"Oil of %d drops, from the copper still on the left shelf.", "Salt of %d grains, under a lid of lead that nobody lifts."} {
			x := &exchange.Exchange{
				ID: exchange.NewID(time.Now()), Origin: exchange.OriginServed, Stage: "chat", Status: 200, RequestBody: []byte(body),
				Answer: exchange.Answer{Content: fmt.Sprintf(said, i), FinishReason: "stop"},
			}
			recs, err := ledger.Records(x)
			if err == nil {
				err = store.Append(t.Context(), recs...)
			}
			if err != nil {
				t.Fatal(err)
			}
			arms[j] = commit.Arm{Exchange: x.ID, Answer: x.Answer, OK: true}
		}
		coin, err := log.Flip(t.Context(), commit.Request{Account: fmt.Sprintf("%064x", i%2), Messages: msgs, Share: 1}, arms[0].Exchange)
		if err == nil {
			err = coin.Settle(t.Context(), arms)
		}
		if err != nil {
			t.Fatal(err)
		}
		served[prompt] = arms[coin.Live()].Answer.Content
	}
	return served
}

// parrot is an API that goes on with what it was served, and with nothing else.
func parrot(served map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var q struct {
			Messages []struct{ Content string }
		}
		if err := json.Unmarshal(body, &q); err != nil || len(q.Messages) == 0 {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		prompt, prefix, _ := strings.Cut(q.Messages[0].Content, "\n\nBegin your answer with exactly these words, and go on:\n")
		said, ok := strings.CutPrefix(served[prompt], prefix)
		if !ok {
			said = "I could not say."
		}
		out, _ := json.Marshal(said)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"1","object":"chat.completion","model":"s","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":%s}}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`, out)
	})
}

func TestACaseFromCoinsToAPackThatVerifies(t *testing.T) {
	ws, work := filepath.Join(t.TempDir(), "ws"), t.TempDir()
	served := coinsIn(t, ws, 60)
	suspect := httptest.NewServer(parrot(served))
	defer suspect.Close()
	witness, err := commit.NewWitness(nil)
	if err != nil {
		t.Fatal(err)
	}
	tsa := httptest.NewServer(witness)
	defer tsa.Close()
	do := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs strings.Builder
		code := Main(t.Context(), append([]string{"--workspace", ws}, args...), strings.NewReader(""), &out, &errs, func(string) string { return "" })
		if code != want {
			t.Fatalf("retort %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &out, &errs)
		}
		return out.String(), errs.String()
	}
	if _, stderr := do(exitFailed, "expose", "anchor", "--tsa", tsa.URL); !strings.Contains(stderr, "evidence keygen") {
		t.Errorf("without a key: %s", stderr)
	}
	public, _ := do(exitDone, "evidence", "keygen", "--name", "test.example")
	frame := []string{"expose", "frame", "--url", suspect.URL + "/v1", "--model", "s", "--text", "--held", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "--level", "0.001"}
	if _, stderr := do(exitFailed, frame...); !strings.Contains(stderr, "stamped") {
		t.Errorf("without a stamp: %s", stderr)
	}
	if stdout, stderr := do(exitDone, "expose", "anchor", "--tsa", tsa.URL); !strings.Contains(stdout, "121 leaves") || !strings.Contains(stderr, "demonstration") {
		t.Errorf("anchor: %s%s", stdout, stderr)
	}
	if stdout, _ := do(exitDone, "expose", "log", "--json"); !strings.Contains(stdout, `"coins":60`) || !strings.Contains(stdout, `"stamped":1`) {
		t.Errorf("log: %s", stdout)
	}
	id, _ := do(exitDone, frame...)
	id = strings.TrimSpace(id)
	do(exitFailed, frame...) // the same frame twice
	if _, stderr := do(exitFailed, "expose", "open", id); !strings.Contains(stderr, "scored") {
		t.Errorf("opened before it is scored: %s", stderr)
	}
	do(exitDone, "expose", "score", id, "--batch", "8")
	do(exitFailed, "expose", "score", id)
	if stdout, _ := do(exitDone, "expose", "open", id[:6]); !strings.Contains(stdout, "e = ") || !strings.Contains(stdout, "route is not shown") {
		t.Errorf("open: %s", stdout)
	}
	pack := filepath.Join(work, "case.pack")
	do(exitDone, "evidence", "pack", id, "-o", pack, "--title", "A test")
	pub := filepath.Join(ws, "evidence.pub")
	report := filepath.Join(work, "report.html")
	for _, key := range []string{strings.TrimSpace(public), pub} {
		if stdout, _ := do(exitDone, "evidence", "verify", pack, "--key", key, "--report", report); !strings.Contains(stdout, "A test: it holds") || !strings.Contains(stdout, "demonstration") {
			t.Errorf("verify: %s", stdout)
		}
	}
	if page, err := os.ReadFile(report); err != nil || !strings.Contains(string(page), "Innocent explanation") && !strings.Contains(string(page), "innocent explanation") {
		t.Errorf("the report: %v", err)
	}
	do(exitDone, "evidence", "rotate")
	do(exitDone, "evidence", "verify", pack, "--key", strings.TrimSpace(public))
	file, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	file[len(file)/2] ^= 1
	if err := os.WriteFile(pack, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr := do(exitDamaged, "evidence", "verify", pack, "--key", strings.TrimSpace(public)); !strings.Contains(stderr, "does not hold") {
		t.Errorf("a flipped bit: %s", stderr)
	}
}

func TestAPlanOfCoins(t *testing.T) {
	var out, errs strings.Builder
	if code := Main(t.Context(), []string{"expose", "plan", "--answer-usd", "0.002", "--coins", "710,1150"}, strings.NewReader(""), &out, &errs, os.Getenv); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, want := range []string{"from 711 coins", "0.50", "$1.42", "0.90", "trial"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

func TestWhatAModelSaysIsWeighed(t *testing.T) {
	ws, work := filepath.Join(t.TempDir(), "ws"), t.TempDir()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":"1","object":"chat.completion","model":"s","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"I am ChatGPT, made by OpenAI."}}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`)
	}))
	defer api.Close()
	run := func(args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if code := Main(t.Context(), append([]string{"--workspace", ws}, args...), strings.NewReader(""), &out, &errs, os.Getenv); code != exitDone {
			t.Fatalf("retort %v: exit code %d: %s", args, code, &errs)
		}
		return out.String()
	}
	said := run("identity", "ask", "--url", api.URL+"/v1", "--model", "s", "--times", "1")
	file, known := filepath.Join(work, "said.json"), filepath.Join(work, "known.json")
	for name, data := range map[string]string{file: said, known: `{"battery":"other","models":[{"name":"a","lineage":"a","asked":9,"claims":{}}]}`} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := run("identity", "weigh", file, known); !strings.Contains(got, "openai: likelihood ratio 1;") || !strings.Contains(got, "other questions") {
		t.Errorf("weighed: %s", got)
	}
}

// proof is a case of a workspace, packed, and an interview with its population.
type proof struct{ id, pack, key, said, known string }

// packIn makes one.
func packIn(t *testing.T, ws, dir string) proof {
	t.Helper()
	suspect := httptest.NewServer(parrot(coinsIn(t, ws, 12)))
	defer suspect.Close()
	witness, err := commit.NewWitness(nil)
	if err != nil {
		t.Fatal(err)
	}
	tsa := httptest.NewServer(witness)
	defer tsa.Close()
	do := func(words ...string) string {
		t.Helper()
		r := retort(t, ws, append(words, "--quiet")...)
		if r.code != exitDone {
			t.Fatalf("%v: %+v", words, r)
		}
		return strings.TrimSpace(r.stdout)
	}
	p := proof{key: do("evidence", "keygen"), pack: filepath.Join(dir, "case.pack"), said: filepath.Join(dir, "said.json"), known: filepath.Join(dir, "known.json")}
	do("expose", "anchor", "--tsa", tsa.URL)
	p.id = do("expose", "frame", "--url", suspect.URL+"/v1", "--model", "s", "--text", "--held", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	do("expose", "score", p.id)
	do("evidence", "pack", p.id, "-o", p.pack)
	put(t, p.said, `{"model":"s","battery":"b","asked":9,"claims":{"openai":9}}`)
	put(t, p.known, `{"battery":"b","models":[{"name":"a","lineage":"a","asked":9,"claims":{}}]}`)
	return p
}
