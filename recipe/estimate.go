package recipe

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"retort/exchange"
	"retort/price"
	"retort/teach/curate"
	"retort/teach/task"
)

// Estimate is what asking is expected to cost, going by answers that the
// teacher has given already.
//
// Input tokens are predicted from the text of each question that will be
// asked, by a regression on the questions that were answered. Output tokens
// are the mean of their source, or follow the length of the question where
// that explains them. How many questions are asked follows from the share of
// answers that the verifiers accepted. What attempts cost that came to nothing,
// or whose usage was not reported, is added as a share of their worst case.
//
// The interval is one of prediction, at 95%: it covers the sums that will come,
// and not only their mean.
type Estimate struct {
	Answers int        `json:"answers"`           // that it rests on
	Asks    float64    `json:"asks"`              // questions that will be asked, beyond those answered
	AsksCI  [2]float64 `json:"asks_ci95"`         // of them
	Input   float64    `json:"input_tokens"`      // of those
	Output  float64    `json:"output_tokens"`     // of those
	USD     float64    `json:"usd"`               // of those
	CI      [2]float64 `json:"usd_ci95"`          // of that
	Seconds float64    `json:"seconds"`           // of asking
	Rate    float64    `json:"acceptance"`        // share of answers that become examples, as far as the answer decides it
	Need    int        `json:"sample_for_10_pct"` // answers that would bring the interval within ±10%; 0 if it is
	// Borrowed says that no question of the recipe was answered yet: the
	// answers are the same teacher's to other questions, and there is no
	// interval.
	Borrowed bool `json:"borrowed,omitempty"`
}

// observation is a question that was answered.
type observation struct {
	bytes         float64 // of the question's text
	input, output float64 // tokens
	cached        float64 // share of the input
	excess, worst float64 // cost beyond what its usage comes to, and the most that it could be; pico-dollars
	seconds       float64
	accepted      bool // as far as the answer decides it
}

// demand is what a source will ask: questions that have no answer yet.
type demand struct {
	n     float64 // expected
	vary  float64 // variance of n
	bytes float64 // sum over them
	worst float64 // sum of their worst cases, pico-dollars
}

// forecast is one source's observations and demand.
type forecast struct {
	seen []observation
	want demand
}

// estimate predicts what the recipe's questions will cost, nil if the ledger
// holds no answer of this teacher.
func (r *run) estimate(ctx context.Context) (*Estimate, error) {
	template, err := r.request(r.teacher)
	if err != nil {
		return nil, err
	}
	curator, err := r.curator()
	if err != nil {
		return nil, err
	}
	var all []forecast
	pooled := forecast{}
	for i := range r.sources {
		if s := &r.sources[i]; s.given == nil {
			f := forecast{}
			if f.seen, err = r.observe(ctx, template, s); err != nil {
				return nil, err
			}
			pooled.seen = append(pooled.seen, f.seen...)
			all = append(all, f)
		}
	}
	e := &Estimate{}
	if len(pooled.seen) == 0 {
		if pooled.seen = r.neighbours(); len(pooled.seen) == 0 {
			return nil, nil
		}
		e.Borrowed = true
	}
	e.Answers = len(pooled.seen)
	k := 0
	for i := range r.sources {
		s := &r.sources[i]
		if s.given != nil {
			continue
		}
		f := &all[k]
		k++
		rate := acceptance(f.seen)
		if len(f.seen) < fewest {
			rate = acceptance(pooled.seen)
		}
		if f.want, err = r.walk(ctx, template, s, curator, rate, len(f.seen)); err != nil {
			return nil, err
		}
	}
	e.add(all, pooled, r.teacher.price)
	e.Rate = acceptance(pooled.seen)
	e.Seconds = r.duration(e, pooled.seen)
	return e, nil
}

// fewest is how many answers a source must have for its own means to be used.
const fewest = 5

