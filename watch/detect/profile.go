package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/axiomhq/hyperloglog"

	"retort/exchange"
)

// MaxState is the most that the state of an account takes, encoded.
const MaxState = 4 << 10

// Sizes of an account's sketches.
const (
	waves   = 48 // random features of the kernel
	heavy   = 10 // beginnings and ends that are counted, the most frequent ones
	minima  = 48 // least hashes of its prompts
	hllBits = 9
	bloom   = 64 // words of a Bloom filter of its prompts, whole while they are few
	shown   = 2  // exchanges that are kept as examples of a signal
)

// counter is one of the most frequent values of an account, counted as Metwally,
// Agrawal and El Abbadi do (Space-Saving 2005): the count is too high by at most
// over.
type counter struct {
	key         uint64
	count, over uint32
}

type counters [heavy]counter

// add counts a value and returns how often it was surely seen before.
func (c *counters) add(key uint64) uint32 {
	least := 0
	for i := range c {
		if c[i].key == key {
			c[i].count++
			return c[i].count - 1 - c[i].over
		}
		if c[i].count < c[least].count {
			least = i
		}
	}
	c[least] = counter{key, c[least].count + 1, c[least].count}
	return 0
}

// top returns the most frequent value; the smaller key of equals.
func (c *counters) top() counter {
	best := c[0]
	for _, v := range c[1:] {
		if v.count-v.over > best.count-best.over || v.count-v.over == best.count-best.over && v.key < best.key {
			best = v
		}
	}
	return best
}

// profile is what is known of an account: sketches and sums, of a size that does
// not depend on how much it asked.
type profile struct {
	n           uint32 // exchanges
	fresh       uint32 // those in which a user speaks
	told        uint64 // words that users said
	short       uint32 // prompts of few words
	brief       uint32 // answers of few tokens
	joined      uint32 // exchanges before which something was said
	again       uint32 // prompts that it had sent before, while they are few
	seen        [bloom]uint64
	first, last int64 // when the first and the latest were sent
	until       int64 // when the latest answer was over
	reached     int64 // when the first look was reached; 0 if it was not
	out         float32
	sum, square [xCount]float64
	wave        [waves]float64
	prefix      counters
	suffix      counters
	system      counters
	prompts     *hyperloglog.Sketch
	words       *hyperloglog.Sketch
	least       [minima]uint64 // ascending; 0 is none
	hours       [24]uint16     // in which it asked, as counts that stop at their limit
	active      uint32         // hours in which it asked
	hour        int64          // the latest of them
	looks       [len(Looks)]looked
	examples    [groupCount][shown]example
}

// looked is an account's standing at one look.
type looked struct {
	score   float32
	segment int16
	done    bool
}

// example is an exchange that shows a signal. Which are kept depends on their ids
// alone.
type example struct {
	rank uint64 // the lowest stay; 0 is none
	id   exchange.ID
}

func newProfile() *profile {
	p := &profile{}
	p.prompts, _ = hyperloglog.NewSketch(hllBits, false) // the precision is one that it has
	p.words, _ = hyperloglog.NewSketch(hllBits, false)
	return p
}

// fastest is how many tokens a second nobody reads; fewWords is what a person says
// in passing and fewTokens a short answer.
const (
	fastest   = 25
	fewWords  = 7
	fewTokens = 48
)

// remember adds a prompt to the filter and reports whether it was there.
func (p *profile) remember(h uint64) bool {
	const bits = 64 * bloom
	there := true
	for _, at := range [2]uint64{h % bits, h / bits % bits} {
		w, bit := &p.seen[at/64], uint64(1)<<(at%64)
		there = there && *w&bit != 0
		*w |= bit
	}
	return there
}

