// Package simulate makes populations of accounts for measuring detection: ten
// kinds of ordinary use, grouped into organisations, and campaigns that harvest
// a model. Whatever is measured on them is a simulated figure and is to be called
// so.
//
// Prompts are real ones where there are any (see World), arrivals and lengths
// follow traces of a real service, and grammars make the rest. Every organisation
// and every campaign draws its own habits, so that two of a kind differ. The same
// configuration and seed make the same calls.
//
//	world     prompts, traces, grammars
//	kinds     what an account of a kind does next
//	campaigns what an account of a campaign does next, and how work is split
//	Stream    all accounts' calls, in the order of time
//	Write     the same calls as exchanges in a ledger
//
// It knows nothing of scores: it says what was done, and whose work it was.
package simulate

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"retort/watch/detect"
)

// Kind is a kind of ordinary use.
type Kind string

// The kinds.
const (
	Chat      Kind = "chat"       // people who talk
	IDE       Kind = "ide"        // completions and edits of code
	ETL       Kind = "etl"        // one template over many documents
	Eval      Kind = "eval"       // an evaluation harness over question banks
	Classroom Kind = "classroom"  // students with the same assignments
	Licensed  Kind = "licensed"   // synthetic data of one's own field, by agreement
	Reseller  Kind = "reseller"   // other people's users behind one account
	Agent     Kind = "agent"      // loops with tools
	PowerUser Kind = "power-user" // a person whose jobs change
	SharedKey Kind = "shared-key" // a team behind one key
)

// Kinds returns the kinds of ordinary use.
func Kinds() []Kind {
	return []Kind{Chat, IDE, ETL, Eval, Classroom, Licensed, Reseller, Agent, PowerUser, SharedKey}
}

// Family is a way to harvest a model.
type Family string

// The families.
const (
	Harvest      Family = "harvest"       // instructions of all sorts, asked as they are
	SelfInstruct Family = "self-instruct" // instructions that the model made from seeds, and their answers
	Reasoning    Family = "reasoning"     // questions with their written-out reasoning
	Sweep        Family = "sweep"         // question banks from end to end
	Drill        Family = "drill"         // a few kinds of problem that a program makes, with the way to their results
)

// Families returns the families of campaigns.
func Families() []Family { return []Family{Harvest, SelfInstruct, Reasoning, Sweep, Drill} }

// Account is one account of a population and the truth about it.
type Account struct {
	Name         string `json:"name"`
	Organisation string `json:"organisation"`
	Kind         Kind   `json:"kind,omitempty"`     // of ordinary use; "" for a campaign's
	Family       Family `json:"family,omitempty"`   // of the campaign; "" for ordinary use
	Campaign     string `json:"campaign,omitempty"` // its name
	Country      string `json:"country,omitempty"`  // of the address; no signal may depend on it
	Language     string `json:"language,omitempty"` // that its headers name; likewise

	next   func() Call
	seed   uint64
	member int // its place in its organisation or campaign
}

// Next returns the account's next call. Calls come in the order of time.
func (a *Account) Next() Call {
	c := a.next()
	c.Account = a
	return c
}

// Campaign says what a campaign is.
type Campaign struct {
	Family   Family
	Accounts int     // over how many accounts it is split
	Dilution float64 // share of its calls that are ordinary talk, from 0 to 1
	PerDay   float64 // calls of an account a day; 0 is the family's own pace
}

// Config says what a population is.
type Config struct {
	Seed          uint64
	Start         time.Time    // zero is 2026-01-05
	Organisations map[Kind]int // how many of each kind
	Size          int          // accounts of an organisation, about; 0 is 6, 1 makes each account its own
	Campaigns     []Campaign
	PerDay        float64 // calls of a benign account a day, about; 0 is each kind's own pace
}

// Population is a set of accounts.
type Population struct {
	Accounts []*Account
	Config   Config
}

// start is the first moment of a population without one.
var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// New makes a population in a world.
func New(w *World, cfg Config) (*Population, error) {
	if cfg.Start.IsZero() {
		cfg.Start = start
	}
	if cfg.Size == 0 {
		cfg.Size = 6
	}
	if cfg.Size < 0 || cfg.PerDay < 0 {
		return nil, fmt.Errorf("simulate: %d accounts an organisation and %v calls a day: neither can be negative", cfg.Size, cfg.PerDay)
	}
	p := &Population{Config: cfg}
	for k, n := range cfg.Organisations {
		if !slices.Contains(Kinds(), k) {
			return nil, fmt.Errorf("simulate: there is no kind %q; there are %v", k, Kinds())
		}
		if n < 0 {
			return nil, fmt.Errorf("simulate: %d organisations of the kind %s", n, k)
		}
	}
	for _, k := range Kinds() {
		for i := range cfg.Organisations[k] {
			p.organisation(w, k, i)
		}
	}
	for i, c := range cfg.Campaigns {
		switch {
		case !slices.Contains(Families(), c.Family):
			return nil, fmt.Errorf("simulate: campaign %d: there is no family %q; there are %v", i+1, c.Family, Families())
		case c.Accounts < 1:
			return nil, fmt.Errorf("simulate: campaign %d has %d accounts; it needs at least one", i+1, c.Accounts)
		case !(c.Dilution >= 0 && c.Dilution < 1):
			return nil, fmt.Errorf("simulate: campaign %d: dilution %v is not in [0, 1)", i+1, c.Dilution)
		}
		p.campaign(w, c, i)
	}
	return p, nil
}

// stream of random numbers of a thing that is named by its parts.
func (p *Population) rng(parts ...any) (*rand.Rand, uint64) {
	h := uint64(0xcbf29ce484222325) ^ p.Config.Seed*0x9e3779b97f4a7c15
	for _, b := range []byte(fmt.Sprint(parts...)) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return rand.New(rand.NewPCG(h, p.Config.Seed)), h
}

