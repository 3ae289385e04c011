package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"retort/exchange"
	"retort/ledger"
	"retort/recipe"
	"retort/teach/dataset"
)

const fromGateway = `retort: 1
name: narrow
prompts:
  - {served: {since: 2d, account: 'our best customer'}, heldout: 4}
student: {preset: tiny-dense, vocabulary: 400, context: 256}
train: [{sft: {tokens: 600}}]
export: [huggingface]
`

// From the command line: what a gateway with coins recorded becomes a student, of
// accounts that agreed, and of the answers that were served.
func TestARecipeLearnsWhatTheGatewayServed(t *testing.T) {
	var calls atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"answer %d"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, calls.Add(1))
	}))
	defer upstream.Close()
	dir := t.TempDir()
	front := coinGateway(t, upstream.URL, "our best customer", "somebody else")
	ws, g, hashes := front.ws, front.g, front.hashes
	served := map[string]string{} // by exchange
	for i := range 40 {
		name := "our best customer"
		if i%4 == 3 {
			name = "somebody else"
		}
		body := fmt.Sprintf(`{"model":"m","temperature":0.7,"messages":[{"role":"user","content":"w%da w%db w%dc w%dd w%de w%df w%dg w%dh"}]}`, i, i, i, i, i, i, i, i)
		id, said := front.ask(t, name, body)
		if id == "" {
			t.Fatalf("%s was answered nothing", name)
		}
		served[id] = said
	}
	if err := g.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}

	root := filepath.Dir(ws.Path("ledger"))
	path := write(t, fromGateway)
	output := ""
	run := func(code int, words ...string) result {
		t.Helper()
		r := retort(t, root, words...)
		if r.code != code {
			t.Fatalf("%v: exit code %d\n%s%s", words, r.code, r.stdout, r.stderr)
		}
		output += r.stdout + r.stderr
		return r
	}
	if r := run(exitTerms, "run", "--plan", path); !strings.Contains(r.stderr, "retort accounts consent "+hashes["our best customer"][:12]+" --basis FILE") {
		t.Errorf("without consent:\n%s", r.stderr)
	}
	basis := filepath.Join(dir, "agreement.txt")
	if err := os.WriteFile(basis, []byte("yes"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(exitUsage, "accounts", "consent", hashes["our best customer"])
	run(exitDone, "accounts", "consent", hashes["our best customer"][:12], "--basis", basis)
	plan := run(exitDone, "run", "--plan", path)
	if !strings.Contains(plan.stdout, hashes["our best customer"][:12]+"  30  has agreed") || !strings.Contains(plan.stdout, "withheld 40") || strings.Contains(plan.stdout, hashes["our best customer"][:13]) {
		t.Errorf("the plan:\n%s", plan.stdout)
	}
	var shown recipe.Plan
	if err := json.Unmarshal([]byte(run(exitDone, "run", "--plan", "--json", path).stdout), &shown); err != nil || shown.Sources[0].Served == nil || shown.Sources[0].Train != 26 {
		t.Errorf("%v %+v", err, shown)
	}
	run(exitDone, "recipe", "preview", path)
	run(exitDone, "recipe", "check", path)
	run(exitUsage, "run", "--sample", "3", path)

	s := summary(t, root, path)
	set, err := dataset.Open(filepath.Join(root, "datasets", s.Dataset.Hash))
	if err != nil || len(set.Examples) < 20 {
		t.Fatalf("%v: %d examples, refused %v", err, len(set.Examples), s.Refused)
	}
	account := map[exchange.ID]string{}
	if err := ledger.Costs(t.Context(), front.store, func(e *exchange.Exchange) error {
		account[e.ID] = e.Account
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range set.Examples {
		if want, ok := served[e.ExchangeID.String()]; !ok || e.Answer != want || account[e.ExchangeID] != hashes["our best customer"] {
			t.Errorf("exchange %s of %.12s: %q was taught, %q served", e.ExchangeID, account[e.ExchangeID], e.Answer, want)
		}
	}
	card := run(exitDone, "terms", "explain", s.Model.Hash[:12])
	if !strings.Contains(card.stdout, "served:"+hashes["our best customer"][:12]) {
		t.Errorf("whose words they are:\n%s", card.stdout)
	}

	run(exitDone, "accounts", "consent", hashes["our best customer"], "--withdraw")
	if r := run(exitTerms, "run", path); !strings.Contains(r.stderr, "recorded as none") {
		t.Errorf("after it was withdrawn:\n%s", r.stderr)
	}
	for _, name := range []string{"our best customer", "somebody else"} {
		if strings.Contains(output, name) {
			t.Errorf("the output names %q:\n%s", name, output)
		}
	}
}
