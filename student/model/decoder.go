package model

import (
	"fmt"
	"math"

	"retort/internal/kernel"
)

// Decoder continues up to a fixed number of sequences, its slots, a token at a
// time. Of a token it caches the normed latent and the rotated key of each
// layer, KVLoraRank + RopeDim values, and nothing else.
//
// Prompts are read in the expanded form of latent attention (keys and values of
// each head made from the latents), tokens after them in the absorbed form, in
// which the query is taken to the space of latents instead:
//
//	q′ = W_UKᵀ·q_nope,  score = (q′·c + q_R·k_R)/√(n+r),  out = W_UV·Σ p·c
//
// What it says in a slot depends on the tokens of that slot and on how they were
// divided into calls, to the bit, not on other slots or threads.
//
// It packs the weights when it is made: they must not change while it is in use.
// It is used by one goroutine at a time and allocates nothing after it is made.
type Decoder struct {
	model      *Model
	pool       *kernel.Pool
	config     Config
	slots      int
	maxContext int
	scale      float32
	rope       ropeTable
	packed     *packing
	heads      [][]headWeights // [layer][head]

	cache  [][]float32 // [layer] [slots, maxContext, cacheWidth]
	length []int       // [slots] tokens read
	seen   []bool      // [slots] scratch: slots named by a call

	rows    decodeRows
	work    []decodeWork // one a worker
	logits  []float32    // [slots, vocab]
	pieces  []piece      // of prompts, in the rows of one round
	group   int          // rows that one worker takes through a step
	layer   int          // that regions work on
	first   int          // prompt that pieces[0] belongs to
	regions struct{ step, begin, attention, after, head func(part, worker int) }
}

// headWeights are W_KVB of one head, packed for both forms.
type headWeights struct {
	expand *kernel.PackedB // [n+v, c]: latents to keys and values
	uk     *kernel.PackedB // [n, c]ᵀ: queries to latents
	uv     *kernel.PackedB // [v, c]: latents to values
}

// decodeRows are the tokens that are being computed, from whatever slots.
type decodeRows struct {
	n     int
	token []int32
	slot  []int
	pos   []int
	x     []float32 // [rows, d]
	q     []float32 // [rows, H·(n+r)] scaled
	out   []float32 // [rows, H·v]
}

// decodeWork is one worker's own memory, for blockRows rows.
type decodeWork struct {
	xn, in, qn []float32
	qAbsorbed  []float32 // [rows, H, c+r]
	read       []float32 // [rows, H, c] Σ p·c
	score      []float32 // [blockRows, maxContext]
	kv         []float32 // [maxContext, n+v] one head's keys and values
	mlp        mlpActivations
	router     []float32 // [rows, E]
	choice     []int32   // [rows, K]
	weight     []float32 // [rows, K]
	xs, ys     []float32 // [rows, d] one expert's inputs and outputs
	picked     []int32   // the rows that they belong to
}

// piece is a part of a prompt: rows [from, to) of the round, at the end of slot.
type piece struct{ from, to, slot int }

// prefillRows is how many prompt tokens are read in one round.
const prefillRows = 8 * blockRows

// NewDecoder makes a decoder of m with so many slots, each for maxContext tokens
// (no more than the model's positions). The pool stays the caller's.
func NewDecoder(m *Model, pool *kernel.Pool, slots, maxContext int) *Decoder {
	if slots < 1 || maxContext < 1 {
		panic(fmt.Sprintf("model: a decoder of %d slots for %d tokens", slots, maxContext))
	}
	c := m.config
	maxContext = min(maxContext, c.MaxPositions)
	d := &Decoder{
		model: m, pool: pool, config: c, slots: slots, maxContext: maxContext,
		scale:  float32(1 / math.Sqrt(float64(c.qkDim()))),
		rope:   newRopeTable(c, maxContext),
		packed: newPacking(m, kernel.NT, kernel.F32),
		heads:  make([][]headWeights, c.Layers),
		cache:  make([][]float32, c.Layers),
		length: make([]int, slots),
		seen:   make([]bool, slots),
		logits: make([]float32, slots*c.VocabSize),
		pieces: make([]piece, 0, slots),
		work:   make([]decodeWork, pool.Threads()),
	}
	d.packed.refresh(pool)
	for i := range d.heads {
		d.cache[i] = make([]float32, slots*maxContext*c.cacheWidth())
		d.heads[i] = make([]headWeights, c.Heads)
		for h := range d.heads[i] {
			n, v, latent := c.NopeDim, c.VDim, c.KVLoraRank
			w := m.w.layer[i].kvB[h*(n+v)*latent:]
			d.heads[i][h] = headWeights{
				expand: kernel.PackB(kernel.NT, n+v, latent, w, latent),
				uk:     kernel.PackB(kernel.NN, latent, n, w, latent),
				uv:     kernel.PackB(kernel.NT, v, latent, w[n*latent:], latent),
			}
		}
	}
	rows := max(slots, prefillRows)
	d.rows = decodeRows{
		token: make([]int32, rows), slot: make([]int, rows), pos: make([]int, rows),
		x: make([]float32, rows*c.Hidden), q: make([]float32, rows*c.qWidth()), out: make([]float32, rows*c.oWidth()),
	}
	for i := range d.work {
		d.work[i] = newDecodeWork(c, maxContext)
	}
	d.regions.step, d.regions.begin, d.regions.attention = d.stepRows, d.beginRows, d.readPiece
	d.regions.after, d.regions.head = d.afterRows, d.headRow
	return d
}

