package simulate

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"retort/exchange"
	"retort/watch/detect"
)

// habit is how an organisation uses a model: drawn once, and the same for all of
// its accounts.
type habit struct {
	w      *World
	kind   Kind
	perDay float64 // calls of an account a day, about; 0 is the kind's own pace
	field  int     // the topic that it works on
	system string
	// template surrounds a document.
	before, after string
	fewShot       string
	bank          []string // an evaluation's or a class's questions
	zone          float64  // hours by which its day is shifted
	machine       float64  // mean seconds between a machine's calls
	workers       int      // calls of a machine at a time
	temperature   float32
	schema        bool
	client        detect.Params // what the program through which people talk sends
	samples       int
	long          bool    // answers are
	steps         bool    // whether answers are worked out in steps
	shareOf       float64 // of a reseller's conversations that go on
}

// clock is an account's time. People work in sessions and by day; machines in runs.
type clock struct {
	rng *rand.Rand
	now int64
	// zone, open and close say when people are awake, in hours.
	zone, open, close float64
}

func (c *clock) wait(seconds float64) { c.now += int64(seconds * float64(time.Second)) }

// awake moves the clock into the person's day.
func (c *clock) awake() {
	const day = 24 * float64(time.Hour)
	hour := math.Mod(float64(c.now)+c.zone*float64(time.Hour), day) / float64(time.Hour)
	switch {
	case hour < c.open:
		c.wait((c.open - hour) * 3600 * between(c.rng, 1, 1.3))
	case hour > c.close:
		c.wait((24 - hour + c.open) * 3600 * between(c.rng, 1, 1.15))
	}
}

// took is how long an answer of so many tokens takes to make, in seconds.
func took(rng *rand.Rand, out float64) float64 { return 0.3 + out/between(rng, 40, 90) }

func newHabit(w *World, k Kind, rng *rand.Rand) *habit {
	g := w.text
	h := &habit{w: w, kind: k, field: rng.IntN(len(g.topics)), zone: between(rng, 0, 24), temperature: pick(rng, []float32{0, 0.2, 0.3}), workers: 1 + rng.IntN(8), samples: 1}
	h.client = client(rng)
	topic := g.topics[h.field].name
	switch k {
	case ETL:
		h.machine = lognormal(rng, math.Log(2), 1.0)
		h.before, h.after = etlTemplate(g, rng, topic)
		h.schema = rng.IntN(10) < 7
		h.long = !h.schema && rng.IntN(2) == 0
		h.samples = 1
	case Eval:
		h.machine = lognormal(rng, math.Log(0.6), 0.6)
		h.workers = 4 + rng.IntN(28)
		h.temperature = 0
		h.steps = rng.IntN(10) < 3 // some have the answer worked out
		n := 60 + rng.IntN(240)
		for range n {
			h.bank = append(h.bank, evalQuestion(w, rng, h.steps))
		}
		h.fewShot = evalShots(w, rng, h.steps)
	case Classroom:
		for range 12 + rng.IntN(20) {
			if rng.IntN(2) == 0 {
				h.bank = append(h.bank, pick(rng, w.questions))
			} else {
				h.bank = append(h.bank, g.instruction(rng, h.field))
			}
		}
	case Licensed:
		h.machine = lognormal(rng, math.Log(4), 0.7)
		h.before = pick(rng, []string{"Write a realistic ", "Produce one ", "Invent a plausible "}) + pick(rng, []string{"customer message", "support dialogue", "product review", "incident report"}) + " for a company in " + topic + ".\n\nFacts to use:\n"
		h.after = pick(rng, []string{"\n\nRequirements:\n1. Stay with the facts.\n2. Sound like a customer.\n3. Name no real person.\n\nReturn JSON with text and label.", "\n\nTone: natural. Length: 80 to 150 words. Return JSON.", "\n\nGive the text alone."})
		h.temperature = pick(rng, []float32{0.8, 0.9, 1})
		h.schema = rng.IntN(3) > 0
		h.samples = pick(rng, []int{1, 1, 2, 4})
		h.long = true
	case Agent:
		h.machine = lognormal(rng, math.Log(3), 0.5)
		h.system = "You are an agent that works on " + topic + ". Use the tools, one step at a time. " + g.document(rng, h.field, 6)
	case IDE:
		h.system = "You complete code. Reply with code only. Project rules: " + g.document(rng, h.field, 2)
	case Reseller:
		h.machine = lognormal(rng, math.Log(25), 0.5)
		h.system = pick(rng, []string{"", "You are the assistant of " + topic + " Helper. Be brief and kind."})
		h.shareOf = between(rng, 0.05, 0.7) // of conversations that go on
	case Chat, PowerUser, SharedKey:
		if rng.IntN(3) == 0 {
			h.system = "You are a helpful assistant."
		}
	}
	return h
}

