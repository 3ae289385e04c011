package detect

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"retort/exchange"
	"retort/ledger"
)

// Window is how long an exchange waits for others that were sent before it. What
// comes shuffled within less than it is counted as if it had come in order.
const Window = 2 * time.Minute

// Counts says what became of what was read: each exchange is in one of them.
type Counts struct {
	Counted    int64 `json:"counted"`
	Failed     int64 `json:"failed"`     // without an answer
	NoText     int64 `json:"no_text"`    // recorded without its request
	NoAccount  int64 `json:"no_account"` // of nobody known, such as our own calls
	Unreadable int64 `json:"unreadable"`
	Open       int64 `json:"open"` // begun and not ended
	Late       int64 `json:"late"` // of those counted: they came out of order
}

// Detector reads exchanges in one pass and keeps at most MaxState of an account. It
// is used by one goroutine.
//
//	Record, Exchange, Add   what was served
//	Report                  what it amounts to so far
//	Save, Restore           so that a detector that was killed goes on
type Detector struct {
	cal      *Calibration
	accounts map[string]*profile
	marks    map[string]string
	waiting  waiting
	latest   int64 // when the latest exchange was sent
	counted  int64 // up to which exchanges were counted
	open     map[exchange.ID]*Event
	counts   Counts
	add      func(*Event) // what becomes of an event; nil: Add
	sink     func(*sighting)
}

// NewDetector makes a detector. Without a calibration it ranks by the score that
// is part of the program, and says no more.
func NewDetector(c *Calibration) (*Detector, error) {
	if c == nil {
		var err error
		if c, err = builtin(); err != nil {
			return nil, err
		}
	}
	return &Detector{cal: c, accounts: make(map[string]*profile), marks: make(map[string]string), open: make(map[exchange.ID]*Event)}, nil
}

// waiting holds exchanges in the order in which they were sent.
type waiting []*sighting

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return before(w[i], w[j]) < 0 }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(*sighting)) }
func (w *waiting) Pop() any {
	old := *w
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return x
}

func before(a, b *sighting) int {
	return cmp.Or(cmp.Compare(a.sent, b.sent), bytes.Compare(a.id[:], b.id[:]))
}

// Record reads a record of a ledger: intents and ends of exchanges that a gateway
// served, and marks. Others are passed over.
func (d *Detector) Record(rec ledger.Record) error {
	switch rec.Kind {
	case ledger.KindIntent:
		// Most of an intent is not looked at, and a ledger is read whole.
		var in struct {
			Origin  exchange.Origin `json:"origin"`
			Account string          `json:"account"`
			Queued  int64           `json:"queued"`
			Sent    int64           `json:"sent"`
		}
		if err := json.Unmarshal(rec.Head, &in, lenient); err != nil {
			return fmt.Errorf("intent of exchange %s: %w", rec.Exchange, err)
		}
		if in.Origin != exchange.OriginServed || in.Account == "" {
			d.counts.NoAccount++
			return nil
		}
		ev := &Event{ID: rec.Exchange, Account: in.Account, Sent: cmp.Or(in.Sent, in.Queued, rec.Time)}
		switch {
		case len(rec.Body) == 0:
			d.counts.NoText++
			return nil
		case errors.Is(ev.request(rec.Body), ErrNoText):
			d.counts.NoText++
			return nil
		case ev.Messages == nil:
			d.counts.Unreadable++
			return nil
		}
		d.open[rec.Exchange] = ev
	case ledger.KindEnd:
		ev := d.open[rec.Exchange]
		if ev == nil {
			return nil
		}
		delete(d.open, rec.Exchange)
		var end struct {
			Status     int                 `json:"status"`
			ErrorClass exchange.ErrorClass `json:"error_class"`
			Answer     exchange.Answer     `json:"answer"`
			Usage      exchange.Usage      `json:"usage"`
			Times      exchange.Times      `json:"times"`
		}
		if err := json.Unmarshal(rec.Head, &end, lenient); err != nil {
			return fmt.Errorf("end of exchange %s: %w", rec.Exchange, err)
		}
		if end.ErrorClass != "" || end.Status < 200 || end.Status >= 300 {
			d.counts.Failed++
			return nil
		}
		ev.Answer, ev.Usage, ev.Last = end.Answer, end.Usage, cmp.Or(end.Times.LastByte, rec.Time)
		if d.add != nil {
			d.add(ev)
			return nil
		}
		d.Add(ev)
	case ledger.KindMark:
		m, err := ledger.ParseMark(rec)
		if err != nil {
			return err
		}
		d.marks[m.Account] = m.Mark
	}
	return nil
}

