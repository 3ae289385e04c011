package detect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"retort/exchange"
	"retort/internal/stat"
	"retort/ledger"
	"retort/watch/detect"
	"retort/watch/simulate"
)

var world = sync.OnceValues(func() (*simulate.World, error) { return simulate.Load("") })

// ordinary makes so many accounts of each kind, one to an organisation.
func ordinary(t testing.TB, seed uint64, each int) *simulate.Population {
	cfg := simulate.Config{Seed: seed, Size: 1, Organisations: make(map[simulate.Kind]int)}
	for _, k := range simulate.Kinds() {
		cfg.Organisations[k] = each
	}
	return population(t, cfg)
}

func population(t testing.TB, cfg simulate.Config) *simulate.Population {
	t.Helper()
	w, err := world()
	if err != nil {
		t.Fatal(err)
	}
	p, err := simulate.New(w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// events are so many of each account, one account after another.
func events(p *simulate.Population, calls int, fn func(*simulate.Account, *detect.Event) error) error {
	for _, a := range p.Accounts {
		for range calls {
			c := a.Next()
			ev := c.Event()
			if err := fn(a, &ev); err != nil {
				return err
			}
		}
	}
	return nil
}

const level = 0.01

// calibration is one that all tests share: of 25 exchanges an account.
var calibration = sync.OnceValues(func() (*detect.Calibration, error) {
	w, err := world()
	if err != nil {
		return nil, err
	}
	return detect.Calibrate(func(want func(detect.Role) bool, fn func(detect.Role, *detect.Event) error) error {
		for _, r := range []struct {
			role detect.Role
			seed uint64
			each int
		}{{detect.RoleTrain, 11, 30}, {detect.RoleCalibrate, 12, 100}} {
			if !want(r.role) {
				continue
			}
			cfg := simulate.Config{Seed: r.seed, Size: 1, Organisations: make(map[simulate.Kind]int)}
			for _, k := range simulate.Kinds() {
				cfg.Organisations[k] = r.each
			}
			p, err := simulate.New(w, cfg)
			if err != nil {
				return err
			}
			if err := events(p, 50, func(_ *simulate.Account, ev *detect.Event) error {
				ev.Account = fmt.Sprint(r.role, ev.Account)
				return fn(r.role, ev)
			}); err != nil {
				return err
			}
		}
		if want(detect.RoleHarvest) {
			return simulate.Harvests(w, 30, 50, func(ev *detect.Event) error { return fn(detect.RoleHarvest, ev) })
		}
		return nil
	}, detect.CalibrateOptions{Source: "simulated accounts", Simulated: true, SimulatedHarvests: true, Level: level, Now: time.Unix(0, 0)})
})

func detector(t testing.TB) *detect.Detector {
	t.Helper()
	c, err := calibration()
	if err != nil {
		t.Fatal(err)
	}
	d, err := detect.NewDetector(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func report(t testing.TB, d *detect.Detector, opt detect.Options) *detect.Report {
	t.Helper()
	if opt.Level == 0 {
		opt.Level = level
	}
	r, err := d.Report(opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verdicts are what may not change.
func verdicts(t testing.TB, d *detect.Detector) string {
	t.Helper()
	b, err := json.Marshal(report(t, d, detect.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The null: accounts of ordinary use, drawn as the calibration's.
func TestAlarmsOfOrdinaryAccountsHoldTheirLevel(t *testing.T) {
	d := detector(t)
	p := ordinary(t, 99, 60)
	if err := events(p, 50, func(_ *simulate.Account, ev *detect.Event) error { d.Add(ev); return nil }); err != nil {
		t.Fatal(err)
	}
	r := report(t, d, detect.Options{})
	if !r.Verdicts {
		t.Fatalf("there are no verdicts: %s", r.Why)
	}
	alarms, tenth := 0, 0
	for _, a := range r.Accounts {
		if a.Alarm {
			alarms++
		}
		if a.Looks[0].P <= 0.1 {
			tenth++
		}
		if a.Named {
			t.Errorf("%s is named though nobody harvests", a.Account)
		}
	}
	// One calibration set for all: its own luck adds to the binomial's.
	if most := stat.AtMost(len(p.Accounts), 2*level, 0.999); alarms > most {
		t.Errorf("%d alarms among %d ordinary accounts", alarms, len(p.Accounts))
	}
	if most := stat.AtMost(len(p.Accounts), 0.13, 0.999); tenth > most || tenth < 20 {
		t.Errorf("p ≤ 0.1 for %d of %d ordinary accounts", tenth, len(p.Accounts))
	}
}

func TestHarvestersAreFoundWithReasons(t *testing.T) {
	d := detector(t)
	cfg := simulate.Config{Seed: 5}
	for _, f := range simulate.Families() {
		for range 10 {
			cfg.Campaigns = append(cfg.Campaigns, simulate.Campaign{Family: f, Accounts: 1})
		}
	}
	if err := events(population(t, cfg), 50, func(_ *simulate.Account, ev *detect.Event) error { d.Add(ev); return nil }); err != nil {
		t.Fatal(err)
	}
	r := report(t, d, detect.Options{})
	found := 0
	for _, a := range r.Accounts {
		if !a.Alarm {
			continue
		}
		found++
		if len(a.Reasons) == 0 || len(a.Innocent) == 0 || len(a.Change) == 0 || !strings.Contains(a.Means, "1 in") {
			t.Errorf("an alarm is not explained: %+v", a)
		}
		if len(a.Reasons) > 0 && len(a.Reasons[0].Examples) == 0 {
			t.Errorf("the strongest reason of %s has no example", a.Account)
		}
	}
	if found < 32 {
		t.Errorf("%d of 40 harvesters are found", found)
	}
	var text, html strings.Builder
	if err := r.Print(&text, 5); err != nil {
		t.Fatal(err)
	}
	if err := r.HTML(&html); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), html.String()} {
		if !strings.Contains(out, "simulated") && !strings.Contains(out, "Simulated") {
			t.Error("a report of simulated accounts does not say so")
		}
	}
}

// A campaign whose accounts ask far more often than any that the calibration knows is
// found as a group all the same: they are compared at the age that it knows.
func TestACampaignOlderThanTheCalibrationIsAGroup(t *testing.T) {
	d := detector(t)
	cfg := simulate.Config{Seed: 31, Size: 3, Organisations: map[simulate.Kind]int{}, Campaigns: []simulate.Campaign{{Family: simulate.Drill, Accounts: 6}}}
	for _, k := range simulate.Kinds() {
		cfg.Organisations[k] = 4
	}
	p := population(t, cfg)
	opt := detect.Options{Organisations: map[string]string{}, Decoys: map[string]bool{}}
	theirs := map[string]bool{}
	for _, a := range p.Accounts {
		calls := 50
		if theirs[a.Name] = a.Campaign != ""; theirs[a.Name] {
			calls = 250
		} else {
			opt.Organisations[a.Name], opt.Decoys[a.Organisation] = a.Organisation, true
		}
		for range calls {
			c := a.Next()
			ev := c.Event()
			d.Add(&ev)
		}
	}
	r := report(t, d, opt)
	if len(r.Campaigns) == 0 || r.Decoys != 40 || r.Campaigns[0].E != 41 {
		t.Fatalf("%d decoys, groups %+v", r.Decoys, r.Campaigns)
	}
	in := 0
	for _, name := range r.Campaigns[0].Accounts {
		if theirs[name] {
			in++
		}
	}
	if of := len(r.Campaigns[0].Accounts); in < 3 || in < of {
		t.Errorf("%d of the campaign's 6 accounts are in the group of %d", in, of)
	}
}

func TestBeforeCalibrationThereIsARankingOnly(t *testing.T) {
	d, err := detect.NewDetector(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := population(t, simulate.Config{Seed: 3, Size: 1, Organisations: map[simulate.Kind]int{simulate.Chat: 5, simulate.IDE: 5}, Campaigns: []simulate.Campaign{{Family: simulate.Reasoning, Accounts: 2}}})
	if err := events(p, 30, func(_ *simulate.Account, ev *detect.Event) error { d.Add(ev); return nil }); err != nil {
		t.Fatal(err)
	}
	r, err := d.Report(detect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdicts || !strings.Contains(r.Why, "ranking") || len(r.Accounts) != 12 {
		t.Errorf("verdicts %v, %q, %d accounts", r.Verdicts, r.Why, len(r.Accounts))
	}
	for i, a := range r.Accounts {
		if a.Alarm || a.Named || a.E != 0 {
			t.Errorf("an accusation without a calibration: %+v", a)
		}
		if i < 2 && !strings.HasPrefix(a.Account, "x-") {
			t.Errorf("%s is ranked number %d", a.Account, i+1)
		}
	}
}

func TestTooFewCalibrationAccountsWithholdTheVerdict(t *testing.T) {
	d := detector(t)
	p := population(t, simulate.Config{Seed: 6, Campaigns: []simulate.Campaign{{Family: simulate.Reasoning, Accounts: 3}}})
	if err := events(p, 50, func(_ *simulate.Account, ev *detect.Event) error { d.Add(ev); return nil }); err != nil {
		t.Fatal(err)
	}
	r := report(t, d, detect.Options{Level: 1e-3})
	if r.Verdicts || r.Accounts[0].E != 0 || !strings.Contains(r.Accounts[0].Withheld, "of 2995") {
		t.Errorf("a level of 10⁻³ with 1,000 accounts: %+v", r.Accounts[0])
	}
}

func TestDriftWithholdsTheVerdict(t *testing.T) {
	d := detector(t)
	p := ordinary(t, 77, 60)
	if err := events(p, 25, func(_ *simulate.Account, ev *detect.Event) error {
		ev.Usage.Output *= 20 // every answer is suddenly long
		ev.Params.Reasoning = true
		d.Add(ev)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r := report(t, d, detect.Options{})
	if r.Verdicts || !strings.Contains(r.Segments[0].Withheld, "drifted") {
		t.Errorf("verdicts after all accounts changed: %+v", r.Segments)
	}
}

// stream are all events of a small population in the order of time.
func stream(t testing.TB) []detect.Event {
	t.Helper()
	p := population(t, simulate.Config{
		Seed: 21, Size: 2, Organisations: map[simulate.Kind]int{simulate.Chat: 6, simulate.ETL: 4, simulate.Eval: 2, simulate.Agent: 4, simulate.Reseller: 2},
		Campaigns: []simulate.Campaign{{Family: simulate.Sweep, Accounts: 5}, {Family: simulate.Reasoning, Accounts: 4, Dilution: 0.3}},
	})
	var list []detect.Event
	if err := p.Stream(simulate.Until{Calls: 60}, func(c *simulate.Call) error {
		list = append(list, c.Event())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestShufflingWithinAMinuteChangesNothing(t *testing.T) {
	list := stream(t)
	one, two := detector(t), detector(t)
	for i := range list {
		one.Add(&list[i])
	}
	rng := rand.New(rand.NewPCG(8, 8))
	type late struct {
		at int64
		ev *detect.Event
	}
	var shuffled []late
	for i := range list {
		shuffled = append(shuffled, late{list[i].Sent + rng.Int64N(int64(time.Minute)), &list[i]})
	}
	slices.SortFunc(shuffled, func(a, b late) int { return int(min(1, max(-1, a.at-b.at))) })
	moved := 0
	for i, l := range shuffled {
		if l.ev != &list[i] {
			moved++
		}
		two.Add(l.ev)
	}
	if moved < len(list)/10 {
		t.Fatalf("%d of %d are out of order: nothing is tested", moved, len(list))
	}
	if verdicts(t, one) != verdicts(t, two) {
		t.Error("the verdicts depend on the order within a minute")
	}
}

func TestAKilledDetectorGoesOnFromItsState(t *testing.T) {
	list := stream(t)
	whole := detector(t)
	for i := range list {
		whole.Add(&list[i])
	}
	want := verdicts(t, whole)
	for _, cut := range []int{0, 1, len(list) / 3, len(list) - 1} {
		first := detector(t)
		for i := range list[:cut] {
			first.Add(&list[i])
		}
		verdicts(t, first) // a report on the way changes nothing
		var state bytes.Buffer
		if err := first.Save(&state); err != nil {
			t.Fatal(err)
		}
		for i := cut; i < len(list) && i < cut+50; i++ {
			first.Add(&list[i]) // what came after the state is lost
		}
		second := detector(t)
		if err := second.Restore(&state); err != nil {
			t.Fatal(err)
		}
		for i := range list[cut:] {
			second.Add(&list[cut+i])
		}
		if got := verdicts(t, second); got != want {
			t.Errorf("killed after %d of %d: other verdicts", cut, len(list))
		}
	}
}

func TestADamagedStateIsRefused(t *testing.T) {
	d := detector(t)
	for _, ev := range stream(t)[:200] {
		d.Add(&ev)
	}
	var state bytes.Buffer
	if err := d.Save(&state); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 10, state.Len() / 2, state.Len() - 1} {
		if err := detector(t).Restore(bytes.NewReader(state.Bytes()[:n])); err == nil {
			t.Errorf("a state of %d of %d bytes is accepted", n, state.Len())
		}
	}
	other, err := detect.NewDetector(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(&state); err == nil || !strings.Contains(err.Error(), "another calibration") {
		t.Errorf("a state of another calibration: %v", err)
	}
}

func TestTheStateOfAnAccountIsSmall(t *testing.T) {
	d := detector(t)
	p := population(t, simulate.Config{Seed: 4, Organisations: map[simulate.Kind]int{simulate.Reseller: 1, simulate.ETL: 1}, Campaigns: []simulate.Campaign{{Family: simulate.SelfInstruct, Accounts: 1}}})
	largest := 0
	first := p.Accounts[0]
	for n := range 13_000 {
		c := first.Next()
		ev := c.Event()
		d.Add(&ev)
		if n%1000 == 999 {
			size, err := d.StateBytes(first.Name)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, size)
		}
	}
	for _, a := range p.Accounts[1:] {
		for range 2000 {
			c := a.Next()
			ev := c.Event()
			d.Add(&ev)
		}
		size, err := d.StateBytes(a.Name)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, size)
	}
	if largest > detect.MaxState || largest == 0 {
		t.Errorf("the state of an account takes up to %d bytes; at most %d are allowed", largest, detect.MaxState)
	}
	t.Logf("at most %d bytes", largest)
}

// The event of a call is the one that is read of its exchange, as a gateway records
// it, so that what is measured without a disk is the real path.
func TestACallAndItsRecordAreOneEvent(t *testing.T) {
	p := ordinary(t, 31, 1)
	p.Accounts = append(p.Accounts, population(t, simulate.Config{Seed: 2, Campaigns: []simulate.Campaign{{Family: simulate.SelfInstruct, Accounts: 1}, {Family: simulate.Reasoning, Accounts: 1}}}).Accounts...)
	direct, recorded := detector(t), detector(t)
	for _, a := range p.Accounts {
		for range 30 {
			c := a.Next()
			ev := c.Event()
			direct.Add(&ev)
			e, err := c.Exchange(nil)
			if err != nil {
				t.Fatal(err)
			}
			recs, err := ledger.Records(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := recorded.Ahead(func() error {
				for _, rec := range recs {
					if err := recorded.Record(rec); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a, b := verdicts(t, direct), verdicts(t, recorded); a != b {
		t.Error("the record of a call is judged otherwise than the call")
	}
}

// foreign maps a text letter for letter into another alphabet: words that are the
// same stay the same, and no word stays what it was.
func foreign(s string) string {
	return strings.Map(func(r rune) rune {
		if r = unicode.ToLower(r); r >= 'a' && r <= 'z' {
			return 0x430 + (r - 'a') // Cyrillic
		}
		return r
	}, s)
}

// Country, name and language are no inputs: permuting them among accounts changes
// no verdict, and neither does asking everything in another language.
func TestCountryNameAndLanguageChangeNoVerdict(t *testing.T) {
	pops := func() *simulate.Population {
		p := ordinary(t, 41, 8)
		cfg := simulate.Config{Seed: 42}
		for _, f := range simulate.Families() {
			for range 5 {
				cfg.Campaigns = append(cfg.Campaigns, simulate.Campaign{Family: f, Accounts: 1})
			}
		}
		p.Accounts = append(p.Accounts, population(t, cfg).Accounts...)
		return p
	}
	judge := func(p *simulate.Population, name func(int) string, change func(*simulate.Account, *exchange.Exchange), translate bool) map[int]bool {
		d := detector(t)
		at := make(map[string]int)
		for i, a := range p.Accounts {
			at[name(i)] = i
			for range 50 {
				c := a.Next()
				if translate {
					c.Messages = slices.Clone(c.Messages)
					for j := range c.Messages {
						c.Messages[j].Content = foreign(c.Messages[j].Content)
					}
				}
				e, err := c.Exchange(nil)
				if err != nil {
					t.Fatal(err)
				}
				e.Account = name(i)
				change(a, e)
				d.Exchange(e)
			}
		}
		alarms := make(map[int]bool)
		for _, a := range report(t, d, detect.Options{}).Accounts {
			if i, ok := at[a.Account]; ok && a.Alarm {
				alarms[i] = true
			}
		}
		return alarms
	}
	plain := func(i int) string { return fmt.Sprintf("account-%03d", i) }
	header := func(shift int) func(*simulate.Account, *exchange.Exchange) {
		return func(a *simulate.Account, e *exchange.Exchange) {
			e.RequestHeader["accept-language"] = a.Language
			e.RequestHeader["cf-ipcountry"] = a.Country
			if shift > 0 {
				e.RequestHeader["accept-language"], e.RequestHeader["cf-ipcountry"] = "xx", "ZZ"
				e.EndUser = "somebody else"
			}
		}
	}
	want := judge(pops(), plain, header(0), false)
	if len(want) < 10 {
		t.Fatalf("%d alarms: nothing is tested", len(want))
	}
	for what, got := range map[string]map[int]bool{
		"other countries and languages in the headers": judge(pops(), plain, header(1), false),
		"other names":      judge(pops(), func(i int) string { return exchange.HashAccount([]byte("key"), fmt.Sprint("Ada", i)) }, header(0), false),
		"another language": judge(pops(), plain, header(0), true),
	} {
		for i := range 100 {
			if want[i] != got[i] {
				t.Errorf("%s: the verdict about account %d changes from %v to %v", what, i, want[i], got[i])
			}
		}
	}
}

func TestLogsOfOtherProgramsAreRead(t *testing.T) {
	for name, log := range map[string]string{
		"litellm": `{"id":"1","call_type":"acompletion","startTime":1767600000.5,"endTime":1767600002.0,"model":"gpt-4o","messages":[{"role":"user","content":"What is a comet?"}],"response":{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"A ball of ice."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}},"model_parameters":{"temperature":0.7,"n":2},"metadata":{"user_api_key_hash":"abc"},"prompt_tokens":9,"completion_tokens":5,"status":"success"}`,
		"otel":    `{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat","startTimeUnixNano":"1767600000500000000","endTimeUnixNano":"1767600002000000000","attributes":[{"key":"enduser.id","value":{"stringValue":"abc"}},{"key":"gen_ai.request.temperature","value":{"doubleValue":0.7}},{"key":"gen_ai.request.choice.count","value":{"intValue":"2"}},{"key":"gen_ai.usage.input_tokens","value":{"intValue":"9"}},{"key":"gen_ai.usage.output_tokens","value":{"intValue":"5"}},{"key":"gen_ai.input.messages","value":{"stringValue":"[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"What is a comet?\"}]}]"}},{"key":"gen_ai.output.messages","value":{"stringValue":"[{\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"content\":\"A ball of ice.\"}],\"finish_reason\":\"stop\"}]"}}]},{"name":"db","attributes":[]}]}]}]}`,
		"plain":   `{"prompt":"What is a comet?","completion":"A ball of ice.","account":"abc","time":"2026-01-05T08:00:00.5Z","end_time":"2026-01-05T08:00:02Z","temperature":0.7,"n":2,"prompt_tokens":9,"completion_tokens":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			// A second row that names nobody.
			text := log + "\n" + strings.NewReplacer("user_api_key_hash", "x", "enduser.id", "x", `"account"`, `"x"`, "comet", "star").Replace(log) + "\n"
			var got []*exchange.Exchange
			rep, err := detect.ReadLog(context.Background(), strings.NewReader(text), "log.jsonl", []byte("key"), func(e *exchange.Exchange) error {
				got = append(got, e)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || rep.NoAccount != 1 || rep.Read != 1 {
				t.Fatalf("%d exchanges: %+v", len(got), rep)
			}
			e := got[0]
			ev, err := detect.FromExchange(e)
			if err != nil {
				t.Fatal(err)
			}
			if e.Account != exchange.HashAccount([]byte("key"), "abc") || ev.Messages[0].Content != "What is a comet?" || ev.Answer.Content != "A ball of ice." ||
				ev.Params.Temperature != 0.7 || ev.Params.N != 2 || ev.Usage.Output != 5 || ev.Last-ev.Sent != int64(1500*time.Millisecond) || time.Unix(0, ev.Sent).UTC().Year() != 2026 {
				t.Errorf("read as %+v of %s", ev, e.Account)
			}
			if bytes.Contains(e.RequestBody, []byte("abc")) {
				t.Error("the account's name is in the exchange")
			}
		})
	}
}

func TestEveryWireIsRead(t *testing.T) {
	for _, body := range []string{
		`{"model":"m","messages":[{"role":"developer","content":"Be kind."},{"role":"user","content":[{"type":"text","text":"Say \"hi\""}]}],"tools":[{}]}`,
		`{"model":"m","instructions":"Be kind.","input":"Say \"hi\"","tools":[{}]}`,
		`{"model":"m","instructions":"Be kind.","input":[{"role":"user","content":[{"type":"input_text","text":"Say \"hi\""}]}],"tools":[{}]}`,
		`{"model":"m","system":[{"type":"text","text":"Be kind."}],"messages":[{"role":"user","content":"Say \"hi\""}],"tools":[{}],"thinking":{"type":"disabled"}}`,
	} {
		ev, err := detect.FromExchange(&exchange.Exchange{Account: "a", RequestBody: []byte(body)})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if len(ev.Messages) != 2 || ev.Messages[0].Role != "system" || ev.Messages[0].Content != "Be kind." || ev.Messages[1].Content != `Say "hi"` || !ev.Params.Tools || ev.Params.Reasoning {
			t.Errorf("%s is read as %+v", body, ev)
		}
	}
	if _, err := detect.FromExchange(&exchange.Exchange{}); err == nil {
		t.Error("an exchange without its request is judged")
	}
}

// What a gateway recorded, replayed: intents and ends, with bodies.
func BenchmarkReplay(b *testing.B) {
	p := ordinary(b, 1, 10)
	var recs []ledger.Record
	if err := p.Stream(simulate.Until{Calls: 100}, func(c *simulate.Call) error {
		e, err := c.Exchange(nil)
		if err != nil {
			return err
		}
		intent, err := ledger.NewIntent(e)
		if err != nil {
			return err
		}
		end, err := ledger.NewEnd(e)
		recs = append(recs, intent, end)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	n := 0
	for b.Loop() {
		d, err := detect.NewDetector(nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Ahead(func() error {
			for i := range recs {
				if err := d.Record(recs[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		n += len(recs) / 2
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "exchanges/s")
}

// Far more alarms than chance gives say so: a kind of use that was not calibrated on can
// raise them as well as harvesting does.
func TestMoreAlarmsThanChanceGivesAreRemarkedOn(t *testing.T) {
	for alarms, want := range map[int]bool{3: false, 25: false, 60: true} {
		r := detect.Report{Verdicts: true, Level: 0.001, FDR: 0.05, Tested: 2000, Accounts: make([]detect.Account, 100)}
		for i := range alarms {
			r.Accounts[i].Alarm = true
		}
		if got := strings.Contains(r.Headline(), "about 2.0: either many accounts harvest, or"); got != want {
			t.Errorf("%d alarms: %q", alarms, r.Headline())
		}
	}
}