// client is what a program sends with each question beside it. Those that harvest
// draw from the same ones, so that no parameter tells them apart by itself.
func client(rng *rand.Rand) detect.Params {
	p := detect.Params{MaxTokens: pick(rng, []int{0, 0, 0, 800, 1024, 2048, 4096})}
	if t := pick(rng, []float32{-1, -1, -1, 0.2, 0.5, 0.7, 0.7, 1, 1}); t >= 0 {
		p.HasTemperature, p.Temperature = true, t
	}
	p.Reasoning = rng.IntN(12) == 0
	return p
}

func etlTemplate(g *grammar, rng *rand.Rand, topic string) (before, after string) {
	field := func() string { return g.noun(rng, rng.IntN(len(g.topics))) }
	before = pick(rng, []string{
		"Extract the " + field() + " and the " + field() + " from the " + topic + " record below.\n\nRecord: ",
		"You label messages about " + topic + ". Choose one of: " + field() + ", " + field() + ", " + field() + ".\n\nMessage:\n",
		"Summarise this note on " + topic + " in one sentence.\n\nNote: ",
		"Translate the following entry of our " + topic + " catalogue.\n\n",
		"Text: ",
	})
	after = pick(rng, []string{"\n\nReply with JSON only.", "\n\nAnswer:", "", "\n\nIs it urgent? Answer yes or no, with a score from 1 to 10."})
	return before, after
}

func evalQuestion(w *World, rng *rand.Rand, steps bool) string {
	if steps {
		if rng.IntN(2) == 0 {
			return pick(rng, w.questions)
		}
		return w.text.question(rng)
	}
	t := rng.IntN(len(w.text.topics))
	return "Question: " + pick(rng, w.text.sentences[t]) + " Which is meant?" + w.text.choices(rng, t) + "\nAnswer:"
}

func evalShots(w *World, rng *rand.Rand, steps bool) string {
	s := "The following are questions with answers.\n\n"
	for range 1 + rng.IntN(5) {
		s += evalQuestion(w, rng, steps) + " " + pick(rng, []string{"A", "B", "C", "D"}) + "\n\n"
	}
	return s
}

// account returns what one account of the organisation does.
func (h *habit) account(p *Population, rng *rand.Rand, member, size int) func() Call {
	c := &clock{rng: rng, now: p.Config.Start.UnixNano(), zone: h.zone, open: between(rng, 6, 10), close: between(rng, 17, 24)}
	c.wait(between(rng, 0, 86400))
	a := &actor{h: h, w: h.w, rng: rng, clock: c, member: member, size: size}
	a.pace = h.perDay
	switch h.kind {
	case Chat:
		a.job = a.talk
	case IDE:
		a.job = a.edit
	case ETL:
		a.job = a.batch
	case Eval:
		a.job = a.evaluate
	case Classroom:
		a.job = a.study
	case Licensed:
		a.job = a.produce
	case Reseller:
		a.job = a.resell
	case Agent:
		a.job = a.loop
	case PowerUser:
		a.job = a.switching(a.talk, a.edit, a.scripting(), a.talk, a.study, a.batchOwn())
	case SharedKey:
		a.job = a.together(a.talk, a.edit, a.talk, a.batchOwn())
	}
	return a.next
}

// actor is one account at work. A job makes the next call; it moves the clock.
type actor struct {
	h      *habit
	w      *World
	rng    *rand.Rand
	clock  *clock
	job    func() Call
	seq    int
	pace   float64 // calls a day that its pauses are to come to; 0 is the job's own
	member int
	size   int

	// A conversation under way.
	talk0  []exchange.Message
	turns  int
	docs   int
	loops  []exchange.Message
	rounds int
	file   string
	edits  int
	place  int
	bursts int
	until  int64 // when the last answer was over
}

func (a *actor) next() Call {
	call := a.job()
	call.Seq = a.seq
	a.seq++
	return call
}