// EventsOf calls fn with every event of a ledger, those that were sent close to each
// other in the order of time.
func EventsOf(ctx context.Context, r ledger.Reader, fn func(*Event) error) error {
	d := &Detector{open: make(map[exchange.ID]*Event), marks: make(map[string]string)}
	var queue []*Event
	byTime := func(a, b *Event) int {
		return cmp.Or(cmp.Compare(a.Sent, b.Sent), bytes.Compare(a.ID[:], b.ID[:]))
	}
	latest := int64(0)
	give := func(until int64) error {
		slices.SortFunc(queue, byTime)
		n := 0
		for ; n < len(queue) && queue[n].Sent < until; n++ {
			if err := fn(queue[n]); err != nil {
				return err
			}
		}
		queue = slices.Delete(queue, 0, n)
		return nil
	}
	d.add = func(ev *Event) {
		queue = append(queue, ev)
		latest = max(latest, ev.Sent)
	}
	enough := 1 << 14
	err := r.Scan(ctx, func(rec ledger.Record) error {
		if err := d.Record(rec); err != nil {
			return err
		}
		if len(queue) < enough {
			return nil
		}
		err := give(latest - int64(Window))
		// What is left is too young to be given: it is not sorted again for every one
		// that comes.
		enough = max(1<<14, 2*len(queue))
		return err
	})
	if err != nil {
		return err
	}
	return give(math.MaxInt64)
}

// Exchange reads a whole exchange, such as an imported one.
func (d *Detector) Exchange(e *exchange.Exchange) {
	if e.Account == "" {
		d.counts.NoAccount++
		return
	}
	if !e.OK() {
		d.counts.Failed++
		return
	}
	ev, err := FromExchange(e)
	switch {
	case errors.Is(err, ErrNoText):
		d.counts.NoText++
	case err != nil:
		d.counts.Unreadable++
	default:
		d.Add(&ev)
	}
}

// Add reads an event.
func (d *Detector) Add(ev *Event) {
	d.counts.Counted++
	s := look(ev)
	if d.sink != nil {
		d.sink(&s)
		return
	}
	d.take(&s)
}

// ahead is how many exchanges are handed over at a time.
const ahead = 128

// Ahead calls read, which may call Record, Exchange and Add, and counts what it reads
// in another goroutine meanwhile. It returns when all is counted.
func (d *Detector) Ahead(read func() error) error {
	hand := make(chan []*sighting, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for list := range hand {
			for _, s := range list {
				d.take(s)
			}
		}
	}()
	list := make([]*sighting, 0, ahead)
	d.sink = func(s *sighting) {
		if list = append(list, s); len(list) == ahead {
			hand <- list
			list = make([]*sighting, 0, ahead)
		}
	}
	defer func() {
		d.sink = nil
		hand <- list
		close(hand)
		<-done
	}()
	return read()
}

// take puts an exchange among those that wait, and counts those that waited enough.
func (d *Detector) take(s *sighting) {
	if s.sent < d.counted {
		d.counts.Late++
		d.count(d.accounts, s)
		return
	}
	d.latest = max(d.latest, s.sent)
	heap.Push(&d.waiting, s)
	for len(d.waiting) > 0 && d.waiting[0].sent < d.latest-int64(Window) {
		s := heap.Pop(&d.waiting).(*sighting)
		d.counted = s.sent
		d.count(d.accounts, s)
	}
}

// count adds an exchange to its account and judges that, if it is at a look.
func (d *Detector) count(accounts map[string]*profile, s *sighting) {
	p := accounts[s.account]
	if p == nil {
		p = newProfile()
		accounts[s.account] = p
	}
	p.add(s, &d.cal.Model)
	at := slices.Index(Looks[:], int(p.n))
	if at < 0 {
		return
	}
	f := p.features(&d.cal.Model)
	z := d.cal.Model.standard(&f)
	p.looks[at] = looked{float32(d.cal.Model.score(&z)), int16(d.cal.Model.segment(&z)), true}
}

// settled is every account as it is once what waits is counted too; the detector
// itself goes on waiting.
func (d *Detector) settled() map[string]*profile {
	if len(d.waiting) == 0 {
		return d.accounts
	}
	all := maps.Clone(d.accounts)
	list := slices.Clone(d.waiting)
	slices.SortFunc(list, before)
	copied := make(map[string]bool)
	for i := range list {
		name := list[i].account
		if p := all[name]; p != nil && !copied[name] {
			c := *p
			c.prompts, c.words = p.prompts.Clone(), p.words.Clone()
			all[name] = &c
		}
		copied[name] = true
		d.count(all, list[i])
	}
	return all
}

