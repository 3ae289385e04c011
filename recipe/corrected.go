package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"retort/exchange"
)

// corrected digests the corrections of answers to the run's own questions, ""
// if there are none: what was made before they came is made again.
func (r *run) corrected() (string, error) {
	if len(r.held.corrections) == 0 {
		return "", nil
	}
	left := map[exchange.Key]*exchange.Exchange{} // corrected answers that the run may have
	for key, x := range r.held.answers.answers {
		if r.held.corrections[x.ID] != nil {
			left[key] = x
		}
	}
	template, err := r.request(r.teacher)
	if err != nil {
		return "", err
	}
	var lines []string
	for i := range r.sources {
		s := &r.sources[i]
		if s.given != nil && s.given.served != nil { // known by their ids, and not by keys
			for p := range s.split.Train {
				id := s.given.items[p.ID].exchange.ID
				if human := r.held.corrections[id]; human != nil {
					lines = append(lines, id.String()+" "+human.ID.String()+"\n")
				}
			}
			continue
		}
		n := 0
		for q := range r.questions(template, s) {
			if n++; n > r.horizon(s) || len(left) == 0 {
				break
			}
			key, err := s.key(q)
			if err != nil {
				return "", err
			}
			if x := left[key]; x != nil {
				lines = append(lines, x.ID.String()+" "+r.held.corrections[x.ID].ID.String()+"\n")
				delete(left, key)
			}
		}
	}
	if lines == nil {
		return "", nil
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:]), nil
}

// key is the prompt key under which the ledger holds the answer to a question.
func (s *promptSource) key(q question) (exchange.Key, error) {
	if s.given != nil {
		return s.given.items[q.problem.ID].exchange.Key, nil
	}
	return q.request.Key()
}