// ask makes a call now, whose answer has a shape and about so many tokens, and
// leaves the clock at its end.
func (a *actor) ask(messages []exchange.Message, params detect.Params, s shape, out float64) Call {
	text := a.w.text.answer(a.rng, s)
	if s == shapeLabel {
		out = 1 + float64(len(text))/4
	}
	n := 0
	for _, m := range messages {
		n += len(m.Content)
	}
	out = max(1, out)
	c := Call{Sent: a.clock.now, Messages: messages, Params: params, Answer: exchange.Answer{Content: text, FinishReason: "stop"}}
	c.Usage = exchange.Usage{Source: exchange.UsageReported, Input: int64(n/4 + 4*len(messages)), Output: int64(out)}
	if params.Reasoning {
		c.Usage.Reasoning = c.Usage.Output / 2
	}
	if s == shapeChoice {
		c.Answer.FinishReason = "tool_calls"
		c.Answer.ToolCalls = []exchange.ToolCall{{ID: "call_1", Name: "run", Arguments: "{}"}}
	}
	if params.MaxTokens > 0 && int64(params.MaxTokens) < c.Usage.Output {
		c.Usage.Output, c.Answer.FinishReason = int64(params.MaxTokens), "length"
	}
	c.Last = c.Sent + int64(took(a.rng, out)*float64(time.Second))
	a.until = c.Last
	return c
}

func (a *actor) opening() []exchange.Message {
	if a.h.system == "" {
		return nil
	}
	return []exchange.Message{{Role: "system", Content: a.h.system}}
}

// utterance is what a person says first.
func (a *actor) utterance() string {
	g, rng := a.w.text, a.rng
	switch rng.IntN(10) {
	case 0, 1:
		return pick(rng, a.w.chat)
	case 2:
		return pick(rng, a.w.tasks)
	case 3:
		return pick(rng, greetings)
	case 4:
		return pick(rng, a.w.questions)
	}
	t := a.h.field
	if rng.IntN(3) > 0 {
		t = (a.member*7 + rng.IntN(5)*11) % len(g.topics) // a person has some interests
	}
	return g.instruction(rng, t)
}

var (
	greetings = []string{"hi", "hello", "Hello, can you help me?", "hey", "good morning", "I have a question", "test", "are you there?"}
	follows   = []string{"Can you make it shorter?", "Why?", "Thanks! And what about the other case?", "That is not what I meant.", "Give me an example.", "ok", "Continue", "Are you sure?", "Now in a friendlier tone, please.", "What would it cost?", "I tried that and it did not work.", "Put it in a table."}
)

// talk is a person who reads before answering.
func (a *actor) talk() Call {
	rng := a.rng
	if a.turns == 0 {
		if a.seq > 0 {
			pause := lognormal(rng, math.Log(3*3600), 1.1)
			if rng.IntN(3) > 0 { // more in this session
				pause = lognormal(rng, math.Log(120), 1)
			}
			if a.pace > 0 {
				pause *= 40 / a.pace
			}
			a.clock.now = max(a.clock.now, a.until)
			a.clock.wait(pause)
		}
		a.clock.awake()
		a.talk0 = a.opening()
		a.turns = 1 + int(rng.ExpFloat64()*2)
		a.talk0 = append(a.talk0, exchange.Message{Role: "user", Content: a.utterance()})
	} else {
		a.talk0 = append(a.talk0, exchange.Message{Role: "user", Content: a.follow()})
	}
	a.turns--
	s := shapeProse
	if rng.IntN(5) == 0 {
		s = pick(rng, []shape{shapeSteps, shapeCode, shapeItems})
	}
	_, out := a.w.talk.draw(rng)
	c := a.ask(a.talk0[:len(a.talk0):len(a.talk0)], a.h.client, s, out)
	a.talk0 = append(a.talk0, exchange.Message{Role: "assistant", Content: c.Answer.Content})
	a.clock.now = a.until
	a.clock.wait(float64(c.Usage.Output)/between(rng, 4, 12) + lognormal(rng, math.Log(12), 0.8)) // reads, then writes
	return c
}

func (a *actor) follow() string {
	if a.rng.IntN(2) == 0 {
		return pick(a.rng, follows)
	}
	return pick(a.rng, a.w.text.sentences[a.h.field]) + " " + pick(a.rng, follows)
}

// edit is a person's editor, which asks as the person types.
func (a *actor) edit() Call {
	rng := a.rng
	if a.edits == 0 {
		if a.seq > 0 {
			pause := lognormal(rng, math.Log(1800), 1.2)
			if a.pace > 0 {
				pause *= 60 / a.pace
			}
			a.clock.wait(pause)
		}
		a.clock.awake()
		a.edits = 3 + rng.IntN(25)
		a.file = a.w.text.source(rng, 10+rng.IntN(70))
	} else {
		a.clock.wait(lognormal(rng, math.Log(8), 1))
		if rng.IntN(2) == 0 {
			a.file += a.w.text.source(rng, 1+rng.IntN(3))
		}
	}
	a.edits--
	_, out := a.w.code.draw(rng)
	ask, params := "Complete at the cursor:\n", detect.Params{HasTemperature: true, Temperature: 0.1, MaxTokens: 256}
	if rng.IntN(6) == 0 {
		ask, params, out = pick(rng, []string{"Why does this fail?\n", "Refactor this:\n", "Write a test for this:\n"}), detect.Params{Tools: rng.IntN(2) == 0}, out*8
	}
	m := append(a.opening(), exchange.Message{Role: "user", Content: ask + a.file})
	return a.ask(m, params, shapeCode, out)
}

