package model

import (
	"fmt"
	"sync/atomic"

	"retort/internal/kernel"
)

// BlockSource is a Source whose matrices may lie in blocks of integers.
type BlockSource interface {
	Source

	// Blocks are the rows of a matrix, in the order of Load, as they lie in blocks of
	// the type, or 0 and nil if it does not lie in blocks.
	Blocks(name string, shape []int) (kernel.BlockType, []byte, error)
}

// decodeWeights are a model's weights as decoding wants them.
type decodeWeights struct {
	embeddings []float32       // [vocab, d], or nil:
	embedded   *kernel.Weights // in blocks
	norm, rope []float32
	head       *kernel.Weights // embedded, if tied
	layer      []decodeLayer
	bytes      int64
}

type decodeLayer struct {
	layerVectors[float32]
	in      []*kernel.Weights // what gives inWidth columns, side by side
	qB, out *kernel.Weights
	heads   []headWeights // of latent attention
	bias    []float32     // the router's
	router  *kernel.Weights
	mlp     decodeMLP // the dense one, or the shared expert
	expert  []decodeMLP
}

// headWeights are W_KVB of one head.
type headWeights struct {
	keys   *kernel.Weights // [n, c]: latents to keys
	uk     *kernel.Weights // its transpose: queries to latents
	values *kernel.Weights // [v, c]: latents to values
}

type decodeMLP struct {
	width          int
	gate, up, down *kernel.Weights
}

// embed sets dst [d] to a token's embedding.
func (w *decodeWeights) embed(dst []float32, token int) {
	if w.embedded != nil {
		w.embedded.Row(dst, token)
		return
	}
	copy(dst, w.embeddings[token*len(dst):])
}

// weightLoader gathers what is to be loaded, each matrix or few of them by a job, and
// then does it in parallel.
type weightLoader struct {
	config Config
	src    Source
	blocks BlockSource   // where matrices come from if they lie in blocks, or nil
	room   kernel.Room   // of those
	format kernel.Format // of the others
	jobs   []func() error
	bytes  atomic.Int64
}

func loadDecodeWeights(src Source, f kernel.Format, pool *kernel.Pool) (*decodeWeights, error) {
	c := src.Config()
	l := &weightLoader{config: c, src: src, format: f}
	if f == kernel.FormatBlocks {
		l.blocks, _ = src.(BlockSource)
		l.format = kernel.FormatFP32
	}
	w := &decodeWeights{norm: make([]float32, c.Hidden), layer: make([]decodeLayer, c.Layers)}
	l.ends(w)
	for i := range w.layer {
		l.layer(fmt.Sprintf("model.layers.%d.", i), i, &w.layer[i])
	}
	errs := make([]error, len(l.jobs))
	pool.Run(len(l.jobs), func(part, _ int) { errs[part] = l.jobs[part]() })
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	w.bytes = l.bytes.Load() + int64(4*(len(w.embeddings)+len(w.norm)))
	return w, nil
}

// ends loads what stands before and behind the layers.
func (l *weightLoader) ends(w *decodeWeights) {
	const name = "model.embed_tokens.weight"
	c := &l.config
	l.job(func() (err error) {
		if w.embedded, err = l.inBlocks(name, c.VocabSize, c.Hidden); err != nil {
			return err
		}
		if w.embedded == nil {
			w.embeddings = make([]float32, c.VocabSize*c.Hidden)
			if err := l.load(w.embeddings, name, c.VocabSize, c.Hidden); err != nil {
				return err
			}
		}
		switch {
		case !c.TieEmbeddings:
		case w.embedded != nil:
			w.head = w.embedded
		default:
			w.head = l.pack(l.format, kernel.NT, c.VocabSize, c.Hidden, w.embeddings)
		}
		return nil
	})
	if !c.TieEmbeddings {
		l.matrix(&w.head, "lm_head.weight", c.VocabSize, c.Hidden)
	}
	l.vector(w.norm, "model.norm.weight")
	if c.RopeFactors {
		w.rope = make([]float32, c.RopeDim/2)
		l.vector(w.rope, RopeFactorsName)
	}
}

