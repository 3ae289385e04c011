package commit

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"retort/exchange"
	"retort/internal/text"
)

// A later prompt that holds a served answer would leak its coin to whoever trains on
// prompts. Answers are therefore known again by marks: hashes of runs of words, of
// both arms alike, so that what is refused does not depend on the coin. A copy of
// copyWords words in a row is always found; an answer of fewer than leastRun words,
// or a paraphrase, never.
const (
	runWords  = 5  // of a run
	leastRun  = 3  // of an answer that is shorter than a run
	window    = 4  // of neighbouring runs the one with the least hash is kept
	mostMarks = 64 // of one answer
	copyWords = runWords + window - 1
)

func runHash(words []string) uint64 { return xxh3.HashString(strings.Join(words, " ")) }

// marksOf returns the marks of a pair: runs of words that its own prompt has too are
// left out.
func marksOf(prompt []exchange.Message, arms [2]Answer) []uint64 {
	own := map[uint64]bool{}
	eachRun(prompt, func(h uint64) bool { own[h] = true; return true })
	var all []uint64
	for _, a := range arms {
		words := text.Words(a.Reasoning + "\n" + a.Content)
		var marks []uint64
		switch {
		case len(words) < leastRun:
			continue
		case len(words) < runWords:
			marks = []uint64{runHash(words)}
		default:
			marks = winnow(words)
		}
		slices.Sort(marks)
		marks = slices.DeleteFunc(slices.Compact(marks), func(h uint64) bool { return own[h] })
		all = append(all, marks[:min(len(marks), mostMarks)]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// winnow keeps the least hash of every window of runs (Schleimer, Wilkerson and
// Aiken, SIGMOD 2003).
func winnow(words []string) []uint64 {
	var hashes, kept []uint64
	for i := 0; i+runWords <= len(words); i++ {
		hashes = append(hashes, runHash(words[i:i+runWords]))
	}
	for i := 0; i == 0 || i+window <= len(hashes); i++ {
		kept = append(kept, slices.MinFunc(hashes[i:min(i+window, len(hashes))], cmp.Compare[uint64]))
	}
	return kept
}

// eachRun calls fn with the hash of every run of words of a prompt until it says no.
func eachRun(prompt []exchange.Message, fn func(uint64) bool) {
	for _, m := range prompt {
		words := text.Words(m.Content)
		for i := range words {
			for n := leastRun; n <= runWords && i+n <= len(words); n++ {
				if !fn(runHash(words[i : i+n])) {
					return
				}
			}
		}
	}
}

func encodeMarks(marks []uint64) string {
	b := make([]byte, 0, 8*len(marks))
	for _, m := range marks {
		b = binary.LittleEndian.AppendUint64(b, m)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func decodeMarks(s string) ([]uint64, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b)%8 != 0 {
		return nil, errors.New("marks are not what they have to be")
	}
	marks := make([]uint64, len(b)/8)
	for i := range marks {
		marks[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return marks, nil
}