func newDecodeWork(c Config, maxContext int) decodeWork {
	width := 0
	if c.DenseLayers > 0 {
		width = c.Intermediate
	}
	w := decodeWork{
		xn: make([]float32, blockRows*c.Hidden), in: make([]float32, blockRows*c.inWidth()), qn: make([]float32, blockRows*c.QLoraRank),
		qAbsorbed: make([]float32, blockRows*c.Heads*c.cacheWidth()), read: make([]float32, blockRows*c.Heads*c.KVLoraRank),
		score: make([]float32, blockRows*maxContext), kv: make([]float32, maxContext*(c.NopeDim+c.VDim)),
	}
	if c.DenseLayers < c.Layers {
		width = max(width, c.MoEIntermediate, c.sharedWidth())
		w.router, w.choice, w.weight = make([]float32, blockRows*c.RoutedExperts), make([]int32, blockRows*c.TopK), make([]float32, blockRows*c.TopK)
		w.xs, w.ys, w.picked = make([]float32, blockRows*c.Hidden), make([]float32, blockRows*c.Hidden), make([]int32, 0, blockRows*c.TopK)
	}
	w.mlp = mlpActivations{gateUp: make([]float32, blockRows*2*width), h: make([]float32, blockRows*width)}
	return w
}

// Slots is how many sequences the decoder can hold.
func (d *Decoder) Slots() int { return d.slots }

// MaxContext is how many tokens a slot can hold.
func (d *Decoder) MaxContext() int { return d.maxContext }

// Len is how many tokens a slot holds.
func (d *Decoder) Len(slot int) int { return d.length[slot] }

// Reset empties a slot.
func (d *Decoder) Reset(slot int) { d.length[slot] = 0 }

// Prefill appends tokens to a slot and returns the logits [vocab] that follow
// the last of them, valid until the next call.
func (d *Decoder) Prefill(slot int, tokens []int32) ([]float32, error) {
	return d.PrefillBatch([]int{slot}, [][]int32{tokens})
}

// PrefillBatch is Prefill of several slots at once, each with its own tokens; it
// returns [len(slots), vocab]. After an error no slot has changed.
func (d *Decoder) PrefillBatch(slots []int, prompts [][]int32) ([]float32, error) {
	if len(slots) != len(prompts) {
		return nil, fmt.Errorf("prefill: %d prompts for %d slots", len(prompts), len(slots))
	}
	if err := d.check(slots, func(i int) []int32 { return prompts[i] }); err != nil {
		return nil, fmt.Errorf("prefill: %w", err)
	}
	prompt, done := 0, 0 // the next token to read
	for prompt < len(slots) {
		r := &d.rows
		r.n, d.pieces = 0, d.pieces[:0]
		first := prompt
		for prompt < len(slots) && r.n < prefillRows {
			slot, tokens := slots[prompt], prompts[prompt]
			from := r.n
			for ; done < len(tokens) && r.n < prefillRows; done++ {
				r.token[r.n], r.slot[r.n], r.pos[r.n] = tokens[done], slot, d.length[slot]+r.n-from
				r.n++
			}
			d.pieces = append(d.pieces, piece{from, r.n, slot})
			if done < len(tokens) {
				break
			}
			prompt, done = prompt+1, 0
		}
		d.readRound(first)
	}
	return d.logits[:len(slots)*d.config.VocabSize], nil
}