// observe gathers what is known of a source's questions, held-out ones
// included.
func (r *run) observe(ctx context.Context, template exchange.Request, s *promptSource) ([]observation, error) {
	plain, err := curate.New(curate.Options{
		Keep: curate.Keep(r.Curate.Keep), Reasoning: curate.Reasoning(r.Curate.Reasoning), FinishReasons: r.Accept.FinishReason,
	}, nil)
	if err != nil {
		return nil, err
	}
	var out []observation
	one := func(q question) error {
		key, err := q.request.Key()
		if err != nil {
			return err
		}
		x := r.held.answers.answers[key]
		if x == nil || !x.OK() {
			return nil
		}
		d := plain.Offer(r.candidate(ctx, q, x, nil))
		o := observation{
			bytes: textBytes(q.request), input: float64(x.Usage.Input), output: float64(x.Usage.Output),
			excess: float64(r.held.costs[key] - r.teacher.price.Cost(x.Usage)), worst: float64(r.teacher.price.WorstOf(q.request, 1)),
			seconds: time.Duration(x.Times.LastByte - x.Times.Sent).Seconds(), accepted: d.Kept || d.Reason == curate.ReasonDuplicate,
		}
		if x.Usage.Input > 0 {
			o.cached = float64(x.Usage.CachedInput) / float64(x.Usage.Input)
		}
		out = append(out, o)
		return nil
	}
	for _, p := range s.split.Heldout {
		if err := one(r.question(template, s, p, stageEval, 0)); err != nil {
			return nil, err
		}
	}
	n := 0
	for q := range r.questions(template, s) {
		if n++; n > r.horizon(s) {
			break
		}
		if err := one(q); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// wrapping is about what a request's body holds beside the text of its messages.
const wrapping = 150

// neighbours are the teacher's answers to questions of other recipes, whose
// texts are known by their length alone.
func (r *run) neighbours() []observation {
	var out []observation
	for key, x := range r.held.answers.answers {
		if !x.OK() || x.Endpoint != r.teacher.endpoint || x.ModelAsked != r.teacher.model {
			continue
		}
		out = append(out, observation{
			bytes: float64(max(1, r.held.sizes[key]-wrapping)), input: float64(x.Usage.Input), output: float64(x.Usage.Output),
			seconds: time.Duration(x.Times.LastByte - x.Times.Sent).Seconds(), accepted: true,
		})
	}
	slices.SortFunc(out, func(a, b observation) int { // sums of floats depend on their order
		return cmp.Or(cmp.Compare(a.bytes, b.bytes), cmp.Compare(a.input, b.input), cmp.Compare(a.output, b.output), cmp.Compare(a.seconds, b.seconds))
	})
	return out
}

// horizon bounds how many training questions of a source are looked at: a
// family has no end.
func (r *run) horizon(s *promptSource) int {
	if s.want < 0 {
		return math.MaxInt
	}
	return 20*s.want + 1000
}

// textBytes is the length of a question's text, with a little for each message
// that a chat template puts around it.
func textBytes(q exchange.Request) float64 {
	n := 0
	for _, m := range q.Messages {
		n += len(m.Content) + len(m.Reasoning) + len(m.Role) + 8
		for _, c := range m.ToolCalls {
			n += len(c.Name) + len(c.Arguments)
		}
	}
	return float64(n)
}

// acceptance is the share of answers that were accepted; of none that was, so
// little that one more answer would have been the first.
func acceptance(seen []observation) float64 {
	k := 0.0
	for _, o := range seen {
		if o.accepted {
			k++
		}
	}
	return max(k, 0.5) / float64(max(1, len(seen)))
}

// walk goes through a source's questions as a run does, until so many are
// expected to be accepted as are wanted, and adds up those that are not
// answered yet. Rules that look at the question alone (near duplicates, overlap
// with held-out problems) are applied to the questions themselves; what they
// leave is accepted at the given rate.
func (r *run) walk(ctx context.Context, template exchange.Request, s *promptSource, curator *curate.Curator, rate float64, seen int) (demand, error) {
	var d demand
	add := func(q question) {
		d.n++
		d.bytes += textBytes(q.request)
		d.worst += float64(r.teacher.price.WorstOf(q.request, 1))
	}
	unknown := func(q question) (*exchange.Exchange, error) {
		key, err := q.request.Key()
		if err != nil {
			return nil, err
		}
		if x := r.held.answers.answers[key]; x != nil && x.OK() {
			return x, nil
		}
		add(q)
		return nil, nil
	}
	for _, p := range s.split.Heldout {
		if _, err := unknown(r.question(template, s, p, stageEval, 0)); err != nil {
			return d, err
		}
	}
	expected, guesses, n := 0.0, 0.0, 0
	for q := range r.questions(template, s) {
		if n++; n > r.horizon(s) || s.want >= 0 && expected >= float64(s.want)-1e-9 {
			break
		}
		x, err := unknown(q)
		if err != nil {
			return d, err
		}
		if x != nil {
			if curator.Offer(r.candidate(ctx, q, x, nil)).Kept {
				expected++
			}
			continue
		}
		if curator.Offer(r.guess(q)).Kept {
			expected += rate
			guesses++
		}
	}
	if s.want >= 0 && guesses > 0 {
		// Of so many acceptances, the questions needed vary as a negative
		// binomial; and the rate itself is known from so many answers only,
		// even where all of them were accepted.
		n := float64(max(1, seen))
		p := (rate*n + 0.5) / (n + 1)
		d.vary = guesses*(1-p)/p + guesses*guesses*(1-p)/(p*n)
	}
	return d, nil
}

// guess is a candidate whose answer is not known and has nothing against it.
func (r *run) guess(q question) curate.Candidate {
	return curate.Candidate{
		Text: curate.TextOf(q.source.name, q.source.task, q.problem), Sample: q.request.Sample, Messages: q.problem.StudentMessages(),
		Exchange: &exchange.Exchange{Status: 200, TermsID: r.teacher.terms.ID, Answer: exchange.Answer{
			Content: "?", Reasoning: "?", FinishReason: r.Accept.FinishReason[0],
		}},
		Verdict: task.Verdict{Reason: task.ReasonNoGold},
	}
}

// line is a least-squares fit y = at + slope·(x − center), with what is needed
// for the variance of sums that it predicts.
type line struct {
	n                 float64
	at, slope, center float64
	s2, sxx           float64 // of the residuals; sum of squares of x around center
}

// fit fits y to x. The slope is kept only where x explains y: by an F test at
// 1%, and from eight points on.
func fit(x, y []float64) line {
	n := float64(len(x))
	l := line{n: n, center: stat.Mean(x, nil), at: stat.Mean(y, nil)}
	if len(y) > 1 {
		l.s2 = stat.Variance(y, nil)
	}
	l.sxx = stat.Variance(x, nil) * (n - 1)
	if len(x) < 8 || !(l.sxx > 0) || !(l.s2 > 0) {
		l.sxx = 0
		return l
	}
	_, slope := stat.LinearRegression(x, y, nil, false)
	rest := 0.0
	for i := range x {
		e := y[i] - l.at - slope*(x[i]-l.center)
		rest += e * e
	}
	s2 := rest / (n - 2)
	if explained := l.s2*(n-1) - rest; s2 > 0 && (distuv.F{D1: 1, D2: n - 2}).Survival(explained/s2) > 0.01 {
		l.sxx = 0
		return l
	}
	l.slope, l.s2 = slope, s2
	return l
}

// sum predicts the sum of y over n points whose x add up to total, and its
// variance: of the noise, and of the fit.
func (l line) sum(n, total float64) (value, variance float64) {
	if n == 0 {
		return 0, 0
	}
	off := total/n - l.center
	value = n * (l.at + l.slope*off)
	variance = n*l.s2 + n*n*l.s2/l.n
	if l.sxx > 0 {
		variance += n * n * l.s2 * off * off / l.sxx
	}
	return max(0, value), variance
}

func column(seen []observation, of func(observation) float64) []float64 {
	out := make([]float64, len(seen))
	for i, o := range seen {
		out[i] = of(o)
	}
	return out
}

// add sums the sources' forecasts.
func (e *Estimate) add(all []forecast, pooled forecast, p price.Price) {
	bytes := func(o observation) float64 { return o.bytes }
	input := func(o observation) float64 { return o.input }
	output := func(o observation) float64 { return o.output }
	cached := stat.Mean(column(pooled.seen, func(o observation) float64 { return o.cached }), nil)
	inputPrice := (1-cached)*float64(p.Input) + cached*float64(p.CachedInput)
	lost := column(pooled.seen, func(o observation) float64 { // beyond its usage, as a share of the worst case
		if o.worst > 0 {
			return o.excess / o.worst
		}
		return 0
	})
	excess, spread := stat.Mean(lost, nil), 0.0
	if len(lost) > 1 {
		spread = stat.Variance(lost, nil)
	}
	var usd, variance, asksVariance float64
	least := math.MaxInt
	for _, f := range all {
		seen := f.seen
		if len(seen) < fewest {
			seen = pooled.seen
		}
		d := f.want
		in, inVar := fit(column(seen, bytes), column(seen, input)).sum(d.n, d.bytes)
		out, outVar := fit(column(seen, bytes), column(seen, output)).sum(d.n, d.bytes)
		cost := in*inputPrice + out*float64(p.Output)
		cost += d.worst * excess
		e.Asks += d.n
		e.Input += in
		e.Output += out
		usd += cost
		variance += inVar*inputPrice*inputPrice + outVar*float64(p.Output)*float64(p.Output)
		asksVariance += d.vary
		if d.n > 0 {
			variance += d.worst * d.worst * spread * (1/d.n + 1/float64(len(lost)))
			variance += d.vary * (cost / d.n) * (cost / d.n)
			least = min(least, len(seen))
		}
	}
	t := 1.96
	if least < math.MaxInt && least > 1 {
		t = distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(least - 1)}.Quantile(0.975)
	}
	half := t * math.Sqrt(variance)
	dollar := float64(exchange.Dollar)
	e.USD, e.CI = usd/dollar, [2]float64{max(0, usd-half) / dollar, (usd + half) / dollar}
	asks := 1.96 * math.Sqrt(asksVariance)
	e.AsksCI = [2]float64{max(0, e.Asks-asks), e.Asks + asks}
	if usd > 0 && half > 0.1*usd {
		ratio := half / (0.1 * usd)
		e.Need = min(int(math.Ceil(float64(e.Answers)*ratio*ratio)), e.Answers+int(math.Ceil(e.Asks)))
	}
}

// duration is how long asking takes: as long as the answers that there are
// took, side by side, but no faster than the limits allow.
func (r *run) duration(e *Estimate, seen []observation) float64 {
	l := r.Teacher.Limits
	mean := stat.Mean(column(seen, func(o observation) float64 { return o.seconds }), nil)
	seconds := e.Asks * mean / float64(l.Concurrent)
	if l.RPM > 0 {
		seconds = max(seconds, 60*e.Asks/float64(l.RPM))
	}
	if l.TPM > 0 {
		seconds = max(seconds, 60*(e.Input+e.Output)/float64(l.TPM))
	}
	return seconds
}