var (
	countries = []string{"AR", "AU", "BR", "CN", "DE", "FR", "GB", "IN", "JP", "KE", "KR", "MX", "NG", "PL", "US", "VN"}
	languages = []string{"de", "en", "es", "fr", "hi", "ja", "ko", "pl", "pt", "sw", "vi", "zh"}
)

// add makes an account and gives it its calls.
func (p *Population) add(a *Account, next func(*rand.Rand) func() Call) {
	rng, seed := p.rng("account", a.Name)
	a.seed = seed
	a.Country, a.Language = countries[rng.IntN(len(countries))], languages[rng.IntN(len(languages))]
	a.next = next(rng)
	p.Accounts = append(p.Accounts, a)
}

func (p *Population) organisation(w *World, k Kind, i int) {
	org := fmt.Sprintf("%s-%04d", k, i)
	rng, _ := p.rng("organisation", org)
	size := 1
	if p.Config.Size > 1 { // between a third of it and three times as many
		size = max(2, int(float64(p.Config.Size)*lognormal(rng, 0, 0.55)))
		size = min(size, 5*p.Config.Size)
	}
	habit := newHabit(w, k, rng)
	if p.Config.PerDay > 0 {
		habit.perDay = p.Config.PerDay * lognormal(rng, 0, 0.3)
	}
	for m := range size {
		a := &Account{Name: fmt.Sprintf("%s/%d", org, m), Organisation: org, Kind: k, member: m}
		p.add(a, func(rng *rand.Rand) func() Call { return habit.account(p, rng, m, size) })
	}
}

func (p *Population) campaign(w *World, c Campaign, i int) {
	name := fmt.Sprintf("%s-%d", c.Family, i)
	rng, _ := p.rng("campaign", name)
	plan := newPlan(w, c, rng)
	for m := range c.Accounts {
		// A campaign's accounts are no organisation that anybody knows.
		a := &Account{Name: fmt.Sprintf("x-%s/%d", name, m), Organisation: fmt.Sprintf("x-%s/%d", name, m), Family: c.Family, Campaign: name, member: m}
		p.add(a, func(rng *rand.Rand) func() Call { return plan.account(p, rng, m) })
	}
}

// Until says where a stream ends: when time is over, or an account has made so
// many calls; zero is no bound, and one of them must be set.
type Until struct {
	Time  time.Time
	Calls int
}

// queue holds each account's next call, the earliest first.
type queue []pending

type pending struct {
	call  Call
	order int // of the account
	made  int
}

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].call.Sent, q[j].call.Sent), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(pending)) }
func (q *queue) Pop() any     { old := *q; x := old[len(old)-1]; *q = old[:len(old)-1]; return x }

// Stream calls fn for every call of every account, in the order of time, without a
// disk. It may be called once for a population.
func (p *Population) Stream(until Until, fn func(*Call) error) error {
	if until.Time.IsZero() && until.Calls < 1 {
		return fmt.Errorf("simulate: the stream has no end: set a time or a number of calls")
	}
	end := int64(0)
	if !until.Time.IsZero() {
		end = until.Time.UnixNano()
	}
	q := make(queue, 0, len(p.Accounts))
	for i, a := range p.Accounts {
		if c := a.Next(); end == 0 || c.Sent < end {
			q = append(q, pending{c, i, 1})
		}
	}
	heap.Init(&q)
	for len(q) > 0 {
		top := &q[0]
		if err := fn(&top.call); err != nil {
			return err
		}
		if until.Calls > 0 && top.made >= until.Calls {
			heap.Pop(&q)
			continue
		}
		c := p.Accounts[top.order].Next()
		if end != 0 && c.Sent >= end {
			heap.Pop(&q)
			continue
		}
		top.call = c
		top.made++
		heap.Fix(&q, 0)
	}
	return nil
}

// ParseCampaign reads a campaign as it is written on a command line:
// family[:accounts[:dilution[:calls a day]]].
func ParseCampaign(s string) (Campaign, error) {
	c := Campaign{Accounts: 1}
	parts := strings.Split(s, ":")
	c.Family = Family(parts[0])
	into := []any{&c.Accounts, &c.Dilution, &c.PerDay}
	if len(parts)-1 > len(into) {
		return c, fmt.Errorf("campaign %q: want family:accounts:dilution:per-day, such as harvest:300:0.1:25", s)
	}
	for i, part := range parts[1:] {
		if n, err := fmt.Sscan(part, into[i]); n != 1 || err != nil {
			return c, fmt.Errorf("campaign %q: %q is not a number", s, part)
		}
	}
	if !slices.Contains(Families(), c.Family) {
		return c, fmt.Errorf("campaign %q: there is no family %q; there are %v", s, parts[0], Families())
	}
	return c, nil
}

// seedHarvests is the seed of examples of harvesting.
const seedHarvests = 0xa11

// Harvests calls fn with the calls of accounts that harvest, for a score to learn
// from: so many of each family as they are, and fewer that hide among ordinary talk,
// one account after another.
func Harvests(w *World, each, calls int, fn func(*detect.Event) error) error {
	for i, dilution := range []float64{0, 0.5, 0.8} {
		cfg := Config{Seed: seedHarvests + uint64(i)}
		for _, f := range Families() {
			for range each / (1 + i) {
				cfg.Campaigns = append(cfg.Campaigns, Campaign{Family: f, Accounts: 1, Dilution: dilution})
			}
		}
		p, err := New(w, cfg)
		if err != nil {
			return err
		}
		for _, a := range p.Accounts {
			a.Name = fmt.Sprintf("%s~%d", a.Name, i)
			for range calls {
				c := a.Next()
				ev := c.Event()
				if err := fn(&ev); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