// add counts one exchange. Those of an account come in the order in which they
// were sent; one that comes late is counted where it stands.
func (p *profile) add(s *sighting, m *Model) {
	x := s.x
	if p.n > 0 {
		pause := float64(s.sent-p.until) / 1e9
		x[xPause] = log1p(pause)
		x[xUnread] = flag(pause < float64(p.out)/fastest)
		x[xOverlap] = flag(pause < 0)
	} else {
		p.first = s.sent
		x[xPause] = log1p(3600)
	}
	p.last = max(p.last, s.sent)
	if s.last >= p.until || s.sent >= p.until {
		p.until, p.out = max(p.until, s.last), s.out
	}
	if s.out < fewTokens {
		p.brief++
	}
	if x[xSingle] == 0 {
		p.joined++
	}
	if hour := s.sent / 3.6e12; hour != p.hour || p.n == 0 {
		p.hour = hour
		p.active++
	}
	if h := &p.hours[s.sent/3.6e12%24]; *h < math.MaxUint16 {
		*h++
	}
	if s.fresh {
		p.fresh++
		if s.told < fewWords {
			p.short++
		}
		if p.remember(s.prompt) {
			p.again++
		}
		p.told += uint64(s.told)
		for _, w := range s.words {
			p.words.InsertHash(w)
		}
		p.prompts.InsertHash(s.prompt)
		p.keepLeast(s.prompt)
	}
	for _, k := range []struct {
		c   *counters
		key uint64
	}{{&p.prefix, s.prefix}, {&p.suffix, s.suffix}} {
		if k.key == 0 {
			continue
		}
		if k.c.add(k.key) > 0 {
			x[xTemplated] = 1
		}
	}
	if s.system != 0 {
		p.system.add(s.system)
	}
	if p.n++; p.n == uint32(Looks[0]) {
		p.reached = s.sent
	}
	for i, v := range x {
		p.sum[i] += float64(v)
		p.square[i] += float64(v) * float64(v)
	}
	m.waves(&x, &p.wave)
	p.show(s, &x)
}

// fewPrompts is up to how many prompts the filter is trusted.
const fewPrompts = 400

func (p *profile) keepLeast(h uint64) {
	h = scramble(h)
	if last := p.least[minima-1]; last != 0 && h >= last {
		return
	}
	n := minima
	for n > 0 && p.least[n-1] == 0 {
		n--
	}
	i, found := slices.BinarySearch(p.least[:n], h)
	if found {
		return
	}
	if n < minima {
		n++
	}
	copy(p.least[i+1:n], p.least[i:n-1])
	p.least[i] = h
}

func scramble(h uint64) uint64 {
	h ^= h >> 31
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 29
	return max(h, 1)
}

// show keeps the exchange as an example of the signals that it shows.
func (p *profile) show(s *sighting, x *[xCount]float32) {
	if !s.fresh {
		return
	}
	rank := scramble(binary.BigEndian.Uint64(s.id[8:]) ^ binary.BigEndian.Uint64(s.id[:8]))
	for g := range p.examples {
		if shows := groups[g].shows; shows != nil && !shows(x) {
			continue
		}
		list := &p.examples[g]
		for i := range list {
			if list[i].id == s.id {
				break
			}
			if list[i].rank == 0 || rank < list[i].rank {
				copy(list[i+1:], list[i:shown-1])
				list[i] = example{rank, s.id}
				break
			}
		}
	}
}

// features are the account's as the score reads them.
func (p *profile) features(m *Model) [featureCount]float64 {
	var f [featureCount]float64
	n := float64(max(1, p.n))
	for i := range p.sum {
		f[i] = p.sum[i] / n
	}
	spread := func(i int) float64 {
		mean := p.sum[i] / n
		return math.Sqrt(max(0, p.square[i]/n-mean*mean))
	}
	f[fPromptSpread], f[fOutputSpread], f[fPauseSpread] = spread(xPrompt), spread(xOutput), spread(xPause)
	fresh := float64(max(1, p.fresh))
	f[fNovel] = 1 - float64(p.again)/fresh
	if p.fresh > fewPrompts { // the filter fills up, and the sketch is less exact
		f[fNovel] = math.Min(1, float64(p.prompts.Estimate())/fresh)
	}
	f[fFresh] = fresh / n
	// Ordinary use is seldom all of one kind. How close to that it comes is a matter
	// of magnitudes.
	never := func(count uint32, of float64) float64 { return -math.Log(float64(count)/of + 1/of) }
	f[fAlone], f[fNeverShort], f[fNeverBrief] = never(p.joined, n), never(p.short, fresh), never(p.brief, n)
	f[fNeverAgain] = never(p.again, fresh)
	if p.fresh > fewPrompts {
		f[fNeverAgain] = -math.Log(1 - f[fNovel] + 1/float64(fewPrompts))
	}
	words := float64(p.words.Estimate())
	f[fVocabulary] = math.Log1p(words)
	f[fGrowth] = math.Log1p(words) - 0.7*math.Log1p(float64(p.told))
	for i, c := range []*counters{&p.prefix, &p.suffix, &p.system} {
		top := c.top()
		f[fPrefixShare+i] = float64(top.count-top.over) / n
	}
	var entropy, hours float64
	for _, h := range p.hours {
		if h > 0 {
			hours += float64(h)
		}
	}
	for _, h := range p.hours {
		if h > 0 {
			entropy -= float64(h) / hours * math.Log(float64(h)/hours)
		}
	}
	f[fHours] = entropy
	f[fActive] = math.Log(n / float64(max(1, p.active)))
	f[fPace] = math.Log1p(float64(p.last-p.first)/1e9/n) / 4
	f[fAge] = math.Log(n)
	f[fKernel] = m.distance(&p.wave, n)
	// What harvests is new, stands alone and is answered at length: together they
	// say more than one by one.
	f[fNovelAlone] = f[fNovel] * f[xSingle]
	f[fNovelYield] = f[fNovel] * f[xSingle] * f[xOutput]
	f[fNovelUnread] = f[fNovel] * f[xSingle] * f[xUnread]
	f[fNovelGrowth] = f[fNovel] * f[xSingle] * f[fVocabulary]
	return f
}

