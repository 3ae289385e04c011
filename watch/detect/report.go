package detect

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"

	"retort/exchange"
	"retort/internal/stat"
	"retort/ledger"
)

// Options say what is to be reported.
type Options struct {
	Level float64 // of a lifetime alarm, for one account; 0 is 10⁻³
	FDR   float64 // of the list of accounts; 0 is 5%
	// Organisations says to which organisation an account belongs, and Decoys
	// which of them are known to be innocent. Their accounts enter the search for
	// campaigns blindly and are never named.
	Organisations map[string]string
	Decoys        map[string]bool
}

// Report is what detection has to say.
type Report struct {
	Simulated bool    `json:"simulated"` // the exchanges, or the calibration: no figure is about real accounts
	Verdicts  bool    `json:"verdicts"`  // false: it is a ranking only
	Why       string  `json:"why,omitempty"`
	Level     float64 `json:"level"`
	FDR       float64 `json:"fdr"`
	Counts    Counts  `json:"counts"`
	Known     int     `json:"accounts"`
	// Tested is how many accounts the list of named ones was chosen from.
	Tested    int            `json:"tested"`
	Segments  []Segment      `json:"segments"`
	Accounts  []Account      `json:"results"` // the most suspicious first
	Campaigns []CampaignOf   `json:"campaigns"`
	Decoys    int            `json:"decoys"` // organisations
	Notes     []string       `json:"notes,omitempty"`
	Taken     string         `json:"calibration,omitempty"`
	Waiting   int            `json:"waiting"` // accounts that have not reached a first look
	Needed    int            `json:"needed"`  // calibration accounts of a segment that the level needs
	Marked    map[string]int `json:"marked,omitempty"`
}

// Segment is a group of accounts of like use, which are compared with each other.
type Segment struct {
	Calibrated int     `json:"calibrated"` // accounts
	Accounts   int     `json:"accounts"`
	Drift      float64 `json:"drift_p"` // p-value of its bulk being as it was calibrated
	Withheld   string  `json:"withheld,omitempty"`
}

// Account is one account's result.
type Account struct {
	Account   string  `json:"account"`
	Exchanges int     `json:"exchanges"`
	Score     float64 `json:"score"` // at the latest look: log-odds of the training split
	Segment   int     `json:"segment"`
	Looks     []At    `json:"looks,omitempty"`
	E         float64 `json:"e"`     // lifetime e-value; it never falls
	Group     float64 `json:"group"` // e-value of the campaign that it is in
	Alarm     bool    `json:"alarm"` // E ≥ 1/level
	Named     bool    `json:"named"` // on the list that holds the false discovery rate
	Campaign  int     `json:"campaign,omitempty"`
	Mark      string  `json:"mark,omitempty"`
	Withheld  string  `json:"withheld,omitempty"`
	Means     string  `json:"means"` // the e-value in words
	// What follows is for people, of those that stand out.
	Reasons  []Reason `json:"reasons,omitempty"`
	Innocent []string `json:"innocent,omitempty"` // explanations that fit
	Change   []string `json:"change,omitempty"`   // what would change the verdict
}

// At is an account at one look.
type At struct {
	Exchanges int     `json:"exchanges"`
	Score     float64 `json:"score"`
	P         float64 `json:"p,omitempty"`
	Level     float64 `json:"level,omitempty"` // p has to be at most this
}

// Reason is one of the strongest signals of an account.
type Reason struct {
	Signal   string        `json:"signal"`
	Says     string        `json:"says"`
	Strength float64       `json:"strength"` // what it adds to the score
	Examples []exchange.ID `json:"examples,omitempty"`
	Prompts  []string      `json:"prompts,omitempty"` // of the examples, where somebody looked them up
}

// driftLevel is how small the p-value of a segment's bulk must be for its verdicts
// to be withheld.
const driftLevel = 1e-3

// bulk is the share of scores, from the lowest, that are compared for drift.
const bulk = 0.8

// explained is how many accounts are explained beside those that stand out.
const explained = 20

