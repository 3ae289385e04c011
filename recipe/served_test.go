package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"retort/exchange"
	"retort/ledger"
	"retort/ledger/segment"
	"retort/report"
	"retort/teach/dataset"
	"retort/teach/reference"
	"retort/terms"
	"retort/watch/gateway"
)

const servedRecipe = `retort: 1
name: support
prompts:
  - {served: {}, heldout: 3}
` + small

// shop is a gateway before the built-in teacher, with two accounts.
type shop struct {
	*desk
	front  *httptest.Server
	store  *segment.Store
	keys   *gateway.Keys
	secret map[string]string // by account's name
	hash   map[string]string
}

var accountNames = []string{"acme corporation", "globex"}

func newShop(t *testing.T, yaml string) *shop {
	t.Helper()
	s := &shop{desk: newDesk(t), secret: map[string]string{}, hash: map[string]string{}}
	var err error
	if s.keys, err = gateway.OpenKeys(s.ws); err != nil {
		t.Fatal(err)
	}
	for _, name := range accountNames {
		key, secret, err := s.keys.Create(name, gateway.Key{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.secret[name], s.hash[name] = secret, key.Account
	}
	if s.store, err = segment.Open(s.ws.Path("ledger"), segment.Option{Raw: true}); err != nil {
		t.Fatal(err)
	}
	cfg, err := gateway.Parse("gateway.yaml", []byte("gateway: 1\nupstreams: [{name: main, base_url: '"+startTeacher(t, reference.Config{})+"'}]\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(context.Background(), gateway.Options{
		Config: cfg, Workspace: s.ws, Ledger: s.store, History: s.store, Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.front = httptest.NewServer(g)
	t.Cleanup(func() {
		s.front.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		s.store.Close()
	})
	return s
}

// post asks the gateway and returns what it answers.
func (s *shop) post(account, path, body string) string {
	s.t.Helper()
	req, err := http.NewRequest("POST", s.front.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.secret[account])
	req.Header.Set("Content-Type", "application/json")
	if path == messagesPath {
		req.Header.Set("anthropic-version", "2023-06-01")
	}
	resp, err := s.front.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(raw)
}

// problems are texts that the built-in teacher can answer.
func (s *shop) problems(n int) []string {
	s.t.Helper()
	s.questions("asked.jsonl", 2, n, false)
	raw, err := os.ReadFile(filepath.Join(s.dir, "asked.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		var row struct{ Q string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, row.Q)
	}
	return out
}

func chatOf(stream bool, messages ...string) string {
	var list []map[string]string
	for i, m := range messages {
		list = append(list, map[string]string{"role": []string{"user", "assistant"}[i%2], "content": m})
	}
	raw, _ := json.Marshal(map[string]any{"model": "reference", "max_tokens": 300, "stream": stream, "messages": list})
	return string(raw)
}

const chatPath, messagesPath = "/v1/chat/completions", "/v1/messages"

// consent records what an account agrees to.
func (s *shop) consent(account, what string) {
	s.t.Helper()
	rec, err := ledger.NewConsent(ledger.Consent{Source: gateway.Source(s.hash[account]), Consent: what, Basis: "form 7"})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.store.Append(context.Background(), rec); err != nil {
		s.t.Fatal(err)
	}
}

// upTo runs a recipe as far as its dataset.
func (d *desk) upTo(text string) (*dataset.Dataset, *run, error) {
	d.t.Helper()
	ctx := context.Background()
	r, err := newRun(ctx, d.load(text), d.options())
	if err != nil {
		return nil, nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err := r.close(); err != nil {
			d.t.Error(err)
		}
	}()
	for _, s := range r.stages()[:2] {
		if err := r.step(ctx, s); err != nil {
			return nil, nil, err
		}
	}
	return r.data, r, nil
}

func (d *desk) mustUpTo(text string) (*dataset.Dataset, *run) {
	d.t.Helper()
	set, r, err := d.upTo(text)
	if err != nil {
		d.t.Fatal(err)
	}
	return set, r
}

// accountsIn are those whose exchanges a dataset came from.
func (s *shop) accountsIn(set *dataset.Dataset) map[string]int {
	s.t.Helper()
	by := map[exchange.ID]string{}
	if err := ledger.Costs(context.Background(), s.reader(), func(e *exchange.Exchange) error {
		by[e.ID] = e.Account
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, e := range set.Examples {
		account, ok := by[e.ExchangeID]
		if !ok {
			s.t.Errorf("the ledger has no exchange %s", e.ExchangeID)
		}
		out[account]++
	}
	return out
}

// The whole way: a gateway records, an account agrees, and a recipe without a
// teacher makes a student of its answers, and of nobody else's.
func TestWhatAGatewayServedIsDistilled(t *testing.T) {
	s := newShop(t, "")
	acme, globex := accountNames[0], accountNames[1]
	asked := s.problems(30)
	for i, q := range asked[:20] {
		switch {
		case i%4 == 3:
			s.post(acme, messagesPath, fmt.Sprintf(`{"model":"reference","max_tokens":300,"stream":%v,"messages":[{"role":"user","content":%q}]}`, i%8 == 3, q))
		default:
			s.post(acme, chatPath, chatOf(i%2 == 0, q))
		}
	}
	s.post(acme, chatPath, chatOf(false, asked[0])) // again
	s.post(acme, chatPath, `{"model":"nobody's","messages":[{"role":"user","content":"Hello?"}]}`)
	for _, q := range asked[20:] {
		s.post(globex, chatPath, chatOf(true, q))
	}

	_, _, err := s.upTo(servedRecipe)
	var unagreed *ConsentError
	if !errors.As(err, &unagreed) || !strings.Contains(err.Error(), "retort accounts consent "+s.hash[acme][:12]) || !strings.Contains(err.Error(), ":4:6: prompts[0].served: ") {
		t.Errorf("without consent: %v", err)
	}
	if left, err := filepath.Glob(s.ws.Path("runs", "*", servedFile)); err != nil || len(left) > 0 {
		t.Errorf("times are kept of what failed: %v %v", left, err)
	}
	s.consent(acme, ledger.ConsentRecorded)

	p := s.plan(servedRecipe)
	served := p.Sources[0].Served
	if p.New != 0 || p.Worst != 0 || served == nil || served.Exchanges != 32 || served.Refused[servedNoAgree] != 10 || served.Repeated != 1 || len(served.Accounts) != 2 || p.Sources[0].Train != 17 || p.Sources[0].Heldout != 3 {
		t.Errorf("plan: %+v, %+v", p, served)
	}
	var printed bytes.Buffer
	if err := p.Print(&printed); err != nil || !strings.Contains(printed.String(), s.hash[globex][:12]+"  10  has not agreed") || !strings.Contains(printed.String(), "self-hosted") {
		t.Errorf("%v\n%s", err, &printed)
	}

	res := s.run(servedRecipe)
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.accountsIn(set); len(got) != 1 || got[s.hash[acme]] != len(set.Examples) || len(set.Examples) < 10 {
		t.Errorf("examples by account: %v", got)
	}
	e := set.Examples[0]
	if e.Origin != exchange.OriginServed || e.TermsID != terms.SelfHosted || e.Reasoning == "" || e.Source != familyServed {
		t.Errorf("example: %+v", e)
	}
	pass := set.Passport
	if len(pass.People) != 1 || pass.People[0].Source != "served:"+s.hash[acme][:12] || pass.People[0].Consent != "recorded" || pass.People[0].Rows != len(set.Examples) ||
		len(pass.Teachers) != 1 || pass.Teachers[0].Model != "reference" || !strings.HasPrefix(pass.Teachers[0].Endpoint, "http://127.0.0.1") || len(pass.Terms) != 1 {
		t.Errorf("passport: %+v", pass)
	}
	src := res.Report.Sources[0]
	total := src.Kept + src.Heldout
	for _, n := range src.Refused {
		total += n
	}
	if total != 32 || src.Refused["duplicate"] != 1 || src.Refused["served_no_consent"] != 10 || src.Refused["served_failed_not_found"] != 1 {
		t.Errorf("every exchange is counted once: %+v", src)
	}
	if row := res.Report.Eval[0]; row.Measure != report.Agreement || row.N != 3 || row.Teacher != 1 {
		t.Errorf("evaluation: %+v", res.Report.Eval)
	}
	if res.Report.Spend.USD != 0 || res.Report.Spend.Exchanges != 0 {
		t.Errorf("it cost something: %+v", res.Report.Spend)
	}
	served32 := 0 // nothing is copied
	for _, rec := range s.records(ledger.KindIntent) {
		if strings.Contains(string(rec.Head), `"served"`) {
			served32++
		}
	}
	if served32 != 32 || len(s.records(ledger.KindIntent)) != 32 {
		t.Errorf("%d of %d exchanges are the gateway's", served32, len(s.records(ledger.KindIntent)))
	}
	s.nameless()
}

// nameless looks for the accounts' names in all that runs and datasets leave.
func (s *shop) nameless() {
	s.t.Helper()
	for _, dir := range []string{"runs", "datasets", "models"} {
		filepath.WalkDir(s.ws.Path(dir), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, name := range accountNames {
				if bytes.Contains(raw, []byte(name)) {
					s.t.Errorf("%s names the account %q", path, name)
				}
			}
			return err
		})
	}
}

// A recipe's span is resolved once: what the gateway records afterwards changes
// nothing, what accounts agree to does.
func TestTheSpanIsResolvedOnceAndConsentCountsAnew(t *testing.T) {
	s := newShop(t, "")
	acme, globex := accountNames[0], accountNames[1]
	asked := s.problems(24)
	for i, q := range asked[:12] {
		s.post([]string{acme, globex}[i%2], chatPath, chatOf(false, q))
	}
	s.consent(acme, ledger.ConsentRecorded)
	text := strings.Replace(servedRecipe, "{served: {}, heldout: 3}", "{served: {since: 30d}, heldout: 2}", 1)
	first, r := s.mustUpTo(text)
	var kept spans
	if found, err := readJSON(filepath.Join(r.dir, servedFile), &kept); !found || err != nil || len(kept.Sources) != 1 {
		t.Fatalf("%v %v %+v", found, err, kept)
	}
	if was := kept.Sources[0]; was.Since == nil || was.Until.Sub(*was.Since) != 30*24*time.Hour || !was.Until.Equal(kept.Resolved) {
		t.Errorf("the span: %+v", was)
	}

	for _, q := range asked[12:18] {
		s.post(acme, chatPath, chatOf(false, q))
	}
	again := func() *dataset.Dataset {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(r.dir, "stages")); err != nil {
			t.Fatal(err)
		}
		set, other := s.mustUpTo(text)
		if other.name != r.name {
			t.Errorf("the run is called %s now, and was %s", other.name, r.name)
		}
		return set
	}
	if set := again(); set.Hash != first.Hash {
		t.Errorf("what was recorded later is in: %s, then %s", first.Hash, set.Hash)
	}
	later := strings.Replace(text, "name: support", "name: later", 1)
	if set, _ := s.mustUpTo(later); len(set.Examples) <= len(first.Examples) {
		t.Errorf("a new recipe has %d examples, the old one %d", len(set.Examples), len(first.Examples))
	}

	// Without anything removed: what the stage rests on has changed.
	s.consent(globex, ledger.ConsentRecorded)
	both, _ := s.mustUpTo(text)
	if got := s.accountsIn(both); got[s.hash[globex]] == 0 || got[s.hash[acme]] == 0 {
		t.Errorf("with both: %v", got)
	}
	s.consent(acme, ledger.ConsentNone)
	one, _ := s.mustUpTo(text)
	if got := s.accountsIn(one); got[s.hash[globex]] == 0 || got[s.hash[acme]] != 0 {
		t.Errorf("after it was taken back: %v", got)
	}
	s.consent(globex, ledger.ConsentNone)
	_, _, err := s.upTo(text)
	if unagreed := (*ConsentError)(nil); !errors.As(err, &unagreed) || !strings.Contains(err.Error(), "recorded as none") {
		t.Errorf("with nobody: %v", err)
	}
	s.consent(acme, ledger.ConsentRecorded)
	if set, _ := s.mustUpTo(text); set.Hash != first.Hash {
		t.Errorf("with the first account again: %s, want %s", set.Hash, first.Hash)
	}
}

// at is a moment in the past, for exchanges that a test records by hand.
func day(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 0, time.UTC) }

// hand records an exchange as a gateway would have.
func (d *desk) hand(to ledger.Appender, at time.Time, question, answer string, change func(*exchange.Exchange, *ledger.End)) exchange.ID {
	d.t.Helper()
	request, _ := json.Marshal(map[string]any{"model": "m", "messages": []map[string]string{{"role": "user", "content": question}}})
	response, _ := json.Marshal(map[string]any{"object": "chat.completion", "model": "m", "choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": answer}}}})
	e := &exchange.Exchange{
		ID: exchange.NewID(at), Stage: "chat", Origin: exchange.OriginServed, Provider: "main", Endpoint: "http://127.0.0.1:1/v1", ModelAsked: "m", ModelAnswered: "m",
		Account: strings.Repeat("ab", 32), Attempt: 1, Status: 200, RequestBody: request, ResponseBody: response,
		ResponseHeader: map[string]string{"content-type": "application/json"},
		Times:          exchange.Times{Queued: at.UnixNano(), Sent: at.UnixNano(), LastByte: at.Add(time.Second).UnixNano()},
	}
	var end ledger.End
	if change != nil {
		change(e, nil)
	}
	end = ledger.EndOf(e)
	end.Unread = ledger.WireChat
	if change != nil {
		change(nil, &end)
	}
	intent, err := ledger.NewIntent(e)
	if err != nil {
		d.t.Fatal(err)
	}
	recs := []ledger.Record{intent}
	if len(e.ResponseBody) > 0 {
		recs = append(recs, ledger.NewFragment(e.ID, 0, e.ResponseBody, at.UnixNano()))
	}
	if end.Status != -1 {
		rec, err := end.Record(e.ID)
		if err != nil {
			d.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	if err := to.Append(context.Background(), recs...); err != nil {
		d.t.Fatal(err)
	}
	return e.ID
}

// ofExchange and ofEnd change what hand records.
func ofExchange(fn func(*exchange.Exchange)) func(*exchange.Exchange, *ledger.End) {
	return func(e *exchange.Exchange, _ *ledger.End) {
		if e != nil {
			fn(e)
		}
	}
}

func ofEnd(fn func(*ledger.End)) func(*exchange.Exchange, *ledger.End) {
	return func(_ *exchange.Exchange, end *ledger.End) {
		if end != nil {
			fn(end)
		}
	}
}

// handDesk is a desk with a ledger to record in, and consent of the accounts that
// are recorded by hand.
func handDesk(t *testing.T, accounts ...string) (*desk, *segment.Store) {
	t.Helper()
	d := newDesk(t)
	store, err := segment.Open(d.ws.Path("ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	for _, a := range append(accounts, strings.Repeat("ab", 32)) {
		rec, err := ledger.NewConsent(ledger.Consent{Source: gateway.Source(a), Consent: ledger.ConsentRecorded, Basis: "form 7"})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Append(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
	}
	return d, store
}

const handRecipe = `retort: 1
name: hand
prompts:
  - {served: {since: 2026-01-02, until: 2026-01-04}}
` + small

// asking is a text that shares no run of words with that of another n.
func asking(n int) string {
	return fmt.Sprintf("q%da q%db q%dc q%dd q%de q%df q%dg q%dh", n, n, n, n, n, n, n, n)
}

func TestEveryExchangeOfASpanIsCountedByReason(t *testing.T) {
	d, store := handDesk(t)
	other := strings.Repeat("cd", 32)
	used := []exchange.ID{
		d.hand(store, day(2), asking(1), "one", nil),
		d.hand(store, day(3), asking(2), "two", nil),
		// The first of a pair counts, and its answer.
		d.hand(store, day(3).Add(time.Hour), asking(3), "three", nil),
	}
	d.hand(store, day(3).Add(2*time.Hour), asking(3), "drei", nil)
	// Without: before and after the span, and what ended after it.
	d.hand(store, day(1), asking(4), "x", nil)
	d.hand(store, day(4), asking(5), "x", nil)
	for i, change := range []func(*exchange.Exchange, *ledger.End){
		ofExchange(func(e *exchange.Exchange) { e.Stage, e.Account = gateway.StageWithheld, "" }),
		ofExchange(func(e *exchange.Exchange) { e.Account = other }),
		ofEnd(func(e *ledger.End) { e.Status = -1 }), // none
		ofExchange(func(e *exchange.Exchange) { e.Times.LastByte = day(5).UnixNano() }),
		ofExchange(func(e *exchange.Exchange) { e.Stage = "embeddings" }),
		ofEnd(func(e *ledger.End) { e.ErrorClass = exchange.ClassCancelled }),
		ofEnd(func(e *ledger.End) { e.ErrorClass = exchange.ClassTimeout }),
		ofEnd(func(e *ledger.End) { e.Status = 503 }),
		ofExchange(func(e *exchange.Exchange) { e.RequestBody, e.ResponseBody = nil, nil }),
		ofEnd(func(e *ledger.End) { e.Extra = map[string]json.RawMessage{"store": json.RawMessage(`"hashed"`)} }),
		ofEnd(func(e *ledger.End) { e.Unread = "" }),
		ofEnd(func(e *ledger.End) { e.ResponseBytes += 7 }),
		ofExchange(func(e *exchange.Exchange) {
			e.RequestBody = []byte(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`)
		}),
		ofExchange(func(e *exchange.Exchange) {
			e.ResponseBody = []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}`)
		}),
	} {
		d.hand(store, day(3).Add(time.Duration(i)*time.Minute), asking(10+i), "x", change)
	}
	set, r := d.mustUpTo(handRecipe)
	var ids []exchange.ID
	for _, e := range set.Examples {
		ids = append(ids, e.ExchangeID)
	}
	if !slices.Equal(ids, used) || set.Examples[2].Answer != "three" {
		t.Errorf("examples %+v, want the exchanges %v", set.Examples, used)
	}
	f, err := r.funnel()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"served_withheld": 1, "served_no_consent": 1, "served_unended": 2, "served_no_conversation": 1, "served_hung_up": 1,
		"served_failed_timeout": 1, "served_failed_503": 1, "served_not_kept": 2, "served_unreadable": 1, "served_damaged": 1,
		"served_not_text": 1, "served_no_answer": 1, "duplicate": 1,
	}
	if src := f.Sources[0]; !maps.Equal(src.Refused, want) || src.Asked != 3+15 {
		t.Errorf("%d asked, refused %v; want %v", src.Asked, src.Refused, want)
	}
}

func TestServedSourcesNameAccountsAndModels(t *testing.T) {
	other := "cd12345678" + strings.Repeat("cd", 27)
	d, store := handDesk(t, other)
	for i := range 6 {
		d.hand(store, day(2).Add(time.Duration(i)*time.Minute), asking(i), "yes", ofExchange(func(e *exchange.Exchange) {
			if i%2 == 1 {
				e.Account = other
			}
			if i > 3 {
				e.ModelAsked = "large-2"
			}
		}))
	}
	for keys, want := range map[string]int{
		"account: cd12345678":                   3,
		"account: [CD12345678, 'abababab']":     6,
		"model: 'large-*'":                      2,
		"model: [m]":                            6, // which is what answered
		"model: 'large-*', account: cd12345678": 1,
	} {
		set, _ := d.mustUpTo(strings.Replace(handRecipe, "{since: 2026-01-02, until: 2026-01-04}", "{"+keys+", until: 2026-01-04}", 1))
		if len(set.Examples) != want {
			t.Errorf("%s: %d examples, want %d", keys, len(set.Examples), want)
		}
	}
	for keys, says := range map[string]string{
		"account: 'Our Best Customer'": ":4:15: prompts[0].served.account[0]: no account has this name",
		"account: abababa":             "at least 8 digits",
		"model: small":                 "6 exchanges of others",
		"until: 2025-12-31":            "what it recorded ended from 2026-01-02 12:00:01 UTC to",
	} {
		_, _, err := d.upTo(strings.Replace(handRecipe, "{since: 2026-01-02, until: 2026-01-04}", "{"+keys+"}", 1))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "Customer") {
			t.Errorf("%s: %v", keys, err)
		}
	}
	if _, _, err := newDesk(t).upTo(handRecipe); err == nil || !strings.Contains(err.Error(), "no exchange that a gateway served") {
		t.Errorf("an empty ledger: %v", err)
	}
	if _, err := d.load(handRecipe).sources(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "in a workspace") {
		t.Errorf("without a workspace: %v", err)
	}
}

// A gateway may have many accounts: a plan lists those that asked most, and an
// error names a few.
func TestManyAccountsAreListedInPart(t *testing.T) {
	d, store := handDesk(t)
	for i := range 25 {
		for k := range 1 + i%3 {
			d.hand(store, day(2).Add(time.Duration(3*i+k)*time.Minute), asking(3*i+k), "yes", ofExchange(func(e *exchange.Exchange) { e.Account = strings.Repeat(fmt.Sprintf("%02x", i), 32) }))
		}
	}
	_, _, err := d.upTo(handRecipe)
	if err == nil || !strings.Contains(err.Error(), "020202020202 (3)") || !strings.Contains(err.Error(), "and 17 others. Where") {
		t.Errorf("%v", err)
	}
	d.hand(store, day(3), asking(99), "yes", nil)
	var printed strings.Builder
	if err := d.plan(handRecipe).Print(&printed); err != nil || !strings.Contains(printed.String(), "and 6 accounts more, of which 1 have agreed") || !strings.Contains(printed.String(), "020202020202  3") {
		t.Errorf("%v\n%s", err, &printed)
	}
}

// A name that stands in a recipe goes no further than its hash.
func TestARunKeepsNoNameOfAnAccount(t *testing.T) {
	s := newShop(t, "")
	for i, q := range s.problems(8) {
		s.post(accountNames[i%2], chatPath, chatOf(false, q))
	}
	s.consent(accountNames[0], ledger.ConsentRecorded)
	s.consent(accountNames[1], ledger.ConsentRecorded)
	set, r := s.mustUpTo(strings.Replace(servedRecipe, "{served: {}, heldout: 3}", "{served: {account: '"+accountNames[0]+"'}, heldout: 1}", 1))
	if got := s.accountsIn(set); len(got) != 1 || got[s.hash[accountNames[0]]] == 0 {
		t.Errorf("%v", got)
	}
	kept, err := os.ReadFile(filepath.Join(r.dir, "recipe.yaml"))
	if err != nil || !strings.Contains(string(kept), s.hash[accountNames[0]]) {
		t.Errorf("%v\n%s", err, kept)
	}
	s.nameless()
}

// What was under way when the span was resolved stays out, whenever it is
// recorded that it ended.
func TestStragglersStayOut(t *testing.T) {
	d, store := handDesk(t)
	d.hand(store, time.Now().Add(-time.Hour), asking(1), "one", nil)
	d.hand(store, time.Now().Add(-time.Hour), asking(2), "two", nil)
	var late *exchange.Exchange
	d.hand(store, time.Now().Add(-time.Minute), asking(3), "three", func(e *exchange.Exchange, end *ledger.End) {
		if e != nil {
			late = e
		} else {
			end.Status = -1
		}
	})
	text := strings.Replace(handRecipe, "{since: 2026-01-02, until: 2026-01-04}", "{}", 1)
	first, r := d.mustUpTo(text)
	end := ledger.EndOf(late)
	end.Unread = ledger.WireChat
	rec, err := end.Record(late.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Append(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "stages")); err != nil {
		t.Fatal(err)
	}
	if again, _ := d.mustUpTo(text); again.Hash != first.Hash || len(first.Examples) != 2 {
		t.Errorf("%d examples, then %d", len(first.Examples), len(again.Examples))
	}
	if set, _ := d.mustUpTo(strings.Replace(text, "name: hand", "name: next", 1)); len(set.Examples) != 3 {
		t.Errorf("another recipe has %d examples", len(set.Examples))
	}
}

// Of two processes that resolve a span at the same moment the first to keep it
// decides for both.
func TestTimesThatAnotherProcessKeptCount(t *testing.T) {
	d, store := handDesk(t)
	for i := range 4 {
		d.hand(store, day(2+i), asking(i), "yes", nil)
	}
	r := d.load(strings.Replace(handRecipe, "{since: 2026-01-02, until: 2026-01-04}", "{}", 1))
	name, err := r.RunName()
	if err != nil {
		t.Fatal(err)
	}
	where := &place{ws: d.ws, dir: d.ws.Path("runs", name), keep: true}
	if err := where.resolve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	other, err := json.Marshal(spans{Resolved: day(4), Sources: []span{{Until: day(4)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(where.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(where.dir, servedFile), other, 0o644); err != nil {
		t.Fatal(err)
	}
	sources, err := r.sources(t.Context(), where)
	if err != nil || sources[0].all != 2 {
		t.Errorf("%v: %d requests, want the 2 of the other's span", err, sources[0].all)
	}
	if err := os.WriteFile(filepath.Join(where.dir, servedFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.sources(t.Context(), &place{ws: d.ws, dir: where.dir}); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

func TestEachUpstreamsTermsDecide(t *testing.T) {
	d, store := handDesk(t)
	at := func(i int) time.Time { return day(2).Add(time.Duration(i) * time.Minute) }
	d.hand(store, at(1), asking(1), "one", nil)
	d.hand(store, at(2), asking(2), "two", ofExchange(func(e *exchange.Exchange) {
		e.Endpoint, e.ModelAsked, e.ModelAnswered = "https://api.openai.com/v1", "gpt-4o", ""
	}))
	d.hand(store, at(3), asking(3), "three", ofExchange(func(e *exchange.Exchange) { e.ModelAsked, e.ModelAnswered = "fast", "claude-sonnet-4-5" }))
	d.hand(store, at(4), asking(4), "four", ofExchange(func(e *exchange.Exchange) {
		e.Endpoint, e.ModelAsked, e.ModelAnswered = "https://llm.example.com/v1", "house-model", ""
	}))
	_, _, err := d.upTo(handRecipe)
	var refused *terms.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("answers were taken that their terms hold back: %v", err)
	}
	for _, says := range []string{`1 of the exchanges came under terms that hold them back, such as of model "gpt-4o" at https://api.openai.com/v1`, `row "openai"`, `row "anthropic"`, `model "house-model"`, `row "unknown"`} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error lacks %q:\n%v", says, err)
		}
	}
	// The row that is stated sets none aside that is known and does not allow it.
	stated := strings.Replace(handRecipe, "until: 2026-01-04}", "until: 2026-01-04}, terms: self-hosted", 1)
	if _, _, err := d.upTo(stated); err == nil || !strings.Contains(err.Error(), `terms row "self-hosted" does not apply`) {
		t.Errorf("%v", err)
	}
	stated = strings.Replace(stated, "until: 2026-01-04", "until: 2026-01-04, model: [m, house-model]", 1)
	if set, _ := d.mustUpTo(stated); len(set.Examples) != 2 || set.Passport.Terms[0].ID != terms.SelfHosted {
		t.Errorf("%+v", set.Passport.Terms)
	}
	// An override travels with what it let pass.
	over := strings.Replace(handRecipe, "until: 2026-01-04", "until: 2026-01-04, model: [m, gpt-4o]", 1) +
		"terms: {overrides: [{row: openai, actions: [collect, curate, export], basis: 'Agreement 2026-17, section 4', by: ann}]}\n"
	set, _ := d.mustUpTo(over)
	rows := map[string]int{}
	for _, e := range set.Examples {
		rows[e.TermsID]++
	}
	if rows["openai"] != 1 || rows[terms.SelfHosted] < 1 || len(set.Passport.Overrides) != 1 || len(d.records(ledger.KindOverride)) != 1 {
		t.Errorf("%v, overrides %+v", rows, set.Passport.Overrides)
	}
}

func TestRequestsThatGoOnAreOneConversation(t *testing.T) {
	user := func(s string) exchange.Message { return exchange.Message{Role: "user", Content: s} }
	said := func(s string) exchange.Message { return exchange.Message{Role: "assistant", Content: s} }
	one := func(account, answer string, messages ...exchange.Message) saidThere {
		x := saidThere{account: account, answer: exchange.Answer{Content: answer}}
		x.problem.Messages = messages
		for _, m := range messages {
			x.problem.ID += m.Role + m.Content + "|"
		}
		return x
	}
	system := func(s string) exchange.Message { return exchange.Message{Role: "system", Content: s} }
	list := []saidThere{
		one("a", "hi!", system("Monday"), user("hello")),                                          // 0
		one("a", "4", system("Tuesday"), user("hello"), said("hi! "), user("2+2?")),               // 1 goes on from 0
		one("a", "6", user("hello"), said("hi!"), user("3+3?")),                                   // 2 another way on from 0
		one("a", "8", user("hello"), said("hi!"), user("2+2?"), said("4"), user("4+4?")),          // 3 goes on from 1
		one("b", "hi!", user("hello")),                                                            // 4 somebody else's
		one("a", "x", user("example"), said("its answer"), user("first question")),                // 5 examples before a question
		one("a", "y", user("example"), said("its answer"), user("second question")),               // 6 are no conversation
		one("a", "Hi there", system("Wednesday"), user("hello")),                                  // 7 asks 0 again
		one("a", "z", system("Monday"), user("hello"), said("Hi there"), user("what do you do?")), // 8 goes on from 7
	}
	if got, want := conversationsIn(list), []int{0, 0, 0, 0, 4, 5, 6, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAServedConversationIsHeldOutAsAWhole(t *testing.T) {
	d, store := handDesk(t)
	for i := range 12 {
		at := day(2).Add(time.Duration(i) * time.Hour / 2)
		d.hand(store, at, asking(i), fmt.Sprintf("Well %d", i), nil)
		d.hand(store, at.Add(time.Minute), "", "Then so", ofExchange(func(e *exchange.Exchange) {
			e.RequestBody = []byte(chatOf(false, asking(i), fmt.Sprintf("Well %d", i), asking(100+i)))
		}))
	}
	r, err := newRun(t.Context(), d.load(strings.Replace(handRecipe, "until: 2026-01-04}", "until: 2026-01-04}, heldout: 5", 1)), d.options())
	if err != nil {
		t.Fatal(err)
	}
	s := r.sources[0]
	first := func(p string) string { return strings.SplitN(p, "\n", 2)[0] }
	held := map[string]bool{}
	for _, p := range s.split.Heldout {
		held[first(p.Said)] = true
	}
	n := 0
	for p := range s.split.Train {
		if n++; held[first(p.Said)] {
			t.Errorf("of the conversation %q a part is held out and a part learned from", first(p.Said))
		}
	}
	if len(s.split.Heldout) != 5 || n != 18 || len(s.split.Skipped) != 1 || s.given.served.conversations != 12 {
		t.Errorf("%d held out, %d to learn from, %d skipped, %d conversations", len(s.split.Heldout), n, len(s.split.Skipped), s.given.served.conversations)
	}
}

func TestTheStudentNeedNotReadTheSystemPrompt(t *testing.T) {
	d, store := handDesk(t)
	for i := range 4 {
		d.hand(store, day(2).Add(time.Duration(i)*time.Minute), "", "yes", ofExchange(func(e *exchange.Exchange) {
			e.RequestBody = fmt.Appendf(nil, `{"messages":[{"role":"system","content":"A long instruction."},{"role":"user","content":%q}]}`, asking(i))
		}))
	}
	set, _ := d.mustUpTo(handRecipe)
	if p := set.Examples[0].Prompt; len(p) != 2 || p[0].Role != "system" {
		t.Errorf("the student reads %+v", p)
	}
	text := handRecipe + "student_prompt: {system: drop}\n"
	set, _ = d.mustUpTo(text)
	if p := set.Examples[0].Prompt; len(p) != 1 || p[0].Content != asking(0) {
		t.Errorf("the student reads %+v", p)
	}
	preview, err := MakePreview(t.Context(), d.load(text), d.ws, 1)
	if err != nil || len(preview.Requests[0].Student) != 1 || len(preview.Requests[0].Messages) != 2 || preview.Requests[0].Answer.Content != "yes" || preview.Requests[0].Exchange.IsZero() {
		t.Errorf("%v %+v", err, preview)
	}
}

func TestServedAnswersAreVerifiedAndCorrected(t *testing.T) {
	d, store := handDesk(t)
	var ids []exchange.ID
	for i := range 5 {
		ids = append(ids, d.hand(store, day(2).Add(time.Duration(i)*time.Minute), asking(i), []string{"42", "forty-two"}[i%2], nil))
	}
	text := handRecipe + "verify: [{regex: '^\\d+$'}]\n"
	set, _ := d.mustUpTo(text)
	if len(set.Examples) != 3 || set.Examples[0].Verdict != "unverified" || len(d.records(ledger.KindVerdict)) != 5 {
		t.Errorf("%d examples, %d verdicts: %+v", len(set.Examples), len(d.records(ledger.KindVerdict)), set.Examples)
	}
	d.correctWhere(1, func(e *exchange.Exchange) bool { return e.ID == ids[1] })
	set, _ = d.mustUpTo(text)
	if len(set.Examples) != 4 || set.Examples[1].Origin != exchange.OriginHuman || set.Examples[1].TermsID != terms.SelfHosted {
		t.Errorf("after a correction: %+v", set.Examples)
	}
	if terms := set.Passport.Terms; len(terms) != 1 || terms[0].ID != "self-hosted" {
		t.Errorf("terms: %+v", terms)
	}
}

// Served sources stand beside others: their teacher is asked, and paid, for its own
// prompts alone.
func TestServedSourcesMixWithATeachers(t *testing.T) {
	d, store := handDesk(t)
	for i := range 12 {
		d.hand(store, day(2).Add(time.Duration(i)*time.Minute), asking(i), "yes", nil)
	}
	text := strings.NewReplacer("prompts:\n", "teacher: {reference: {}}\nbudget: {usd: 1}\nprompts:\n  - {family: chain, modulus: 5, steps: [2, 2], train: 20, heldout: 4}\n",
		"until: 2026-01-04}", "until: 2026-01-04}, train: 6, heldout: 3").Replace(handRecipe)
	if p := d.plan(text); p.New != 24 || p.Sources[1].Served == nil || p.Sources[1].Train != 6 || !strings.Contains(p.Terms, "self-hosted") {
		t.Errorf("plan: %+v", p)
	}
	res := d.run(text)
	if res.Report.Spend.Exchanges != 24 || res.Report.Sources[0].Kept != 20 || res.Report.Sources[1].Kept != 6 {
		t.Errorf("%+v, %+v", res.Report.Spend, res.Report.Sources)
	}
	set, err := dataset.Open(res.Report.Dataset.Path)
	if err != nil || set.Passport.Origins["served"] != 6 || set.Passport.Origins["api"] != 20 || len(set.Passport.Teachers) != 2 {
		t.Errorf("%v %+v", err, set.Passport)
	}
}

// What retention erases does not undo a run that is finished, and keeps one that is
// not from being finished otherwise than it began.
func TestErasedBodiesAndRuns(t *testing.T) {
	d, store := handDesk(t)
	for i := range 30 {
		d.hand(store, day(2).Add(time.Duration(i)*time.Minute), asking(i), "yes", nil)
	}
	text := strings.Replace(handRecipe, "until: 2026-01-04}", "until: 2026-01-04}, heldout: 5", 1)
	done := d.run(text)
	begun := strings.Replace(text, "name: hand", "name: begun", 1)
	if _, r := d.mustUpTo(begun); r == nil {
		t.Fatal("no run")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := segment.Open(d.ws.Path("ledger"), segment.Option{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Erase(t.Context(), gateway.Expired(day(2).Add(90*time.Second*8))); err != nil || n.Bodies == 0 {
		t.Fatalf("%+v %v", n, err)
	}
	if again := d.run(text); again.Report.Dataset.Hash != done.Report.Dataset.Hash || again.Report.Model.Hash != done.Report.Model.Hash {
		t.Errorf("a finished run was made again: %+v, then %+v", done.Report.Dataset, again.Report.Dataset)
	}
	if _, _, err := d.upTo(begun); err == nil || !strings.Contains(err.Error(), "were erased since") {
		t.Errorf("a run that was begun: %v", err)
	}
	fresh, r := d.mustUpTo(strings.Replace(text, "name: hand", "name: fresh", 1))
	f, err := r.funnel()
	if err != nil || f.Sources[0].Refused["served_erased"] == 0 || len(fresh.Examples) >= done.Report.Dataset.Examples {
		t.Errorf("%v: %+v", err, f.Sources)
	}
}

func TestTimesOfASpan(t *testing.T) {
	now := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-10-01": "2026-10-01T00:00:00Z", "2026-10-01T02:00:00+02:00": "2026-10-01T00:00:00Z", "30d": "2026-11-01T08:00:00Z", "12h": "2026-11-30T20:00:00Z",
		"2w": "2026-11-17T08:00:00Z", "90m": "2026-12-01T06:30:00Z",
		"yesterday": "", "30": "", "-3d": "", "2026-13-01": "", "3y": "",
	} {
		got, err := timeOf(text, now)
		if (err != nil) != (want == "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"{until: 2999-01-01}":             ":4:15: prompts[0].served.until: 2999-01-01 is yet to come",
		"{since: 2026-02-01, until: 52w}": "", // an order that holds once now is late enough
		"{since: 0d}":                     "where the span ends",
	} {
		_, err := parse(t, strings.Replace(handRecipe, "{since: 2026-01-02, until: 2026-01-04}", text, 1)).spansNow(now)
		if says == "" {
			if err == nil || !strings.Contains(err.Error(), "is not before") {
				t.Errorf("%s: %v", text, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