// AppendBinary encodes the state, as docs/formats/detect.md says.
func (p *profile) AppendBinary(b []byte) ([]byte, error) {
	u32 := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	u64 := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	u32(p.n)
	u32(p.fresh)
	u64(p.told)
	for _, v := range []uint32{p.short, p.brief, p.joined, p.again} {
		u32(v)
	}
	for _, v := range p.seen {
		u64(v)
	}
	u64(uint64(p.first))
	u64(uint64(p.last))
	u64(uint64(p.until))
	u64(uint64(p.reached))
	u32(math.Float32bits(p.out))
	for i := range p.sum {
		u64(math.Float64bits(p.sum[i]))
		u64(math.Float64bits(p.square[i]))
	}
	for _, v := range p.wave {
		u64(math.Float64bits(v))
	}
	for _, c := range []*counters{&p.prefix, &p.suffix, &p.system} {
		for _, v := range c {
			u64(v.key)
			u32(v.count)
			u32(v.over)
		}
	}
	for _, v := range p.least {
		u64(v)
	}
	for _, v := range p.hours {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	u32(p.active)
	u64(uint64(p.hour))
	for _, l := range p.looks {
		u32(math.Float32bits(l.score))
		b = binary.LittleEndian.AppendUint16(b, uint16(l.segment))
		b = append(b, byte(flag(l.done)))
	}
	for _, list := range p.examples {
		for _, e := range list {
			u64(e.rank)
			b = append(b, e.id[:]...)
		}
	}
	for _, sk := range []*hyperloglog.Sketch{p.prompts, p.words} {
		raw, err := sk.MarshalBinary()
		if err != nil {
			return b, fmt.Errorf("sketch: %w", err)
		}
		u32(uint32(len(raw)))
		b = append(b, raw...)
	}
	return b, nil
}

var errShort = errors.New("the state of an account is cut off")

// UnmarshalBinary reads what AppendBinary wrote.
func (p *profile) UnmarshalBinary(b []byte) error {
	*p = *newProfile()
	short := false
	take := func(n int) []byte {
		if len(b) < n {
			short = true
			return make([]byte, n)
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	u16 := func() uint16 { return binary.LittleEndian.Uint16(take(2)) }
	u32 := func() uint32 { return binary.LittleEndian.Uint32(take(4)) }
	u64 := func() uint64 { return binary.LittleEndian.Uint64(take(8)) }
	p.n, p.fresh, p.told = u32(), u32(), u64()
	p.short, p.brief, p.joined, p.again = u32(), u32(), u32(), u32()
	for i := range p.seen {
		p.seen[i] = u64()
	}
	p.first, p.last, p.until, p.reached = int64(u64()), int64(u64()), int64(u64()), int64(u64())
	p.out = math.Float32frombits(u32())
	for i := range p.sum {
		p.sum[i] = math.Float64frombits(u64())
		p.square[i] = math.Float64frombits(u64())
	}
	for i := range p.wave {
		p.wave[i] = math.Float64frombits(u64())
	}
	for _, c := range []*counters{&p.prefix, &p.suffix, &p.system} {
		for i := range c {
			c[i] = counter{u64(), u32(), u32()}
		}
	}
	for i := range p.least {
		p.least[i] = u64()
	}
	for i := range p.hours {
		p.hours[i] = u16()
	}
	p.active, p.hour = u32(), int64(u64())
	for i := range p.looks {
		p.looks[i] = looked{math.Float32frombits(u32()), int16(u16()), take(1)[0] == 1}
	}
	for g := range p.examples {
		for i := range p.examples[g] {
			p.examples[g][i] = example{u64(), exchange.ID(take(16))}
		}
	}
	for _, sk := range []*hyperloglog.Sketch{p.prompts, p.words} {
		n := u32()
		if n > MaxState {
			return errShort
		}
		raw := take(int(n))
		if short {
			return errShort
		}
		if err := sk.UnmarshalBinary(raw); err != nil {
			return fmt.Errorf("sketch: %w", err)
		}
	}
	if short || len(b) != 0 {
		return errShort
	}
	return nil
}