func (l *weightLoader) layer(name string, i int, to *decodeLayer) {
	c, attn := &l.config, name+"self_attn."
	_, n := carveVectors[float32](c, nil)
	to.layerVectors, _ = carveVectors(c, make([]float32, n))
	l.vector(to.attnNorm, name+"input_layernorm.weight")
	l.vector(to.ffnNorm, name+"post_attention_layernorm.weight")
	l.vector(to.qNorm, attn+"q_a_layernorm.weight")
	l.vector(to.kvNorm, attn+"kv_a_layernorm.weight")
	l.vector(to.qHead, attn+"q_norm.weight")
	l.vector(to.kHead, attn+"k_norm.weight")
	in := []rowsOf{{attn + "q_proj.weight", c.qIn()}}
	if c.QLoraRank > 0 {
		in[0].name = attn + "q_a_proj.weight"
		l.matrix(&to.qB, attn+"q_b_proj.weight", c.qWidth(), c.QLoraRank)
	}
	if c.grouped() {
		kv := c.KVHeads * c.VDim
		in = append(in, rowsOf{attn + "k_proj.weight", kv}, rowsOf{attn + "v_proj.weight", kv})
		for at, bias := 0, to.inBias; len(bias) > 0; at++ {
			l.vector(bias[:in[at].n], attn+[...]string{"q", "k", "v"}[at]+"_proj.bias")
			bias = bias[in[at].n:]
		}
	} else {
		in = append(in, rowsOf{attn + "kv_a_proj_with_mqa.weight", c.cacheWidth()})
		l.latents(to, attn+"kv_b_proj.weight")
	}
	l.job(func() (err error) {
		to.in, err = l.stack(in, c.Hidden)
		return err
	})
	l.matrix(&to.out, attn+"o_proj.weight", c.Hidden, c.oWidth())
	if !c.isMoE(i) {
		l.mlp(&to.mlp, name+"mlp.", c.Intermediate)
		return
	}
	to.bias = make([]float32, c.RoutedExperts)
	l.vector(to.bias, name+"mlp.gate.e_score_correction_bias")
	l.floats(name+"mlp.gate.weight", c.RoutedExperts, c.Hidden, func(x []float32) {
		to.router = l.pack(kernel.FormatFP32, kernel.NT, c.RoutedExperts, c.Hidden, x)
	})
	l.mlp(&to.mlp, name+"mlp.shared_experts.", c.sharedWidth())
	to.expert = make([]decodeMLP, c.RoutedExperts)
	for e := range to.expert {
		l.mlp(&to.expert[e], fmt.Sprintf("%smlp.experts.%d.", name, e), c.MoEIntermediate)
	}
}

func (l *weightLoader) mlp(to *decodeMLP, name string, width int) {
	to.width = width
	l.matrix(&to.gate, name+"gate_proj.weight", width, l.config.Hidden)
	l.matrix(&to.up, name+"up_proj.weight", width, l.config.Hidden)
	l.matrix(&to.down, name+"down_proj.weight", l.config.Hidden, width)
}

// latents loads what makes keys and values of latents. It is multiplied with in both
// directions, and rows of one are columns of the other: integers are no help.
func (l *weightLoader) latents(to *decodeLayer, name string) {
	c := &l.config
	f := l.format
	if f == kernel.FormatInt8 || l.blocks != nil {
		f = kernel.FormatBF16
	}
	n, v, latent := c.NopeDim, c.VDim, c.KVLoraRank
	to.heads = make([]headWeights, c.Heads)
	l.floats(name, c.kvWidth(), latent, func(x []float32) {
		for h := range to.heads {
			kv := x[h*(n+v)*latent:]
			to.heads[h].keys = l.pack(f, kernel.NT, n, latent, kv)
			to.heads[h].uk = l.pack(f, kernel.NN, latent, n, kv)
			to.heads[h].values = l.pack(f, kernel.NT, v, latent, kv[n*latent:])
		}
	})
}

