package train

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Alarm says that a policy seems to earn its reward by something else than what the
// reward is for. It is a reason to read answers, not a proof.
type Alarm struct {
	Step   int     `json:"step"`
	Kind   string  `json:"kind"`   // one of the Alarm… constants
	Before float64 `json:"before"` // share of answers, or mean entropy, in the first steps
	Now    float64 `json:"now"`    // the same in the last ones
	Share  float64 `json:"p"`      // chance of such a rise of a share among independent answers; 0 for entropy
}

// What is watched.
const (
	AlarmUnreasoned = "right without reasoning"
	AlarmRepeats    = "repeated text"
	AlarmEndless    = "answers without an end"
	AlarmEntropy    = "entropy collapsed"
)

// A rise is an alarm if it is large and no accident. Answers to one problem are alike, so
// that the chance, which takes them for independent, is too small; alarmChance is far
// below what a run's number of steps would ask for.
const (
	alarmSteps   = 5    // at the start, and the last ones
	alarmRise    = 0.15 // of a share
	alarmChance  = 1e-6
	alarmEntropy = 0.05 // of that at the start
)

// watch remembers the first steps and the last.
type watch struct {
	First  []counted       `json:"first"`
	Last   []counted       `json:"last"`
	Raised map[string]bool `json:"raised"`
}

// counted are a step's answers.
type counted struct {
	All        int     `json:"all"`
	Right      int     `json:"right"`
	Unreasoned int     `json:"unreasoned"`
	Repeats    int     `json:"repeats"`
	Endless    int     `json:"endless"`
	Entropy    float64 `json:"entropy"`
}

// look takes a step in and returns the alarms that it raises, each kind once a run.
func (w *watch) look(p *GRPOProgress) (raised []Alarm) {
	t := p.counts
	c := counted{All: t.all, Right: t.right, Unreasoned: t.unreasoned, Repeats: t.repeats, Endless: t.all - t.ended, Entropy: p.Entropy}
	if len(w.First) < alarmSteps {
		w.First = append(w.First, c)
		return nil
	}
	if w.Last = append(w.Last, c); len(w.Last) > alarmSteps {
		w.Last = w.Last[1:]
	}
	if len(w.Last) < alarmSteps {
		return nil
	}
	before, now := sum(w.First), sum(w.Last)
	raise := func(a Alarm) {
		if w.Raised[a.Kind] {
			return
		}
		if w.Raised == nil {
			w.Raised = map[string]bool{}
		}
		w.Raised[a.Kind] = true
		a.Step = p.Step
		raised = append(raised, a)
	}
	share := func(kind string, x0, n0, x, n int) {
		if n == 0 || n0 == 0 {
			return
		}
		then, is := float64(x0)/float64(n0), float64(x)/float64(n)
		if is-then < alarmRise {
			return
		}
		if chance := riseChance(x0, n0, x, n); chance < alarmChance {
			raise(Alarm{Kind: kind, Before: then, Now: is, Share: chance})
		}
	}
	share(AlarmUnreasoned, before.Unreasoned, before.Right, now.Unreasoned, now.Right)
	share(AlarmRepeats, before.Repeats, before.All, now.Repeats, now.All)
	share(AlarmEndless, before.Endless, before.All, now.Endless, now.All)
	if now.Entropy < alarmEntropy*before.Entropy {
		raise(Alarm{Kind: AlarmEntropy, Before: before.Entropy / alarmSteps, Now: now.Entropy / alarmSteps})
	}
	return raised
}

func sum(all []counted) (s counted) {
	for _, c := range all {
		s.All += c.All
		s.Right += c.Right
		s.Unreasoned += c.Unreasoned
		s.Repeats += c.Repeats
		s.Endless += c.Endless
		s.Entropy += c.Entropy
	}
	return s
}

// riseChance is the chance that x of n and x0 of n0 are as far apart or farther, x being
// the larger share, if both have the same chance: of the normal approximation to the
// difference of two shares, pooled.
func riseChance(x0, n0, x, n int) float64 {
	p := float64(x0+x) / float64(n0+n)
	sd := math.Sqrt(p * (1 - p) * (1/float64(n0) + 1/float64(n)))
	if sd == 0 {
		return 1
	}
	z := (float64(x)/float64(n) - float64(x0)/float64(n0)) / sd
	return distuv.UnitNormal.Survival(z)
}
