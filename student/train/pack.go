package train

import (
	"math/rand/v2"
)

// packer deals the sequences of a training set into steps. It keeps no
// position: epoch e is always the same shuffle cut at the same places, a
// function of the seed, e and the lengths alone, which is what makes a resumed
// run continue exactly.
//
// Sequences stay whole and nothing is padded. An epoch of T tokens is cut into
// n = round(T / batchTokens) steps of nearly equal size, so no step at the end
// of an epoch is so small that its gradient would be noise; a step differs from
// T/n by about half a sequence.
type packer struct {
	lengths     []int // of each usable sequence, in the order of the data
	total       int   // their sum: tokens of an epoch
	batchTokens int
	seed        uint64

	epoch int     // which epoch order and ends describe; -1 for none
	order []int32 // the shuffled sequence numbers
	ends  []int32 // step s of the epoch is order[ends[s-1]:ends[s]]
	pcg   rand.PCG
	rng   *rand.Rand
}

func newPacker(lengths []int, batchTokens int, seed uint64) *packer {
	p := &packer{lengths: lengths, batchTokens: batchTokens, seed: seed, epoch: -1, order: make([]int32, len(lengths))}
	for _, n := range lengths {
		p.total += n
	}
	p.ends = make([]int32, 0, p.target()+1)
	p.rng = rand.New(&p.pcg)
	return p
}

// target is the number of steps that an epoch is meant to have.
func (p *packer) target() int {
	return max(1, (p.total+p.batchTokens/2)/p.batchTokens)
}

// load makes order and ends those of the epoch. It allocates nothing.
func (p *packer) load(epoch int) {
	if p.epoch == epoch {
		return
	}
	p.epoch = epoch
	for i := range p.order {
		p.order[i] = int32(i)
	}
	p.pcg.Seed(p.seed, uint64(epoch)^0x7061636b) // "pack": no other use of the seed draws this stream
	p.rng.Shuffle(len(p.order), func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })

	p.ends = p.ends[:0]
	rest, steps := p.total, p.target()
	for i := 0; i < len(p.order); {
		n, size := p.cut(p.order[i:], rest, steps-len(p.ends))
		i += n
		rest -= size
		p.ends = append(p.ends, int32(i))
	}
}

// cut returns how many of the first of seqs, which hold rest tokens, come nearest
// to one of left equal parts, and their tokens: at least one, and all where left is 1.
func (p *packer) cut(seqs []int32, rest, left int) (n, size int) {
	if left <= 1 {
		return len(seqs), rest
	}
	want := rest / left
	for _, i := range seqs {
		if over := size + p.lengths[i] - want; n > 0 && over > 0 && over > want-size {
			break // stopping short is nearer to the size wanted
		}
		size += p.lengths[i]
		n++
	}
	return n, size
}

// step returns the sequences of step s of the loaded epoch.
func (p *packer) step(s int) []int32 {
	from := int32(0)
	if s > 0 {
		from = p.ends[s-1]
	}
	return p.order[from:p.ends[s]]
}

// tokens counts the tokens of sequences.
func (p *packer) tokens(seqs []int32) int {
	n := 0
	for _, i := range seqs {
		n += p.lengths[i]
	}
	return n
}

// span is the extent of a run, found by packing it on paper.
type span struct {
	steps    int
	tokens   int64
	largest  int   // tokens of the largest part of a step
	epochEnd []int // steps up to and including each epoch begun
}

// measure packs whole epochs until the number of epochs or, where that is 0,
// the token budget is reached; the last step is the one that reaches it. Steps
// are computed in so many parts.
func (p *packer) measure(epochs int, budget int64, parts int) span {
	var s span
	for e := 0; epochs == 0 || e < epochs; e++ {
		p.load(e)
		for i := range p.ends {
			s.steps++
			rest := p.step(i)
			for left := parts; len(rest) > 0; left-- {
				n, size := p.cut(rest, p.tokens(rest), left)
				rest = rest[n:]
				s.tokens += int64(size)
				s.largest = max(s.largest, size)
			}
			if epochs == 0 && s.tokens >= budget {
				s.epochEnd = append(s.epochEnd, s.steps)
				return s
			}
		}
		s.epochEnd = append(s.epochEnd, s.steps)
	}
	return s
}