func (l *weightLoader) job(do func() error) { l.jobs = append(l.jobs, do) }

// vector loads a vector, or nothing if the architecture has none.
func (l *weightLoader) vector(to []float32, name string) {
	if len(to) > 0 {
		l.job(func() error { return l.load(to, name, len(to)) })
	}
}

// floats loads a matrix [n, k] as numbers and hands it to use.
func (l *weightLoader) floats(name string, n, k int, use func(x []float32)) {
	l.job(func() error {
		x := make([]float32, n*k)
		err := l.load(x, name, n, k)
		if err == nil {
			use(x)
		}
		return err
	})
}

// matrix loads a matrix [n, k] that rows are multiplied with.
func (l *weightLoader) matrix(to **kernel.Weights, name string, n, k int) {
	l.job(func() error {
		all, err := l.stack([]rowsOf{{name, n}}, k)
		if err == nil {
			*to = all[0]
		}
		return err
	})
}

// rowsOf are n rows, all that a matrix has.
type rowsOf struct {
	name string
	n    int
}

// stack loads matrices that are multiplied with the same rows: those that lie next to
// each other in the same form become one.
func (l *weightLoader) stack(parts []rowsOf, k int) (all []*kernel.Weights, err error) {
	var form kernel.BlockType // of what has been gathered: rows of blocks, or numbers
	var n int
	var rows []byte
	var numbers []float32
	flush := func() {
		switch {
		case n == 0:
		case form != 0:
			all = append(all, l.made(l.room.BlockWeights(form, n, k, rows)))
		default:
			all = append(all, l.pack(l.format, kernel.NT, n, k, numbers))
		}
		n, rows, numbers = 0, nil, nil
	}
	for _, p := range parts {
		t, some, err := l.rows(p.name, p.n, k)
		if t != form {
			flush()
		}
		if err == nil && t == 0 {
			numbers = append(numbers, make([]float32, p.n*k)...)
			err = l.load(numbers[n*k:], p.name, p.n, k)
		}
		if err != nil {
			return nil, err
		}
		form, n = t, n+p.n
		if rows == nil {
			rows = some
		} else {
			rows = append(rows, some...)
		}
	}
	flush()
	return all, nil
}

// inBlocks is a matrix if it lies in blocks.
func (l *weightLoader) inBlocks(name string, n, k int) (*kernel.Weights, error) {
	t, rows, err := l.rows(name, n, k)
	if t == 0 || err != nil {
		return nil, err
	}
	return l.made(l.room.BlockWeights(t, n, k, rows)), nil
}

// rows are a matrix's rows if they lie in blocks.
func (l *weightLoader) rows(name string, n, k int) (kernel.BlockType, []byte, error) {
	if l.blocks == nil {
		return 0, nil, nil
	}
	t, rows, err := l.blocks.Blocks(name, []int{n, k})
	if err == nil && t != 0 && !t.Finite(rows) {
		err = fmt.Errorf("a scale of its %v blocks is infinite or NaN, want finite numbers", t)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("loading tensor %s: %w", name, err)
	}
	return t, rows, nil
}

// load loads numbers. Those of a model in memory are taken as they are: if it has
// diverged, what is decoded shows it.
func (l *weightLoader) load(to []float32, name string, shape ...int) error {
	if m, ok := l.src.(*Model); ok {
		return m.Load(name, shape, to)
	}
	return load(l.src.Load, Tensor{Name: name, Shape: shape, Data: to})
}

func (l *weightLoader) pack(f kernel.Format, op kernel.Op, n, k int, x []float32) *kernel.Weights {
	ld := k
	if op == kernel.NN {
		ld = n
	}
	return l.made(kernel.NewWeights(f, op, n, k, x, ld))
}

// made counts what was made.
func (l *weightLoader) made(w *kernel.Weights) *kernel.Weights {
	l.bytes.Add(int64(w.Bytes()))
	return w
}