// machinePause is between the calls of a machine that works in runs.
func (a *actor) machinePause(mean float64, run int) {
	if a.bursts == 0 {
		a.bursts = 1 + int(lognormal(a.rng, math.Log(float64(run)), 0.5))
		if a.seq > 0 {
			pause := lognormal(a.rng, math.Log(6*3600), 0.8)
			if a.pace > 0 {
				pause = 86400 * float64(run) / a.pace * lognormal(a.rng, 0, 0.3)
			}
			a.clock.wait(pause)
		}
		return
	}
	a.bursts--
	a.clock.wait(a.w.gap(a.rng, mean))
}

// batch is one template over many documents. The shards of an organisation's
// accounts do not overlap.
func (a *actor) batch() Call {
	h, rng, g := a.h, a.rng, a.w.text
	a.machinePause(h.machine, 120)
	a.docs++
	doc := "No. " + strconv.Itoa(a.docs*a.size+a.member) + ". " + g.document(rng, h.field, 1+rng.IntN(8))
	p := detect.Params{HasTemperature: true, Temperature: h.temperature, MaxTokens: 300}
	s, out := shapeProse, between(rng, 20, 60)
	if h.long {
		out, p.MaxTokens = between(rng, 80, 400), 0
	}
	if h.schema {
		s, p.Schema = shapeJSON, 1
	}
	m := append(a.opening(), exchange.Message{Role: "user", Content: h.before + doc + h.after})
	return a.ask(m, p, s, out)
}

// batchOwn is batch with a template of the account's own.
func (a *actor) batchOwn() func() Call {
	h := *a.h
	h.before, h.after = etlTemplate(a.w.text, a.rng, a.w.text.topics[h.field].name)
	h.machine = lognormal(a.rng, math.Log(3), 0.8)
	h.schema = a.rng.IntN(2) == 0
	return func() Call {
		was := a.h
		a.h = &h
		defer func() { a.h = was }()
		return a.batch()
	}
}

// scripting is a person who tries one question on many inputs by a script.
func (a *actor) scripting() func() Call {
	ask := pick(a.rng, []string{"Give three synonyms of: ", "Is this a good title? ", "Fix the grammar: ", "Rate this from 1 to 5: "})
	return func() Call {
		a.machinePause(lognormal(a.rng, math.Log(1.5), 0.5), 30)
		m := []exchange.Message{{Role: "user", Content: ask + pick(a.rng, a.w.text.sentences[a.h.field])}}
		return a.ask(m, a.h.client, shapeProse, between(a.rng, 10, 60))
	}
}

// evaluate runs a bank from end to end, and again for the next version.
func (a *actor) evaluate() Call {
	h, rng := a.h, a.rng
	if a.place%len(h.bank) == 0 && a.place > 0 {
		pause := lognormal(rng, math.Log(12*3600), 0.6)
		if a.pace > 0 {
			pause = 86400 * float64(len(h.bank)) / a.pace
		}
		a.clock.wait(pause)
	} else {
		a.clock.wait(a.w.gap(rng, h.machine) / float64(min(h.workers, 4)))
		if a.pace > 0 && a.place%max(1, int(a.pace)) == 0 && a.place > 0 {
			a.clock.wait(86400 * lognormal(rng, 0, 0.1))
		}
	}
	q := h.bank[(a.place+a.member*len(h.bank)/a.size)%len(h.bank)]
	a.place++
	p := detect.Params{HasTemperature: true, Temperature: h.temperature, MaxTokens: 16}
	s, out := shapeLabel, 2.0
	if h.steps {
		p.MaxTokens, s, out = 512, shapeSteps, between(rng, 80, 300)
	}
	m := []exchange.Message{{Role: "user", Content: h.fewShot + q}}
	return a.ask(m, p, s, out)
}

