package ledgertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"retort/exchange"
	"retort/ledger"
)

// journal remembers what was appended and what was acknowledged.
type journal struct {
	mu     sync.Mutex
	asked  map[mark]ledger.Record
	acked  map[mark]bool
	failed bool // an Append has failed
	errs   []string
}

// mark identifies a record by its appender and number; it is the record's head.
type mark struct {
	Appender int `json:"appender"`
	Number   int `json:"number"`
}

func newJournal() *journal {
	return &journal{asked: make(map[mark]ledger.Record), acked: make(map[mark]bool)}
}

// snapshot returns a journal of what is acknowledged at this moment. What was
// asked is shared, since a record may be found that is only being appended.
func (j *journal) snapshot() map[mark]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	acked := make(map[mark]bool, len(j.acked))
	for m := range j.acked {
		acked[m] = true
	}
	return acked
}

// appender appends records of its own, one call at a time.
type appender struct {
	j      *journal
	id     int
	number int
	rng    *rand.Rand
}

func (j *journal) appender(id int, seed uint64) *appender {
	return &appender{j: j, id: id, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
}

// append asks for n records in one call and notes whether they were
// acknowledged. It reports an acknowledgement that must not be.
func (a *appender) append(ctx context.Context, s ledger.Appender, n int) error {
	recs := make([]ledger.Record, n)
	marks := make([]mark, n)
	a.j.mu.Lock()
	for i := range recs {
		marks[i] = mark{a.id, a.number}
		a.number++
		recs[i] = a.record(marks[i])
		a.j.asked[marks[i]] = recs[i]
	}
	failed := a.j.failed
	a.j.mu.Unlock()
	err := s.Append(ctx, recs...)
	a.j.mu.Lock()
	defer a.j.mu.Unlock()
	if err != nil {
		a.j.failed = true
		return err
	}
	if failed {
		a.j.errs = append(a.j.errs, fmt.Sprintf("record %v was acknowledged after an Append had failed", marks[0]))
	}
	for _, m := range marks {
		a.j.acked[m] = true
	}
	return nil
}

// record makes a record whose body is empty, short, compressible or random, and
// now and then longer than a block of any format.
func (a *appender) record(m mark) ledger.Record {
	head, err := json.Marshal(m)
	if err != nil {
		panic(err) // two integers
	}
	var id exchange.ID
	for i := range id {
		id[i] = byte(a.rng.Uint32())
	}
	id[0] &= 0x1f
	r := ledger.Record{Kind: ledger.KindIntent, Exchange: id, Time: a.rng.Int64(), Head: head}
	switch a.rng.IntN(6) {
	case 0:
	case 1:
		r.Body = []byte("short")
	case 2:
		r.Body = []byte(strings.Repeat("compressible ", 1+a.rng.IntN(2000)))
	case 3:
		r.Body = noise(a.rng, 1+a.rng.IntN(40_000))
	default:
		r.Body = noise(a.rng, 1+a.rng.IntN(3000))
	}
	return r
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// check reads a store and compares: every acknowledged record once, each
// appender's in order, and nothing that was not appended.
func (j *journal) check(ctx context.Context, r ledger.Reader, acked map[mark]bool) error {
	last := make(map[int]int)
	found := make(map[mark]bool)
	err := r.Scan(ctx, func(rec ledger.Record) error {
		var m mark
		if err := json.Unmarshal(rec.Head, &m); err != nil {
			return fmt.Errorf("a record appears that was never appended: head %q", rec.Head)
		}
		j.mu.Lock()
		want, ok := j.asked[m]
		j.mu.Unlock()
		switch {
		case !ok:
			return fmt.Errorf("record %v appears, which was never appended", m)
		case rec.Kind != want.Kind || rec.Exchange != want.Exchange || rec.Time != want.Time || !bytes.Equal(rec.Body, want.Body) || rec.Erased:
			return fmt.Errorf("record %v is not as it was appended", m)
		case found[m]:
			return fmt.Errorf("record %v appears twice", m)
		}
		if n, ok := last[m.Appender]; ok && m.Number <= n {
			return fmt.Errorf("record %v comes after record %d of the same appender", m, n)
		}
		last[m.Appender], found[m] = m.Number, true
		return nil
	})
	if err != nil {
		return err
	}
	for m := range acked {
		if !found[m] {
			return fmt.Errorf("record %v was acknowledged and is lost (%d of %d acknowledged records are there)", m, len(found), len(acked))
		}
	}
	return nil
}
