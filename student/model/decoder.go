package model

import (
	"errors"
	"fmt"
	"math"

	"retort/internal/kernel"
)

// DecoderOptions say what a decoder has room for. A zero field takes its default.
type DecoderOptions struct {
	Slots      int // sequences at once (1)
	MaxContext int // tokens of one sequence (the model's positions, which are also the most)
	// CacheTokens is how many tokens the cache holds, of all sequences and of
	// beginnings that are kept for others together (Slots·MaxContext).
	CacheTokens int
	// Format is what weights are held in: routers and embeddings in float32 with
	// all of them, and what keys and values are made with in bfloat16 with int8.
	// Blocks are those of a BlockSource, embeddings too; what does not lie in blocks
	// is held in float32, and what makes keys and values of latents in bfloat16. Keys
	// and values of grouped-query attention are then cached in binary16.
	Format kernel.Format
	// Adapters, of the model's configuration, are beside the model's own weights for
	// sequences that begin with one. A model of latent attention takes none.
	Adapters []*Adapter
}

// Decoder continues up to a fixed number of sequences, its slots. Of a token it
// caches the normed latent and the rotated key of each layer, KVLoraRank +
// RopeDim values, and nothing else; of grouped-query attention keys and values.
//
// Prompts are read in the expanded form of latent attention (keys and values of
// each head made from the latents), tokens after them in the absorbed form, in
// which the query is taken to the space of latents instead (DeepSeek-V2,
// arXiv:2405.04434, section 2.1):
//
//	q′ = W_UKᵀ·q_nope,  score = (q′·c + q_R·k_R)/√(n+r),  out = W_UV·Σ p·c
//
// What it says in a slot depends, to the bit, on the tokens of that slot and on
// which of them were prompt: not on how they were divided into calls, on other
// slots, on threads, nor on whether another sequence with the same beginning was
// read before and its pages are shared.
//
// It copies what it needs of the model. It is used by one goroutine at a time and
// allocates only when a call wants more logits than any before.
type Decoder struct {
	pool       *kernel.Pool
	config     Config
	maxContext int
	scale      float32
	rope       ropeTable
	w          *decodeWeights

	cache *cache
	slots []slot
	seen  []bool // scratch: slots named by a call

	rows    decodeRows
	work    []decodeWork // one a worker
	logits  []float32
	steps   []int        // rows that read the cache in absorbed form
	pieces  []piece      // rows that do so in expanded form
	judged  []int        // rows whose logits are wanted
	layer   int          // that regions work on
	cut     cut          // of the region
	groups  int          // of heads, for steps
	experts []expertTask // of the layer, those that have rows

	adapting decodeAdapting
	regions  struct {
		norm, low, in, qB, queries, attention, out, second, gather, up, down, final, head func(part, worker int)
	}
}

// decodeRows are the tokens that are being computed, from whatever slots.
type decodeRows struct {
	n     int
	token []int32
	slot  []int
	pos   []int
	x     []float32 // [rows, d] the residual stream
	xn    []float32 // [rows, d] normed; of judged rows at the end
	in    []float32 // [rows, inWidth]
	q     []float32 // [rows, H·(n+r)] scaled
	out   []float32 // [rows, H·v]
	up, h []float32 // [rows, width of the dense or shared SwiGLU]

	score  []float32 // [rows, E] the router's
	choice []int32   // [rows·K]
	weight []float32 // [rows·K]
	route  routing
	xs     []float32 // [rows·K, d] inputs of the experts, sorted by expert
	ups    []float32 // [rows·K, width of an expert]
	hs     []float32
	ys     []float32 // [rows·K, d]
}

// decodeWork is one worker's own memory for attention.
type decodeWork struct {
	qn       []float32 // [blockRows, q_lora_rank]
	absorbed []float32 // [H, c+r]
	read     []float32 // [H, c] Σ p·c
	score    []float32 // [max(H, blockRows)·maxContext]
	kv       []float32 // [maxContext, n+r] one head's keys, and then its values
}

// piece is a part of a prompt: rows [from, to) of the call.
type piece struct{ from, to int }

// cut divides a product among workers: blocks of rows by parts of columns.
type cut struct{ rows, columns int }

// maxRows is how many tokens one call may read beside a step of every slot.
const maxRows = 512

// NewDecoder makes a decoder of m. The pool stays the caller's.
func NewDecoder(m *Model, pool *kernel.Pool, opt DecoderOptions) *Decoder {
	d, err := LoadDecoder(m, pool, opt)
	if err != nil {
		panic(fmt.Sprintf("model: a model lacks what it is made of: %v", err))
	}
	return d
}

