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
	s.order = s.order[:0]
	top := float64(logits[argmax(logits)])
	for i, l := range logits {
		s.order = append(s.order, candidate{id: int32(i), logit: l, p: math.Exp((float64(l) - top) / s.temperature)})
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
	total := 0.0
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
	at := s.rng.Float64() * total
	for _, c := range s.order {
		if at -= c.p; at < 0 {
			return c.id
		}
	}
	return s.order[len(s.order)-1].id
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
	ids := make([]int32, len(logits))
	for i := range ids {
		ids[i] = int32(i)
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	var likeliest []tokenLogprob
	for _, id := range ids[:min(top, len(ids))] {
		likeliest = append(likeliest, tokenLogprob{id, float64(logits[id]) - lse})
	}
	return tokenLogprob{chosen, float64(logits[chosen]) - lse}, likeliest
}