// Report says what all that was read amounts to.
func (d *Detector) Report(opt Options) (*Report, error) {
	opt.Level, opt.FDR = cmp.Or(opt.Level, 1e-3), cmp.Or(opt.FDR, 0.05)
	if !(opt.Level > 0 && opt.Level < 1) || !(opt.FDR > 0 && opt.FDR < 1) {
		return nil, fmt.Errorf("detect: level %v and false discovery rate %v: want numbers between 0 and 1", opt.Level, opt.FDR)
	}
	accounts := d.settled()
	r := &Report{
		Simulated: d.cal.Simulated, Level: opt.Level, FDR: opt.FDR, Counts: d.counts, Known: len(accounts),
		Needed: stat.SizeToHold(opt.Level, Confidence), Taken: d.cal.Source,
	}
	r.Counts.Open = int64(len(d.open))
	plan, err := d.cal.plan(opt.Level)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(accounts))
	d.segments(r, accounts, names, opt)
	for _, name := range names {
		p := accounts[name]
		if !slices.ContainsFunc(p.looks[:], func(l looked) bool { return l.done }) {
			r.Waiting++
			continue
		}
		r.Accounts = append(r.Accounts, d.judge(name, p, &plan, r.Segments, opt))
	}
	d.campaigns(r, accounts, opt)
	d.name(r, opt)
	slices.SortStableFunc(r.Accounts, func(a, b Account) int {
		return cmp.Or(cmp.Compare(flag(b.Named), flag(a.Named)), cmp.Compare(flag(b.Alarm), flag(a.Alarm)),
			cmp.Compare(b.E, a.E), cmp.Compare(b.Score, a.Score), cmp.Compare(a.Account, b.Account))
	})
	shown := 0
	for i := range r.Accounts {
		a := &r.Accounts[i]
		if a.Alarm || a.Named || shown < explained {
			d.explain(a, accounts[a.Account])
			shown++
		}
	}
	return r, nil
}

// segments says of each segment whether it can speak.
func (d *Detector) segments(r *Report, accounts map[string]*profile, names []string, opt Options) {
	scores := make([][]float64, len(d.cal.sorted))
	r.Segments = make([]Segment, len(d.cal.sorted))
	// Who has come to the first look by now is faster than who has not. So drift is
	// looked for among those that came to it within half of the time that there was,
	// and that began early enough for that; and so with the calibration's.
	begin, end := int64(math.MaxInt64), int64(0)
	for _, p := range accounts {
		begin, end = min(begin, p.first), max(end, p.last)
	}
	half := (end - begin) / 2
	for _, name := range names {
		p := accounts[name]
		l := p.looks[0]
		if !l.done || int(l.segment) >= len(scores) {
			continue
		}
		r.Segments[l.segment].Accounts++
		if p.first <= end-half && p.reached-p.first <= half {
			scores[l.segment] = append(scores[l.segment], float64(l.score))
		}
	}
	for i := range r.Segments {
		s := &r.Segments[i]
		s.Calibrated, s.Drift = d.cal.size(i), 1
		if s.Calibrated < r.Needed {
			s.Withheld = fmt.Sprintf("uncalibrated: %d of %d", s.Calibrated, r.Needed)
			continue
		}
		slices.Sort(scores[i])
		// As many segments are looked at as there are: Bonferroni.
		s.Drift = min(1, stat.BulkDrift(d.cal.within(i, float64(half)/1e9), scores[i], bulk)*float64(len(r.Segments)))
		if s.Drift < driftLevel {
			s.Withheld = fmt.Sprintf("drifted: ordinary accounts score differently than they did (p = %.1g): calibrate again", s.Drift)
			continue
		}
		r.Verdicts = true
	}
	switch {
	case len(r.Segments) == 0:
		r.Why = fmt.Sprintf("uncalibrated: 0 of %d accounts that are known to be innocent; this is a ranking, and no accusation", r.Needed)
	case !r.Verdicts:
		r.Why = fmt.Sprintf("no segment can speak (%s); this is a ranking, and no accusation", r.Segments[0].Withheld)
	}
}

