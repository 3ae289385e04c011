package task

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
)

// Split separates the problems that a student is examined on from those that
// it may learn from.
type Split struct {
	// Heldout are the examination problems, in a fixed order, no ID twice.
	Heldout []Problem
	// Train yields training problems in a fixed order, each time from the
	// start: none has the ID of a held-out problem or of an earlier one. It
	// ends when the problems are exhausted.
	Train iter.Seq[Problem]
	// Skipped are problems of a Corpus that Train leaves out, with the reason.
	Skipped []Skipped
}

// Skipped is a problem that is not used, and why.
type Skipped struct {
	Problem Problem
	Reason  string // SkipDuplicate or SkipHeldout
}

// Reasons for leaving a problem of a file out.
const (
	SkipDuplicate = "duplicate" // the same problem stands earlier in the file
	SkipHeldout   = "heldout"   // the same problem is held out
)

// exhausted is how many draws in a row must give nothing new before a family
// counts as exhausted. With 90·91/2 products of two digits, the last one left
// is missed with probability e⁻¹⁶.
const exhausted = 1 << 16

// NewSplit draws held-out problems and training problems from a family. Both
// sequences depend on the seed and the family's parameters alone, and the
// held-out problems not on how many training problems are taken.
func NewSplit(f Family, seed uint64, heldout int) (Split, error) {
	if heldout < 0 {
		return Split{}, fmt.Errorf("family %s: cannot hold out %d problems", f.Name(), heldout)
	}
	var s Split
	held := make(map[string]bool, heldout)
	if heldout > 0 {
		for p := range draw(f, stream(seed, f.Name(), "heldout"), held) {
			if s.Heldout = append(s.Heldout, p); len(s.Heldout) == heldout {
				break
			}
		}
	}
	if len(s.Heldout) < heldout {
		return Split{}, fmt.Errorf("family %s has only %d problems at this difficulty, of which %d cannot be held out; ask for fewer or make it harder",
			f.Name(), len(s.Heldout), heldout)
	}
	s.Train = func(yield func(Problem) bool) {
		seen := make(map[string]bool, 2*len(held))
		for id := range held {
			seen[id] = true
		}
		for p := range draw(f, stream(seed, f.Name(), "train"), seen) {
			if !yield(p) {
				return
			}
		}
	}
	return s, nil
}

// draw yields problems whose ID is not in seen and adds it there.
func draw(f Family, rng *rand.Rand, seen map[string]bool) iter.Seq[Problem] {
	return func(yield func(Problem) bool) {
		for idle := 0; idle < exhausted; idle++ {
			p := f.Generate(rng)
			if seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			idle = -1
			if !yield(p) {
				return
			}
		}
	}
}

// stream returns the random numbers for one purpose, independent of those for
// any other.
func stream(seed uint64, parts ...string) *rand.Rand {
	h := sha256.New()
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], seed)
	h.Write(n[:])
	for _, p := range parts {
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return rand.New(rand.NewChaCha8([32]byte(h.Sum(nil))))
}