// study is a student with the class's assignments.
func (a *actor) study() Call {
	if len(a.h.bank) == 0 { // no class: a person's own questions
		return a.talk()
	}
	rng := a.rng
	fresh := a.turns == 0
	c := a.talk()
	if !fresh {
		return c
	}
	a.place++
	q := a.h.bank[min(a.place/3, len(a.h.bank)-1)]
	if rng.IntN(4) > 0 {
		q = pick(rng, []string{"", "", "Help me with this: ", "Explain step by step: ", "I do not understand. "}) + q
		last := len(c.Messages) - 1
		c.Messages = append([]exchange.Message(nil), c.Messages...)
		c.Messages[last].Content = q
		a.talk0[last] = c.Messages[last]
		if rng.IntN(2) == 0 {
			c.Answer.Content = a.w.text.answer(rng, shapeSteps)
		}
	}
	return c
}

// produce makes synthetic data of one's own field.
func (a *actor) produce() Call {
	h, rng, g := a.h, a.rng, a.w.text
	a.machinePause(h.machine, 80)
	m := []exchange.Message{{Role: "user", Content: h.before + "- " + pick(rng, g.sentences[h.field]) + "\n- " + pick(rng, g.sentences[h.field]) + h.after}}
	p := detect.Params{HasTemperature: true, Temperature: h.temperature, MaxTokens: 600}
	if h.samples > 1 {
		p.N = h.samples
	}
	s := shapeProse
	if h.schema {
		s, p.Schema = shapeJSON, 1
	}
	return a.ask(m, p, s, between(rng, 90, 350)*float64(h.samples))
}

// resell passes other people's conversations on: many at a time.
func (a *actor) resell() Call {
	rng := a.rng
	pause := a.h.machine
	if a.pace > 0 {
		pause = 86400 / a.pace
	}
	now := a.clock.now
	var c Call
	if rng.Float64() < a.h.shareOf && len(a.talk0) > 1 && len(a.talk0) < 12 {
		a.talk0 = append(a.talk0, exchange.Message{Role: "user", Content: a.follow()})
	} else {
		a.talk0 = append(a.opening(), exchange.Message{Role: "user", Content: a.anybody()})
	}
	_, out := a.w.talk.draw(rng)
	c = a.ask(a.talk0[:len(a.talk0):len(a.talk0)], a.h.client, pick(rng, []shape{shapeProse, shapeProse, shapeProse, shapeItems, shapeCode}), out)
	a.talk0 = append(a.talk0, exchange.Message{Role: "assistant", Content: c.Answer.Content})
	a.clock.now = now
	a.clock.wait(a.w.gap(rng, pause))
	return c
}

// anybody is what one of a reseller's users says.
func (a *actor) anybody() string {
	if a.rng.IntN(3) == 0 {
		return a.utterance()
	}
	return a.w.text.instruction(a.rng, a.rng.IntN(len(a.w.text.topics)))
}

// loop is an agent: each step holds all steps before it.
func (a *actor) loop() Call {
	rng, g := a.rng, a.w.text
	if a.rounds == 0 {
		if a.seq > 0 {
			pause := lognormal(rng, math.Log(1500), 1)
			if a.pace > 0 {
				pause *= 60 / a.pace
			}
			a.clock.wait(pause)
		}
		a.rounds = 4 + rng.IntN(16)
		a.loops = append(a.opening(), exchange.Message{Role: "user", Content: g.instruction(rng, a.h.field)})
	} else {
		a.clock.now = a.until
		a.clock.wait(a.w.gap(rng, a.h.machine))
		a.loops = append(a.loops, exchange.Message{Role: "tool", ToolCallID: "call_1", Content: g.source(rng, 2+rng.IntN(12))})
	}
	a.rounds--
	s := shapeChoice
	if a.rounds == 0 {
		s = shapeProse
	}
	c := a.ask(a.loops[:len(a.loops):len(a.loops)], detect.Params{Tools: true}, s, between(rng, 30, 200))
	a.loops = append(a.loops, exchange.Message{Role: "assistant", Content: c.Answer.Content, ToolCalls: c.Answer.ToolCalls})
	return c
}

// switching goes from one job to the next after some dozens of calls.
func (a *actor) switching(jobs ...func() Call) func() Call {
	left, at := 0, 0
	return func() Call {
		if left == 0 {
			left, at = 15+a.rng.IntN(60), a.rng.IntN(len(jobs))
			a.turns, a.edits = 0, 0
			a.clock.now = max(a.clock.now, a.until)
		}
		left--
		return jobs[at]()
	}
}

// together is a team whose jobs alternate.
func (a *actor) together(jobs ...func() Call) func() Call {
	left, at := 0, 0
	return func() Call {
		if left == 0 {
			left, at = 2+a.rng.IntN(8), a.rng.IntN(len(jobs))
			a.turns, a.edits, a.bursts = 0, 0, 4
		}
		left--
		return jobs[at]()
	}
}
