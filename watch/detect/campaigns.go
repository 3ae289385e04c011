package detect

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"retort/internal/stat"
)

// CampaignOf is a set of accounts that seem to work as one.
type CampaignOf struct {
	Number   int      `json:"number"`
	Accounts []string `json:"accounts"`
	Score    float64  `json:"score"`    // the sum of what its members score above ordinary use
	E        float64  `json:"e"`        // against organisations that are known to be innocent
	Named    int      `json:"named"`    // of its accounts, on the list that holds the false discovery rate
	Collide  float64  `json:"collide"`  // share of its prompts that two members sent
	Expected float64  `json:"expected"` // the share that as many independent draws from what it sent would give, at least
	Shared   bool     `json:"scaffold"` // its members share a beginning, an end or a system prompt
	Means    string   `json:"means"`
	Innocent []string `json:"innocent"`
}

// The search for groups: accounts are linked that share a rare scaffold in at least
// sharedAtLeast of what they send, or, of those that score above most ordinary
// ones, whose exchanges have one distribution as far as the kernel sees.
const (
	sharedAtLeast = 0.15
	rareAtLeast   = 0.55
	unusual       = 0.03  // conformal p of accounts that are compared as a whole
	alike         = 0.012 // squared discrepancy, less what chance gives
	mostLinked    = 6000  // accounts that are compared pair by pair, the most suspicious ones
	leastMembers  = 2
)

// member is an account in the search.
type member struct {
	name   string
	p      *profile
	above  float64 // log(unusual/p) at its latest look: how far beyond unusual it is
	parent int
	scaf   bool
}

// campaigns finds groups and compares them with organisations that are known to be
// innocent: these are searched like all others, and only afterwards looked up.
func (d *Detector) campaigns(r *Report, accounts map[string]*profile, opt Options) {
	var list []member
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		p := accounts[name]
		if !slices.ContainsFunc(p.looks[:], func(l looked) bool { return l.done }) {
			continue
		}
		list = append(list, member{name: name, p: p, above: d.beyond(p), parent: len(list)})
	}
	d.link(list)
	sets := make(map[int][]int)
	for i := range list {
		root := find(list, i)
		sets[root] = append(sets[root], i)
	}
	decoyOf := func(name string) string {
		if org := opt.Organisations[name]; opt.Decoys[org] {
			return org
		}
		return ""
	}
	best := make(map[string]float64) // of each decoy, over the groups that it is in
	for org, decoy := range opt.Decoys {
		if decoy {
			best[org] = 0
		}
	}
	r.Decoys = len(best)
	var groups []CampaignOf
	for _, root := range slices.Sorted(maps.Keys(sets)) {
		c := d.group(list, sets[root])
		if c == nil {
			continue
		}
		// Any member puts its organisation where the group stands. So an innocent
		// account is never above the standing of its own organisation, whether that is
		// known or not.
		for _, name := range c.Accounts {
			if org := decoyOf(name); org != "" {
				best[org] = max(best[org], c.Score)
			}
		}
		groups = append(groups, *c)
	}
	for i := range groups {
		c := &groups[i]
		flagged := 0
		for _, score := range best {
			if score >= c.Score {
				flagged++
			}
		}
		// A group is flagged where it stands above all decoys: the rule that names
		// the highest of all, which treats them alike.
		if flagged == 0 && len(best) > 0 && c.Score > 0 {
			c.E = stat.DecoyE(len(best), 0)
		}
	}
	slices.SortStableFunc(groups, func(a, b CampaignOf) int { return cmp.Compare(b.Score, a.Score) })
	groups = groups[:min(len(groups), 50)]
	queues(groups)
	at := make(map[string]int)
	for i := range groups {
		groups[i].Number = i + 1
		for _, name := range groups[i].Accounts {
			at[name] = i + 1
		}
		groups[i].Means = means(&groups[i], len(best))
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		if n := at[a.Account]; n > 0 {
			a.Campaign, a.Group = n, groups[n-1].E
		}
	}
	r.Campaigns = groups
}

func means(c *CampaignOf, decoys int) string {
	switch {
	case decoys == 0:
		return "no error rate: there are no organisations that are known to be innocent to compare it with"
	case c.E == 0:
		return fmt.Sprintf("an organisation that is known to be innocent stands as high among %d", decoys)
	}
	return fmt.Sprintf("if it were an organisation like the %d that are known to be innocent, it would stand above all of them with a chance of 1 in %d", decoys, decoys+1)
}

func find(list []member, i int) int {
	for list[i].parent != i {
		list[i].parent = list[list[i].parent].parent
		i = list[i].parent
	}
	return i
}

func join(list []member, i, j int) {
	a, b := find(list, i), find(list, j)
	list[max(a, b)].parent = min(a, b)
}