// judge is an account's result by itself.
func (d *Detector) judge(name string, p *profile, plan *[len(Looks)]stat.Look, segments []Segment, opt Options) Account {
	a := Account{Account: name, Exchanges: int(p.n), Mark: d.marks[name], Segment: -1}
	for i, l := range p.looks {
		if !l.done {
			continue
		}
		at := At{Exchanges: Looks[i], Score: float64(l.score)}
		a.Score, a.Segment, a.Withheld = at.Score, int(l.segment), ""
		if a.Segment >= len(segments) {
			a.Segment = -1
		}
		if a.Segment < 0 {
			a.Withheld = "uncalibrated"
		} else {
			a.Withheld = segments[a.Segment].Withheld
			if list := d.cal.sorted[a.Segment][i]; len(list) > 0 {
				at.P = stat.ConformalP(list, at.Score)
			}
		}
		if a.Withheld == "" && at.P > 0 {
			at.Level = plan[i].Level
			a.E += plan[i].Weight * plan[i].E(at.P)
		}
		a.Looks = append(a.Looks, at)
	}
	if a.Mark == ledger.MarkSuppress {
		a.Withheld = "suppressed by the operator"
	}
	a.Alarm = a.Mark != ledger.MarkSuppress && a.E >= 1/opt.Level*(1-1e-9)
	return a
}

// name chooses the accounts whose list holds the false discovery rate: e-BH over
// the mean of an account's own e-value and its group's, which is an e-value
// whatever their dependence.
func (d *Detector) name(r *Report, opt Options) {
	var at []int
	var e []float64
	for i := range r.Accounts {
		a := &r.Accounts[i]
		if a.Mark == ledger.MarkSuppress || a.Mark == ledger.MarkBenign || opt.Decoys[opt.Organisations[a.Account]] {
			continue
		}
		at = append(at, i)
		own, of := 0.1, 0.9
		if r.Decoys == 0 {
			own, of = 1, 0
		}
		e = append(e, own*a.E+of*a.Group)
	}
	r.Tested = len(at)
	if !r.Verdicts {
		return
	}
	for j, named := range stat.EBH(e, opt.FDR) {
		r.Accounts[at[j]].Named = named
	}
	for i := range r.Campaigns {
		c := &r.Campaigns[i]
		c.Named = 0
		for _, a := range r.Accounts {
			if a.Campaign == c.Number && a.Named {
				c.Named++
			}
		}
	}
}

// explain adds what people need to judge an account themselves.
func (d *Detector) explain(a *Account, p *profile) {
	f := p.features(&d.cal.Model)
	z := d.cal.Model.standard(&f)
	strength := d.cal.Model.strength(&z)
	order := make([]int, groupCount)
	for g := range order {
		order[g] = g
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(strength[y], strength[x]) })
	for _, g := range order[:3] {
		if strength[g] <= 0 {
			break
		}
		reason := Reason{Signal: groups[g].name, Says: groups[g].says, Strength: math.Round(100*strength[g]) / 100}
		for _, e := range p.examples[g] {
			if e.rank != 0 {
				reason.Examples = append(reason.Examples, e.id)
			}
		}
		a.Reasons = append(a.Reasons, reason)
		a.Innocent = append(a.Innocent, groups[g].innocent)
		a.Change = append(a.Change, groups[g].change)
	}
	for i, at := range Looks {
		if !p.looks[i].done {
			a.Change = append(a.Change, fmt.Sprintf("the next look, at %d exchanges", at))
			break
		}
	}
	a.Means = d.means(a)
}

// means says in words what an account's e-value means.
func (d *Detector) means(a *Account) string {
	switch {
	case a.Withheld != "" && a.E == 0:
		return "no verdict: " + a.Withheld
	case a.E == 0:
		return "nothing that ordinary accounts of its segment do not show as well"
	}
	s := fmt.Sprintf("if the account were ordinary, an e-value of %s or more at any time of its life would have a chance of at most 1 in %s", number(a.E), number(a.E))
	if d.cal.Simulated {
		s += " (simulated calibration)"
	}
	return s
}

func number(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

func digestOf(b []byte) [16]byte {
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