// LoadDecoder makes a decoder of what src hands out, which it needs no more after.
func LoadDecoder(src Source, pool *kernel.Pool, opt DecoderOptions) (*Decoder, error) {
	c := src.Config()
	if opt.Slots == 0 {
		opt.Slots = 1
	}
	if opt.MaxContext == 0 || opt.MaxContext > c.MaxPositions {
		opt.MaxContext = c.MaxPositions
	}
	if opt.CacheTokens == 0 {
		opt.CacheTokens = opt.Slots * pagesOf(opt.MaxContext) * pageTokens
	}
	if opt.Slots < 0 || opt.MaxContext < 0 || opt.CacheTokens < opt.MaxContext {
		panic(fmt.Sprintf("model: a decoder of %d slots for %d tokens each, %d in all", opt.Slots, opt.MaxContext, opt.CacheTokens))
	}
	w, err := loadDecodeWeights(src, opt.Format, pool)
	if err != nil {
		return nil, err
	}
	d := &Decoder{
		pool: pool, config: c, maxContext: opt.MaxContext,
		scale: float32(1 / math.Sqrt(float64(c.qkDim()))),
		rope:  newRopeTable(c, w.rope, opt.MaxContext),
		w:     w,
		cache: newCache(&c, opt.Format == kernel.FormatBlocks, pagesOf(opt.CacheTokens), len(opt.Adapters)),
		slots: make([]slot, opt.Slots),
		seen:  make([]bool, opt.Slots),
		work:  make([]decodeWork, pool.Threads()),
	}
	for i := range d.slots {
		d.slots[i].pages = make([]int32, 0, pagesOf(opt.MaxContext))
	}
	rows := opt.Slots + maxRows
	d.rows = newDecodeRows(c, rows)
	d.experts = make([]expertTask, 0, c.RoutedExperts)
	d.setAdapters(opt.Adapters, rows)
	d.steps, d.pieces, d.judged = make([]int, 0, rows), make([]piece, 0, opt.Slots), make([]int, 0, rows)
	for i := range d.work {
		d.work[i] = decodeWork{
			qn:       make([]float32, blockRows*c.QLoraRank),
			absorbed: make([]float32, c.Heads*c.cacheWidth()), read: make([]float32, c.Heads*c.KVLoraRank),
			score: make([]float32, max(c.Heads, blockRows)*opt.MaxContext), kv: make([]float32, opt.MaxContext*(c.qkDim()+c.VDim)),
		}
	}
	r := &d.regions
	r.norm, r.low, r.in, r.qB, r.queries, r.attention, r.out = d.normPart, d.lowPart, d.inPart, d.qBPart, d.queriesPart, d.attentionPart, d.outPart
	r.second, r.gather, r.up, r.down, r.final, r.head = d.secondPart, d.gatherPart, d.upPart, d.downPart, d.finalPart, d.headPart
	return d, nil
}

func newDecodeRows(c Config, rows int) decodeRows {
	width := 0
	if c.DenseLayers > 0 {
		width = c.Intermediate
	}
	r := decodeRows{
		token: make([]int32, rows), slot: make([]int, rows), pos: make([]int, rows),
		x: make([]float32, rows*c.Hidden), xn: make([]float32, rows*c.Hidden), in: make([]float32, rows*c.inWidth()),
		q: make([]float32, rows*c.qWidth()), out: make([]float32, rows*c.oWidth()),
	}
	if c.DenseLayers < c.Layers {
		width = max(width, c.sharedWidth())
		n := rows * c.TopK
		r.score, r.choice, r.weight, r.route = make([]float32, rows*c.RoutedExperts), make([]int32, n), make([]float32, n), newRouting(c, rows)
		r.xs, r.ys = make([]float32, n*c.Hidden), make([]float32, n*c.Hidden)
		r.ups, r.hs = make([]float32, n*c.MoEIntermediate), make([]float32, n*c.MoEIntermediate)
	}
	r.up, r.h = make([]float32, rows*width), make([]float32, rows*width)
	return r
}

// Slots is how many sequences the decoder can hold.
func (d *Decoder) Slots() int { return len(d.slots) }

// MaxContext is how many tokens a slot can hold.
func (d *Decoder) MaxContext() int { return d.maxContext }

// MaxRows is how many tokens one call of Read may hold.
func (d *Decoder) MaxRows() int { return len(d.rows.token) }

// Len is how many tokens a slot holds.
func (d *Decoder) Len(slot int) int { return d.slots[slot].length }

// Reset empties a slot. What it held of whole pages of prompt is kept for other
// sequences until the room is needed.
func (d *Decoder) Reset(slot int) { d.cache.empty(&d.slots[slot]) }

// CacheBytes is the memory of one token in one layer of the cache.
func (d *Decoder) CacheBytes() int { return d.cache.bytes * d.cache.width }

// WeightBytes is the memory that weights take.
func (d *Decoder) WeightBytes() int { return int(d.w.bytes) }

// CacheUse is how full a cache is, in tokens, whole pages counted.
type CacheUse struct {
	Total    int // room
	Used     int // by sequences
	Promised int // to them beyond that
	Kept     int // beginnings that nobody uses at present
}

// CacheUse tells how full the cache is.
func (d *Decoder) CacheUse() CacheUse {
	c := d.cache
	pages := len(c.pages) - 1
	return CacheUse{Total: pages * pageTokens, Used: (pages - len(c.free) - c.idle) * pageTokens, Promised: c.held * pageTokens, Kept: c.idle * pageTokens}
}

