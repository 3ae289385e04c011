package serve

import (
	"math"
	"math/rand/v2"
	"slices"

	"retort/student/constrain"
)

// sampling says how the next token is drawn.
type sampling struct {
	temperature float64 // 0: the likeliest token
	topP        float64 // of the likeliest tokens that make up this share; 1: of all
	topK        int     // of so many likeliest tokens; 0: of all
	minP        float64 // of tokens at least this share as likely as the likeliest; 0: of all

	bias       []tokenBias
	presence   float64               // taken off the logit of each token drawn before
	frequency  float64               // likewise, for each time that it was
	constraint *constrain.Constraint // what the text is kept to; nil: nothing
}

// tokenBias is added to a token's logit.
type tokenBias struct {
	id int32
	by float32
}

// sampler draws tokens for one sequence. Equal logits are taken in the order
// of their ids.
type sampler struct {
	sampling
	rng   *rand.Rand
	order []candidate // reused

	drawn   map[int32]int // how often, where there are penalties
	matcher *constrain.Matcher
	mask    []uint64  // reused, of tokens that may come next
	changed []float32 // reused, the logits with biases, penalties and mask
}

type candidate struct {
	id    int32
	logit float32
	p     float64
}

func newSampler(s sampling, seed, choice uint64) *sampler {
	out := &sampler{sampling: s, rng: rand.New(rand.NewPCG(seed, choice))}
	if s.presence != 0 || s.frequency != 0 {
		out.drawn = map[int32]int{}
	}
	if s.constraint != nil {
		out.matcher = s.constraint.NewMatcher()
	}
	return out
}

// next draws a token. It fails where the text can go no further in the form that
// it is kept to.
func (s *sampler) next(logits []float32) (int32, error) {
	logits, err := s.adjust(logits)
	if err != nil {
		return 0, err
	}
	id := s.draw(logits)
	if s.drawn != nil {
		s.drawn[id]++
	}
	if s.matcher != nil {
		err = s.matcher.Accept(id)
	}
	return id, err
}

// complete reports whether the text has the form that it is kept to and nothing
// can follow.
func (s *sampler) complete() bool { return s.matcher != nil && s.matcher.Done() }

// adjust returns the logits with biases, penalties and mask, in this order. The
// model's own stay as they are: log-probabilities are told of those.
func (s *sampler) adjust(logits []float32) ([]float32, error) {
	if s.bias == nil && s.drawn == nil && s.matcher == nil {
		return logits, nil
	}
	s.changed = append(s.changed[:0], logits...)
	for _, b := range s.bias {
		s.changed[b.id] += b.by
	}
	for id, n := range s.drawn {
		s.changed[id] -= float32(float64(n)*s.frequency + s.presence)
	}
	if s.matcher == nil {
		return s.changed, nil
	}
	if s.mask == nil {
		s.mask = make([]uint64, (len(logits)+63)/64)
	}
	if err := s.matcher.Allowed(s.mask); err != nil {
		return nil, err
	}
	for i := range s.changed {
		if s.mask[i>>6]>>(i&63)&1 == 0 {
			s.changed[i] = excluded
		}
	}
	return s.changed, nil
}

// excluded is the logit of a token that may not be drawn.
var excluded = float32(math.Inf(-1))

// draw chooses by the logits.
func (s *sampler) draw(logits []float32) int32 {
	if s.temperature == 0 || s.topK == 1 {
		return argmax(logits)
	}
	total := s.keep(logits)
	at := s.rng.Float64() * total
	for _, c := range s.order {
		if at -= c.p; at < 0 {
			return c.id
		}
	}
	return s.order[len(s.order)-1].id
}

// keep sets order to the tokens that may be drawn and returns the sum of their
// shares. The temperature comes first; of what min_p and top_k leave, top_p
// takes its part (vLLM's order).
func (s *sampler) keep(logits []float32) (total float64) {
	s.order = s.order[:0]
	top := float64(logits[argmax(logits)])
	for i, l := range logits {
		p := math.Exp((float64(l) - top) / s.temperature) // relative to the likeliest token
		if p < s.minP || l == excluded {
			continue
		}
		s.order = append(s.order, candidate{id: int32(i), logit: l, p: p})
	}
	if s.topK > 0 || s.topP < 1 {
		slices.SortStableFunc(s.order, func(a, b candidate) int {
			switch {
			case a.logit > b.logit:
				return -1
			case a.logit < b.logit:
				return 1
			}
			return 0
		})
		if s.topK > 0 && s.topK < len(s.order) {
			s.order = s.order[:s.topK]
		}
	}
	for _, c := range s.order {
		total += c.p
	}
	if s.topP < 1 {
		sum := 0.0
		for i, c := range s.order {
			if sum += c.p; sum >= s.topP*total {
				s.order, total = s.order[:i+1], sum
				break
			}
		}
	}
	return total
}

// argmax is the first of the largest values.
func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// tokenLogprob is the log-probability of a token under the model itself,
// before temperature and truncation.
type tokenLogprob struct {
	id      int32
	logprob float64
}

// logprobsOf returns that of the chosen token and of the top likeliest.
func logprobsOf(logits []float32, chosen int32, top int) (tokenLogprob, []tokenLogprob) {
	best := float64(logits[argmax(logits)])
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - best)
	}
	lse := best + math.Log(sum)
	if top == 0 {
		return tokenLogprob{chosen, float64(logits[chosen]) - lse}, nil
	}
	// The likeliest so far, in order: few, so that each is put in its place. Of
	// equals the first stays before.
	likeliest := make([]tokenLogprob, 0, min(top, len(logits))+1)
	for id, l := range logits {
		p := float64(l) - lse
		if len(likeliest) == top && p <= likeliest[top-1].logprob {
			continue
		}
		at := len(likeliest)
		for at > 0 && likeliest[at-1].logprob < p {
			at--
		}
		likeliest = slices.Insert(likeliest, at, tokenLogprob{int32(id), p})
		likeliest = likeliest[:min(len(likeliest), top)]
	}
	return tokenLogprob{chosen, float64(logits[chosen]) - lse}, likeliest
}
