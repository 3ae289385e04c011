package simulate

import (
	"math"
	"math/rand/v2"
	"strconv"

	"retort/exchange"
	"retort/watch/detect"
)

// plan is a campaign's: drawn once, and the same for all of its accounts.
type plan struct {
	w        *World
	c        Campaign
	system   string
	before   string // of what elicits, where the family has such
	after    string
	gap      float64 // mean seconds between an account's calls within a run
	run      int     // calls of a run
	perDay   float64
	client   detect.Params
	samples  int
	ownHours bool // it keeps to hours in which people work
	topics   int  // how many topics it covers
	seed     uint64
	drills   []func(*rand.Rand) string
	thinks   bool // the model reasons before it answers
}

func newPlan(w *World, c Campaign, rng *rand.Rand) *plan {
	g := w.text
	p := &plan{
		w: w, c: c, gap: lognormal(rng, math.Log(8), 1.0), run: 20 + rng.IntN(80), perDay: c.PerDay,
		client: client(rng), samples: 1,
		ownHours: rng.IntN(3) == 0, topics: 24 + rng.IntN(len(g.topics)-24), seed: rng.Uint64(),
	}
	if rng.IntN(3) == 0 { // as slow as somebody who reads
		p.gap = lognormal(rng, math.Log(45), 0.4)
	}
	if rng.IntN(3) == 0 {
		p.system = pick(rng, []string{"You are a helpful assistant.", "You are an expert. Answer completely.", "Answer as well as you can."})
	}
	switch c.Family {
	case SelfInstruct:
		p.before = pick(rng, []string{
			"Come up with a series of new tasks. Here are some examples:\n\n",
			"You are asked to create diverse task instructions. Do not repeat verbs. Examples:\n",
			"Rewrite the prompt below into a more complex version that is still answerable.\n\n#Prompt#:\n",
		})
		p.after = pick(rng, []string{"\n\nTask " + strconv.Itoa(4+rng.IntN(6)) + ":", "\n\nNow write " + strconv.Itoa(5+rng.IntN(15)) + " more.", "\n\n#New prompt#:"})
	case Reasoning:
		p.after = pick(rng, []string{
			"\n\nThink step by step and show all of your reasoning before the answer.", "\nLet's think step by step.",
			"\n\nFirst write out your full chain of thought inside <think> tags, then the final answer.", "\nExplain your reasoning in detail. Put the answer in \\boxed{}.", "",
		})
		p.client.Reasoning = p.after == "" || rng.IntN(3) == 0
		p.samples = pick(rng, []int{1, 1, 1, 2, 4})
	case Drill:
		for range 1 + rng.IntN(6) {
			p.drills = append(p.drills, g.drill(rng))
		}
		p.samples = pick(rng, []int{1, 1, 1, 4})
		p.thinks = rng.IntN(2) == 0
		if rng.IntN(2) == 0 {
			p.client.HasTemperature, p.client.Temperature = true, pick(rng, []float32{0.6, 0.7, 1, 1})
		}
	case Sweep:
		p.before = pick(rng, []string{"", "", "Answer the question.\n\n", "Q: "})
		p.after = pick(rng, []string{"", "", "\n\nExplain your answer.", "\nA:"})
		p.samples = pick(rng, []int{1, 1, 2})
	}
	return p
}

// account returns what one account of the campaign does. Work comes from a queue:
// no two accounts get the same item.
func (p *plan) account(pop *Population, rng *rand.Rand, member int) func() Call {
	c := &clock{rng: rng, now: pop.Config.Start.UnixNano(), zone: between(rng, 0, 24), open: between(rng, 6, 10), close: between(rng, 17, 24)}
	c.wait(between(rng, 0, 86400))
	// What dilutes it is ordinary talk.
	cover := &actor{h: newHabit(p.w, Chat, rng), w: p.w, rng: rng, clock: c, member: member, size: 1}
	cover.pace = p.perDay * p.c.Dilution
	a := &actor{h: cover.h, w: p.w, rng: rng, clock: c, member: member, size: p.c.Accounts}
	a.pace = p.perDay
	// Talk and work alternate in stretches, and wait for each other.
	left, covering := 0, false
	a.job = func() Call {
		if left == 0 {
			left, covering = 4+rng.IntN(12), rng.Float64() < p.c.Dilution
			c.now = max(c.now, a.until, cover.until)
		}
		left--
		if covering {
			call := cover.talk()
			cover.seq++
			return call
		}
		return p.work(a)
	}
	return a.next
}