// readRound runs the pieces through the model. The piece of the first prompt
// comes first; logits go where the prompt's belong, and those of a prompt that
// goes on in the next round are replaced then.
func (d *Decoder) readRound(first int) {
	c, n := &d.config, blocks(d.rows.n)
	d.pool.Run(n, d.regions.begin)
	for d.layer = range c.Layers {
		d.pool.Run(len(d.pieces)*c.Heads, d.regions.attention)
		d.pool.Run(n, d.regions.after)
	}
	for _, p := range d.pieces {
		d.length[p.slot] += p.to - p.from
	}
	d.first = first
	d.pool.Run(len(d.pieces), d.regions.head)
}

// Step appends one token to each of the slots and returns the logits
// [len(slots), vocab] that follow, valid until the next call. After an error no
// slot has changed.
func (d *Decoder) Step(slots []int, tokens []int32) ([]float32, error) {
	if len(slots) != len(tokens) {
		return nil, fmt.Errorf("decoding step: %d tokens for %d slots", len(tokens), len(slots))
	}
	if err := d.check(slots, func(i int) []int32 { return tokens[i : i+1] }); err != nil {
		return nil, fmt.Errorf("decoding step: %w", err)
	}
	r := &d.rows
	r.n = len(slots)
	for i, s := range slots {
		r.token[i], r.slot[i], r.pos[i] = tokens[i], s, d.length[s]
	}
	threads := d.pool.Threads()
	d.group = max(1, min(blockRows, (r.n+threads-1)/threads))
	d.pool.Run((r.n+d.group-1)/d.group, d.regions.step)
	for _, s := range slots {
		d.length[s]++
	}
	return d.logits[:r.n*d.config.VocabSize], nil
}

// check refuses slots and tokens that a call cannot take.
func (d *Decoder) check(slots []int, tokens func(i int) []int32) error {
	clear(d.seen)
	for i, s := range slots {
		if s < 0 || s >= d.slots {
			return fmt.Errorf("slot %d is not in 0..%d", s, d.slots-1)
		}
		if d.seen[s] {
			return fmt.Errorf("slot %d is named twice", s)
		}
		d.seen[s] = true
		ts := tokens(i)
		if len(ts) == 0 {
			return fmt.Errorf("slot %d is given no tokens", s)
		}
		if n := d.length[s] + len(ts); n > d.maxContext {
			return fmt.Errorf("slot %d would hold %d tokens, more than the context of %d", s, n, d.maxContext)
		}
		for j, t := range ts {
			if t < 0 || int(t) >= d.config.VocabSize {
				return fmt.Errorf("token %d for slot %d is %d, not in the vocabulary of %d", j, s, t, d.config.VocabSize)
			}
		}
	}
	return nil
}

// stepRows takes a group of rows through all layers: they wait for nobody.
func (d *Decoder) stepRows(part, worker int) {
	from, to := part*d.group, min((part+1)*d.group, d.rows.n)
	w := &d.work[worker]
	d.embed(from, to)
	for layer := range d.config.Layers {
		d.project(layer, w, from, to)
		d.readLatents(layer, w, from, to)
		d.finish(layer, w, from, to)
	}
	for i := from; i < to; i++ {
		d.norm(w.xn[(i-from)*d.config.Hidden:], i)
	}
	v := d.config.VocabSize
	kernel.GemmPackedSerial(to-from, w.xn, d.config.Hidden, d.packed.head, d.logits[from*v:], v, false, nil)
}

// beginRows, readPiece and afterRows are a round of prompt reading: rows in
// blocks, attention in pieces × heads.
func (d *Decoder) beginRows(part, worker int) {
	from, to := part*blockRows, min((part+1)*blockRows, d.rows.n)
	d.embed(from, to)
	d.project(0, &d.work[worker], from, to)
}

func (d *Decoder) afterRows(part, worker int) {
	from, to := part*blockRows, min((part+1)*blockRows, d.rows.n)
	d.finish(d.layer, &d.work[worker], from, to)
	if d.layer+1 < d.config.Layers {
		d.project(d.layer+1, &d.work[worker], from, to)
	}
}

// headRow computes the logits after a piece's last row.
func (d *Decoder) headRow(part, worker int) {
	w, v := &d.work[worker], d.config.VocabSize
	d.norm(w.xn, d.pieces[part].to-1)
	kernel.GemmPackedSerial(1, w.xn, d.config.Hidden, d.packed.head, d.logits[(d.first+part)*v:], v, false, nil)
}
