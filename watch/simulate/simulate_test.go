package simulate

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func everything(t *testing.T, seed uint64) *Population {
	t.Helper()
	w, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Seed: seed, Size: 3, Organisations: make(map[Kind]int)}
	for _, k := range Kinds() {
		cfg.Organisations[k] = 2
	}
	for _, f := range Families() {
		cfg.Campaigns = append(cfg.Campaigns, Campaign{Family: f, Accounts: 3, Dilution: 0.2})
	}
	p, err := New(w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func calls(t *testing.T, p *Population, n int) []Call {
	t.Helper()
	var list []Call
	if err := p.Stream(Until{Calls: n}, func(c *Call) error { list = append(list, *c); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEqualSeedsMakeEqualCalls(t *testing.T) {
	a, b, c := calls(t, everything(t, 1), 40), calls(t, everything(t, 1), 40), calls(t, everything(t, 2), 40)
	same := func(x, y []Call) bool {
		return slices.EqualFunc(x, y, func(p, q Call) bool {
			return p.ID() == q.ID() && p.Sent == q.Sent && reflect.DeepEqual(p.Messages, q.Messages) && p.Answer.Content == q.Answer.Content && p.Usage == q.Usage
		})
	}
	if !same(a, b) {
		t.Error("the same seed made other calls")
	}
	if same(a, c) {
		t.Error("another seed made the same calls")
	}
}

func TestCallsComeInTheOrderOfTime(t *testing.T) {
	p := everything(t, 3)
	last := map[string]int64{}
	before, ids := int64(0), map[string]bool{}
	for _, c := range calls(t, p, 150) {
		if c.Sent < before || c.Sent < last[c.Account.Name] || c.Last < c.Sent {
			t.Fatalf("call %d of %s is out of order", c.Seq, c.Account.Name)
		}
		before, last[c.Account.Name] = c.Sent, c.Sent
		if id := c.ID().String(); ids[id] {
			t.Fatalf("the id %s is given twice", id)
		} else {
			ids[id] = true
		}
		if len(c.Messages) == 0 || c.Usage.Output < 1 {
			t.Fatalf("an empty call: %+v", c)
		}
	}
	if len(last) != len(p.Accounts) {
		t.Errorf("%d of %d accounts made calls", len(last), len(p.Accounts))
	}
}

// What accounts of one queue ask does not collide; a class's questions do.
func TestACampaignsAccountsDoNotCollideAndStudentsDo(t *testing.T) {
	w, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(w, Config{Seed: 5, Size: 5, Organisations: map[Kind]int{Classroom: 1}, Campaigns: []Campaign{{Family: Sweep, Accounts: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	of := map[Family]map[string]map[string]bool{}
	for _, c := range calls(t, p, 60) {
		text := c.Messages[len(c.Messages)-1].Content
		f := c.Account.Family
		if of[f] == nil {
			of[f] = map[string]map[string]bool{}
		}
		if of[f][text] == nil {
			of[f][text] = map[string]bool{}
		}
		of[f][text][c.Account.Name] = true
	}
	shared := func(f Family) (n int) {
		for _, who := range of[f] {
			if len(who) > 1 {
				n++
			}
		}
		return n
	}
	if n := shared(Sweep); n > 3 {
		t.Errorf("%d questions of a sweep were asked by two of its accounts", n)
	}
	if n := shared(""); n < 10 {
		t.Errorf("%d questions were asked by two students", n)
	}
}

func TestDilutedCampaignsTalkAsWell(t *testing.T) {
	p := everything(t, 7)
	joined, n := 0, 0
	for _, c := range calls(t, p, 100) {
		if c.Account.Family != "" {
			n++
			if len(c.Messages) > 2 {
				joined++
			}
		}
	}
	if joined == 0 || joined > n/3 {
		t.Errorf("%d of %d calls of campaigns go on with a conversation", joined, n)
	}
}

func TestMistakesInAPopulationAreRefused(t *testing.T) {
	w, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]Config{
		"no kind":     {Organisations: map[Kind]int{"butler": 1}},
		"no family":   {Campaigns: []Campaign{{Family: "theft", Accounts: 1}}},
		"at least":    {Campaigns: []Campaign{{Family: Sweep}}},
		"not in [0":   {Campaigns: []Campaign{{Family: Sweep, Accounts: 1, Dilution: 1}}},
		"be negative": {Size: -1},
	} {
		if _, err := New(w, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if err := everything(t, 1).Stream(Until{}, nil); err == nil {
		t.Error("a stream without an end begins")
	}
	for _, s := range []string{"theft", "sweep:x", "sweep:1:2:3:4"} {
		if _, err := ParseCampaign(s); err == nil {
			t.Errorf("the campaign %q is accepted", s)
		}
	}
	if c, err := ParseCampaign("harvest:300:0.1:25"); err != nil || c != (Campaign{Harvest, 300, 0.1, 25}) {
		t.Errorf("read as %+v, %v", c, err)
	}
	if _, err := Load("", "/nowhere/prompts.txt"); err == nil {
		t.Error("prompts that are not there are read")
	}
}

func TestAStreamEndsAtItsTime(t *testing.T) {
	p := everything(t, 9)
	end := start.Add(36 * time.Hour)
	n := 0
	if err := p.Stream(Until{Time: end}, func(c *Call) error {
		n++
		if c.Sent >= end.UnixNano() {
			t.Fatalf("a call at %v", time.Unix(0, c.Sent))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n < 500 {
		t.Errorf("%d calls in a day and a half", n)
	}
}

func TestRealSetsAreUsedWhereTheyAre(t *testing.T) {
	dir := os.Getenv("RETORT_TESTDATA")
	if dir == "" {
		t.Skip("RETORT_TESTDATA is not set: real prompts are not read")
	}
	w, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Real) != 7 || len(w.questions) < 7000 || len(w.talk) < 10_000 {
		t.Errorf("read %v: %d questions, %d requests of the trace", w.Real, len(w.questions), len(w.talk))
	}
}

// What covers a campaign is ordinary talk, with a person's pauses: an account that
// does almost nothing else takes as long as people do.
func TestCoverKeepsAPersonsPace(t *testing.T) {
	w, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	days := func(cfg Config) float64 {
		p, err := New(w, cfg)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, a := range p.Accounts {
			first := a.Next().Sent
			for range 98 {
				a.Next()
			}
			sum += time.Duration(a.Next().Sent-first).Hours() / 24 / float64(len(p.Accounts))
		}
		return sum
	}
	var covered []Campaign
	for range 30 {
		covered = append(covered, Campaign{Family: Harvest, Accounts: 1, Dilution: 0.9999, PerDay: 25})
	}
	people, cover := days(Config{Seed: 1, Size: 1, PerDay: 25, Organisations: map[Kind]int{Chat: 30}}), days(Config{Seed: 1, Campaigns: covered})
	if cover < people/2 || cover > people*2 {
		t.Errorf("100 calls take people %.1f days and those that imitate them %.1f", people, cover)
	}
}