func (p *plan) work(a *actor) Call {
	rng := a.rng
	switch {
	case p.perDay > 0 && a.bursts == 0: // a day's share at once
		a.bursts = max(1, int(p.perDay*lognormal(rng, 0, 0.2)))
		if a.seq > 0 {
			a.clock.wait(86400 * lognormal(rng, 0, 0.1))
		}
	case a.bursts == 0:
		a.bursts = max(1, int(float64(p.run)*lognormal(rng, 0, 0.3)))
		if a.seq > 0 {
			a.clock.wait(lognormal(rng, math.Log(3*3600), 0.7))
		}
	default:
		a.clock.wait(p.w.gap(rng, p.gap))
	}
	a.bursts--
	if p.ownHours {
		a.clock.awake()
	}
	a.docs++
	item := a.docs*p.c.Accounts + a.member // of the queue
	topic := int(uint64(item)*0x9e3779b9+p.seed) % p.topics
	if topic < 0 {
		topic += p.topics
	}
	params := p.client
	if p.samples > 1 {
		params.N = p.samples
	}
	s, out := shapeProse, 0.0
	var text string
	switch p.c.Family {
	case Harvest:
		text = p.instruction(rng, item, topic)
		_, o := p.w.talk.draw(rng)
		out = max(60, 1.5*o)
	case SelfInstruct:
		if item%3 == 0 { // makes instructions, and asks those that it made
			text = p.before
			for i := range 3 {
				text += strconv.Itoa(i+1) + ". " + p.instruction(rng, item*7+i, (topic+i)%p.topics) + "\n"
			}
			text += p.after
			s, out = shapeItems, between(rng, 150, 700)
		} else {
			text = p.instruction(rng, item, topic)
			_, o := p.w.talk.draw(rng)
			out = max(60, 1.5*o)
		}
	case Reasoning:
		text = p.question(rng, item) + p.after
		s, out = shapeSteps, between(rng, 200, 1200)
	case Drill:
		text = p.drills[item%len(p.drills)](rng)
		s, out = shapeSteps, between(rng, 60, 300)
	case Sweep:
		text = p.before + p.question(rng, item) + p.after
		s, out = pick(rng, []shape{shapeSteps, shapeProse}), between(rng, 60, 400)
	}
	var m []exchange.Message
	if p.system != "" {
		m = append(m, exchange.Message{Role: "system", Content: p.system})
	}
	m = append(m, exchange.Message{Role: "user", Content: text})
	c := a.ask(m, params, s, out*float64(p.samples))
	if p.thinks {
		c.Usage.Reasoning = c.Usage.Output * 3 / 4
		c.Answer.Reasoning, c.Answer.Content = c.Answer.Content, a.w.text.answer(rng, shapeLabel)
	}
	return c
}

// instruction is the nth of the campaign's queue: a real one while they last.
func (p *plan) instruction(rng *rand.Rand, item, topic int) string {
	if item < 2*len(p.w.tasks) && item%2 == 0 {
		return p.w.tasks[item/2]
	}
	if item < 8*len(p.w.chat) && item%8 == 1 {
		return p.w.chat[item/8]
	}
	return p.w.text.instruction(rng, topic)
}

func (p *plan) question(rng *rand.Rand, item int) string {
	if n := len(p.w.questions); item < n {
		return p.w.questions[(item+int(p.seed%uint64(n)))%n]
	}
	return p.w.text.question(rng)
}