// stateVersion opens a stored state.
const stateVersion = "retort detection state 1\n"

// stored is a detector's state but for its accounts.
type stored struct {
	Marks           map[string]string
	Latest, Counted int64
	Open            map[exchange.ID]*Event
	Counts          Counts
	Waiting         []storedSighting
	Accounts        int
	Model           [16]byte
}

// storedSighting is a sighting with its fields exported, for gob.
type storedSighting struct {
	ID                             exchange.ID
	Account                        string
	Sent, Last                     int64
	X                              [xCount]float32
	Out                            float32
	Prefix, Suffix, System, Prompt uint64
	Fresh                          bool
	Words                          []uint64
	Told                           uint32
}

// Save writes the detector's state. A detector with the same calibration that
// restores it, and is given what came since, says what this one would have said.
func (d *Detector) Save(w io.Writer) error {
	if _, err := io.WriteString(w, stateVersion); err != nil {
		return err
	}
	s := stored{Marks: d.marks, Latest: d.latest, Counted: d.counted, Open: d.open, Counts: d.counts, Accounts: len(d.accounts), Model: d.cal.Model.digest()}
	for _, v := range d.waiting {
		s.Waiting = append(s.Waiting, storedSighting{v.id, v.account, v.sent, v.last, v.x, v.out, v.prefix, v.suffix, v.system, v.prompt, v.fresh, v.words, v.told})
	}
	enc := gob.NewEncoder(w)
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("state of detection: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(d.accounts)) {
		raw, err := d.accounts[name].AppendBinary(nil)
		if err != nil {
			return fmt.Errorf("state of account %.12s: %w", name, err)
		}
		if err := enc.Encode(name); err != nil {
			return err
		}
		if err := enc.Encode(raw); err != nil {
			return err
		}
	}
	return nil
}

// Restore reads what Save wrote.
func (d *Detector) Restore(r io.Reader) error {
	head := make([]byte, len(stateVersion))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != stateVersion {
		return errors.New("it is no state of detection that this version reads: remove it, and the ledger is read from its beginning")
	}
	var s stored
	dec := gob.NewDecoder(r)
	if err := dec.Decode(&s); err != nil {
		return fmt.Errorf("state of detection: %w", err)
	}
	if s.Model != d.cal.Model.digest() {
		return errors.New("it is the state of detection with another calibration: remove it, and the ledger is read from its beginning")
	}
	accounts := make(map[string]*profile, s.Accounts)
	for range s.Accounts {
		var name string
		var raw []byte
		if err := errors.Join(dec.Decode(&name), dec.Decode(&raw)); err != nil {
			return fmt.Errorf("state of detection: %w", err)
		}
		p := &profile{}
		if err := p.UnmarshalBinary(raw); err != nil {
			return fmt.Errorf("state of account %.12s: %w", name, err)
		}
		accounts[name] = p
	}
	d.accounts, d.latest, d.counted, d.counts = accounts, s.Latest, s.Counted, s.Counts
	if d.marks = s.Marks; d.marks == nil {
		d.marks = make(map[string]string)
	}
	if d.open = s.Open; d.open == nil {
		d.open = make(map[exchange.ID]*Event)
	}
	d.waiting = nil
	for _, v := range s.Waiting {
		d.waiting = append(d.waiting, &sighting{v.ID, v.Account, v.Sent, v.Last, v.X, v.Out, v.Prefix, v.Suffix, v.System, v.Prompt, v.Fresh, v.Words, v.Told})
	}
	heap.Init(&d.waiting)
	return nil
}

// digest tells models apart.
func (m *Model) digest() [16]byte {
	var b []byte
	for _, list := range append([][]float64{m.Mean, m.Scale, m.Weights, m.WaveMean, m.XMean, m.XScale, {m.Bias}}, m.Centres...) {
		for _, v := range list {
			b = binary.LittleEndian.AppendUint64(b, uint64(int64(v*1e9)))
		}
	}
	return digestOf(b)
}

// StateBytes returns how much the state of an account takes, encoded; 0 for one
// that is not known.
func (d *Detector) StateBytes(account string) (int, error) {
	p := d.accounts[account]
	if p == nil {
		return 0, nil
	}
	raw, err := p.AppendBinary(nil)
	return len(raw), err
}

// Accounts returns how many accounts there are.
func (d *Detector) Accounts() int { return len(d.accounts) }