// link joins members that belong together.
func (d *Detector) link(list []member) {
	m := &d.cal.Model
	first := make(map[uint64]int)
	for i := range list {
		if list[i].above <= -1.5 { // nothing unusual: an ordinary template need not be looked at
			continue
		}
		n := float64(list[i].p.n)
		for _, c := range []*counters{&list[i].p.prefix, &list[i].p.suffix, &list[i].p.system} {
			for _, v := range c {
				if v.key == 0 || float64(v.count-v.over) < max(3, sharedAtLeast*n) || m.rarity(v.key) < rareAtLeast {
					continue
				}
				if j, ok := first[v.key]; ok {
					join(list, i, j)
					list[i].scaf, list[j].scaf = true, true
				} else {
					first[v.key] = i
				}
			}
		}
	}
	var high []int
	for i := range list {
		if list[i].above > 0 {
			high = append(high, i)
		}
	}
	slices.SortStableFunc(high, func(i, j int) int { return cmp.Compare(list[j].above, list[i].above) })
	high = high[:min(len(high), mostLinked)]
	mean := make([][waves]float64, len(high))
	own := make([]float64, len(high))
	for a, i := range high {
		p := list[i].p
		norm := 0.0
		for j, v := range p.wave {
			mean[a][j] = v / float64(p.n)
			norm += 2 * mean[a][j] * mean[a][j] / waves
		}
		own[a] = max(0, 1-norm) / float64(p.n)
	}
	for a := range high {
		for b := range a {
			dist := -(own[a] + own[b])
			for j := range mean[a] {
				v := mean[a][j] - mean[b][j]
				dist += 2 * v * v / waves
			}
			if dist < alike {
				join(list, high[a], high[b])
			}
		}
	}
}

// group is what a set amounts to; nil if it is too small.
func (d *Detector) group(list []member, set []int) *CampaignOf {
	if len(set) < leastMembers {
		return nil
	}
	c := &CampaignOf{}
	var kept []int
	for _, i := range set {
		if list[i].above <= 0 {
			continue
		}
		kept = append(kept, i)
		c.Accounts = append(c.Accounts, list[i].name)
		c.Score += list[i].above
		c.Shared = c.Shared || list[i].scaf
	}
	if len(kept) < leastMembers {
		return nil
	}
	// Of innocent accounts that are that unusual, log(unusual/p) is exponential.
	n := float64(len(kept))
	c.Score = (c.Score - n) / math.Sqrt(n)
	c.Collide = collisions(list, kept)
	// One queue of work: what its members send hardly collides.
	if c.Score > 0 {
		c.Score *= 1 - c.Collide
	}
	c.Innocent = []string{"an organisation that spreads one job over several accounts", "a class or a course"}
	return c
}

// beyond is how unusual an account is: the log of unusual over its conformal p, at its
// latest look at which the calibration has at least half as many accounts as anywhere
// in the segment. What is older than the calibration's accounts is compared at the age
// that they came to. Without a calibration it is its score.
func (d *Detector) beyond(p *profile) float64 {
	v := math.Inf(-1)
	for i, l := range p.looks {
		switch {
		case !l.done:
		case len(d.cal.sorted) == 0:
			v = float64(l.score)
		case 2*len(d.cal.sorted[l.segment][i]) >= d.cal.size(int(l.segment)):
			v = math.Log(unusual / stat.ConformalP(d.cal.sorted[l.segment][i], float64(l.score)))
		}
	}
	return v
}

// collisions is the share of a group's prompts that more than one member sent, from
// the least hashes of each.
func collisions(list []member, set []int) float64 {
	// Below the lowest of the members' highest kept hashes each sketch is whole.
	bound := uint64(math.MaxUint64)
	for _, i := range set {
		if last := list[i].p.least[minima-1]; last != 0 {
			bound = min(bound, last)
		}
	}
	of := make(map[uint64]int)
	for _, i := range set {
		for _, h := range list[i].p.least {
			if h == 0 || h > bound {
				break
			}
			of[h]++
		}
	}
	twice := 0
	for _, n := range of {
		if n > 1 {
			twice++
		}
	}
	return float64(twice) / float64(max(1, len(of)))
}

// queues compares groups: one whose members send what nobody else of them sends,
// where other groups' collide, works as from one queue.
func queues(groups []CampaignOf) {
	for i := range groups {
		var others []float64
		for j := range groups {
			if j != i {
				others = append(others, groups[j].Collide)
			}
		}
		if len(others) == 0 {
			continue
		}
		slices.Sort(others)
		groups[i].Expected = others[len(others)/2]
		if groups[i].Collide < groups[i].Expected {
			groups[i].Innocent = append(groups[i].Innocent, "sharded processing of documents, which collides less as well")
		}
	}
}