// Begin prepares an empty slot for a prompt and what follows it, room tokens in
// all. It returns how many of the prompt's tokens need not be read, because the
// cache knows them: never all. If the cache has no room now it returns false and
// changes nothing; room may come when other slots are reset. A slot that did not
// begin takes room as it goes. adapter is the place of an adapter among
// DecoderOptions.Adapters, from 1, or 0 for none.
func (d *Decoder) Begin(slot, adapter int, prompt []int32, room int) (shared int, ok bool) {
	if adapter < 0 || adapter > len(d.adapting.all) {
		panic(fmt.Sprintf("model: adapter %d of %d", adapter, len(d.adapting.all)))
	}
	s := &d.slots[slot]
	if s.length > 0 || s.promised > 0 {
		panic(fmt.Sprintf("model: slot %d begins while it holds %d tokens", slot, s.length))
	}
	if !d.cache.begin(s, adapter, prompt, min(room, d.maxContext)) {
		return 0, false
	}
	return s.length, true
}

// Wanted says which logits a chunk is to give.
type Wanted uint8

// What may be wanted.
const (
	LastLogits  Wanted = iota // those after its last token
	EveryLogits               // those after each of its tokens
	NoLogits
)

// Chunk are tokens that one slot is to read.
type Chunk struct {
	Slot   int
	Tokens []int32
	Prompt bool // of a prompt; if not, it is what was sampled
	Wanted Wanted
}

// ErrCacheFull means that the cache has no room for a call's tokens.
var ErrCacheFull = errors.New("the cache is full")

// Read appends each chunk to its slot and returns the logits that are wanted, in
// order, [rows, vocab], valid until the next call. After an error no slot has
// changed.
func (d *Decoder) Read(chunks []Chunk) ([]float32, error) {
	if err := d.check(chunks); err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	r := &d.rows
	r.n, d.steps, d.pieces, d.judged = 0, d.steps[:0], d.pieces[:0], d.judged[:0]
	d.adapting.used = false
	for _, ch := range chunks {
		from, s := r.n, &d.slots[ch.Slot]
		d.adapting.used = d.adapting.used || s.adapter > 0
		for i, t := range ch.Tokens {
			if !ch.Prompt {
				d.steps = append(d.steps, r.n)
			}
			if ch.Wanted == EveryLogits || ch.Wanted == LastLogits && i+1 == len(ch.Tokens) {
				d.judged = append(d.judged, r.n)
			}
			r.token[r.n], r.slot[r.n], r.pos[r.n] = t, ch.Slot, s.length+i
			r.n++
		}
		if ch.Prompt {
			d.pieces = append(d.pieces, piece{from, r.n})
		}
	}
	d.run()
	for _, ch := range chunks {
		d.cache.append(&d.slots[ch.Slot], ch.Tokens, ch.Prompt)
	}
	return d.logits[:len(d.judged)*d.config.VocabSize], nil
}

// check refuses what a call cannot take, and makes room for the rest.
func (d *Decoder) check(chunks []Chunk) error {
	clear(d.seen)
	rows := 0
	for _, ch := range chunks {
		i := ch.Slot
		if i < 0 || i >= len(d.slots) {
			return fmt.Errorf("slot %d is not in 0..%d", i, len(d.slots)-1)
		}
		if d.seen[i] {
			return fmt.Errorf("slot %d is named twice", i)
		}
		d.seen[i] = true
		if len(ch.Tokens) == 0 {
			return fmt.Errorf("slot %d is given no tokens", i)
		}
		if n := d.slots[i].length + len(ch.Tokens); n > d.maxContext {
			return fmt.Errorf("slot %d would hold %d tokens, more than the context of %d", i, n, d.maxContext)
		}
		for j, t := range ch.Tokens {
			if t < 0 || int(t) >= d.config.VocabSize {
				return fmt.Errorf("token %d for slot %d is %d, not in the vocabulary of %d", j, i, t, d.config.VocabSize)
			}
		}
		rows += len(ch.Tokens)
	}
	if rows > d.MaxRows() {
		return fmt.Errorf("%d tokens are more than the %d of one call", rows, d.MaxRows())
	}
	for _, ch := range chunks {
		if !d.cache.grow(&d.slots[ch.Slot], len(ch.Tokens)) {
			return fmt.Errorf("slot %d: %w", ch.Slot, ErrCacheFull)
		}
	}
	return nil
}

// Prefill appends a prompt, however long, to a slot and returns the logits
// [vocab] that follow it, valid until the next call.
func (d *Decoder) Prefill(slot int, tokens []int32) ([]float32, error) {
	for len(tokens) > maxRows {
		if _, err := d.Read([]Chunk{{Slot: slot, Tokens: tokens[:maxRows], Prompt: true, Wanted: NoLogits}}); err != nil {
			return nil, err
		}
		tokens = tokens[maxRows:]
	}
	return d.Read([]Chunk{{Slot: slot, Tokens: tokens, Prompt: true}})
}
