package serve

import (
	"math"
	"math/rand/v2"
	"slices"
)

// sampling says how the next token is drawn.
type sampling struct {
	temperature float64 // 0: the likeliest token
	topP        float64 // of the likeliest tokens that make up this share; 1: of all
	topK        int     // of so many likeliest tokens; 0: of all
	minP        float64 // of tokens at least this share as likely as the likeliest; 0: of all
}

// sampler draws tokens for one sequence. Equal logits are taken in the order
// of their ids.
type sampler struct {
	sampling
	rng   *rand.Rand
	order []candidate // reused
}

type candidate struct {
	id    int32
	logit float32
	p     float64
}

func newSampler(s sampling, seed, choice uint64) *sampler {
	return &sampler{sampling: s, rng: rand.New(rand.NewPCG(seed, choice))}
}

// next draws a token.
func (s *sampler) next(logits []float32) int32 {
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
		if p < s.minP {
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
