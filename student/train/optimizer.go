package train

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"retort/internal/kernel"
	"retort/student/model"
)

// The usual constants of the two optimisers.
const (
	adamBeta1    = 0.9
	adamBeta2    = 0.95
	adamEps      = 1e-8
	muonMomentum = 0.95
	muonSteps    = 5
	muonEps      = 1e-7
)

// The quintic that Newton–Schulz iterates, X ← aX + (bA + cA²)X with A = XXᵀ,
// pushes every singular value of X towards 1 (roughly: into [0.7, 1.2]).
// Coefficients from K. Jordan, "Muon: an optimizer for hidden layers", 2024.
const (
	muonA = 3.4445
	muonB = -4.7750
	muonC = 2.0315
)

// param is one tensor with its gradient and what its optimiser remembers.
type param struct {
	name   string
	shape  []int
	matrix bool
	muon   bool
	lr     float64   // learning rate, before the schedule
	w, g   []float32 // the weights and their gradient, owned by model and pass
	m, v   []float32 // AdamW: first and second moment; Muon: momentum and nil
}

// optimizer updates a model's parameters from their gradients. Its work is cut
// into units whose results depend on nothing but their own numbers, so the
// weights do not depend on how many workers share them.
type optimizer struct {
	pool      *kernel.Pool
	precision kernel.Precision // of Newton–Schulz's products
	params    []param
	updates   []unit      // the units of a step, the dearest first
	norms     []unit      // gradient pieces whose squares are summed apart
	sums      []float64   // those sums
	scratch   [][]float32 // by worker: four matrices for Newton–Schulz
	now       rates       // of the step being done

	update, square func(part, worker int) // bound once: a step allocates nothing
}

// unit is a piece of work: elements from to to of a parameter. Muon's is a whole
// matrix.
type unit struct {
	param    int
	from, to int
	cost     float64 // operations, about
}

// rates are what changes from step to step.
type rates struct {
	adam  kernel.AdamWStep
	share float64 // of the learning rates, by the schedule
	decay float32 // weight decay
	scale float32 // of the gradients, by clipping
}

// chunk is the number of elements of an elementwise unit: small enough to
// share out, and fixed, so that sums are formed alike with any number of workers.
const chunk = 1 << 14

// newOptimizer makes the state for parameters and gradients in one order. Muon
// is meant for matrices that map hidden activations to hidden activations;
// embeddings, output head and router, whose rows stand for tokens and experts,
// are left to AdamW. What heads make of their input is orthogonalised head by head,
// and a latent apart from the rotated key beside it: as one matrix latent attention
// falls behind multi-head attention (GLM-5, "Muon Split"; here 1.6% in loss after
// 1.5 M tokens of text).
func newOptimizer(params []model.Parameter, grads []model.Tensor, opt Options, precision kernel.Precision, pool *kernel.Pool) (*optimizer, error) {
	if len(params) != len(grads) {
		return nil, fmt.Errorf("optimiser: %d parameters but %d gradients", len(params), len(grads))
	}
	o := &optimizer{pool: pool, precision: precision, params: make([]param, len(params))}
	largest := 0
	tied := !slices.ContainsFunc(params, func(t model.Parameter) bool { return t.Kind == model.KindHead })
	for i, t := range params {
		if len(t.Data) != len(grads[i].Data) {
			return nil, fmt.Errorf("optimiser: %s has %d elements and its gradient %d", t.Name, len(t.Data), len(grads[i].Data))
		}
		p := param{name: t.Name, shape: t.Shape, w: t.Data, g: grads[i].Data, m: make([]float32, len(t.Data))}
		p.matrix = t.Kind != model.KindNorm && t.Kind != model.KindBias
		p.muon = opt.Optimizer == "muon" && t.Kind == model.KindMatrix
		switch {
		case p.muon:
			p.lr = opt.MuonLR
		case t.Kind == model.KindHead:
			p.lr = opt.HeadLR
		case t.Kind == model.KindEmbedding && !tied:
			p.lr = opt.EmbedLR
		default:
			p.lr = opt.LR
		}
		if p.muon {
			blocks, cols, at := t.Blocks, t.Shape[1], 0
			if blocks == nil {
				blocks = t.Shape[:1]
			}
			for _, rows := range blocks {
				o.updates = append(o.updates, unit{param: i, from: at, to: at + rows*cols, cost: muonCost(rows, cols, precision)})
				at += rows * cols
				largest = max(largest, rows*cols)
			}
			if at != len(p.w) {
				return nil, fmt.Errorf("optimiser: the blocks of %s have %d rows, the matrix %d", t.Name, at/cols, t.Shape[0])
			}
		} else {
			p.v = make([]float32, len(t.Data))
		}
		o.params[i] = p
		for at := 0; at < len(p.w); at += chunk {
			u := unit{param: i, from: at, to: min(at+chunk, len(p.w))}
			u.cost = 16 * float64(u.to-u.from)
			o.norms = append(o.norms, u)
			if !p.muon {
				o.updates = append(o.updates, u)
			}
		}
	}
	sort.SliceStable(o.updates, func(i, j int) bool { return o.updates[i].cost > o.updates[j].cost })
	o.sums = make([]float64, len(o.norms))
	for range pool.Threads() {
		o.scratch = append(o.scratch, make([]float32, 4*largest))
	}
	o.update = o.apply
	o.square = func(part, _ int) {
		u := o.norms[part]
		o.sums[part] = kernel.SumSquares(o.params[u.param].g[u.from:u.to])
	}
	return o, nil
}

// gradNorm returns the global norm of the gradients.
func (o *optimizer) gradNorm() float64 {
	o.pool.Run(len(o.norms), o.square)
	sum := 0.0
	for _, s := range o.sums {
		sum += s
	}
	return math.Sqrt(sum)
}

// step applies step t, counted from 1, with share of the learning rates. Gradients
// are multiplied by scale as they are read.
func (o *optimizer) step(t int, share, decay, scale float64) {
	o.now = rates{
		adam:  kernel.AdamWStep{Beta1: adamBeta1, Beta2: adamBeta2, Eps: adamEps, Step: t, GradScale: float32(scale)},
		share: share, decay: float32(decay), scale: float32(scale),
	}
	o.pool.Run(len(o.updates), o.update)
}

// apply does one unit of a step.
func (o *optimizer) apply(part, worker int) {
	u := o.updates[part]
	p := &o.params[u.param]
	if p.muon {
		o.muon(p, u.from, u.to, o.scratch[worker], o.pool.Scratch(worker))
		return
	}
	adam := o.now.adam
	adam.LR = float32(p.lr * o.now.share)
	if p.matrix {
		adam.WeightDecay = o.now.decay
	}
	kernel.AdamW(p.w[u.from:u.to], p.g[u.from:u.to], p.m[u.from:u.to], p.v[u.from:u.to], adam)
}

// muon moves the matrix in elements [from, to) of a parameter along its
// orthogonalised momentum:
//
//	m = μm + (1-μ)g,  u = NewtonSchulz(μm + (1-μ)g),  w = w(1 - ηλ) - η√max(1, rows/cols)·u
//
// The look-ahead inside u is Nesterov's; the factor keeps the size of what the
// matrix adds to its output independent of its shape.
func (o *optimizer) muon(p *param, from, to int, scratch []float32, gemm *kernel.Scratch) {
	cols := p.shape[1]
	rows := (to - from) / cols
	x, w, m, g := scratch[:to-from], p.w[from:to], p.m[from:to], p.g[from:to]
	kernel.Combine(m, muonMomentum, m, (1-muonMomentum)*o.now.scale, g)
	kernel.Combine(x, muonMomentum, m, (1-muonMomentum)*o.now.scale, g)
	x = newtonSchulz(x, rows, cols, scratch, o.precision, gemm)
	lr := float32(p.lr * o.now.share)
	kernel.Combine(w, 1-lr*o.now.decay, w, -lr*float32(math.Sqrt(max(1, float64(rows)/float64(cols)))), x)
}

// onGram reports whether newtonSchulz iterates on the Gram matrix alone. Its room
// must hold four of them beside x.
func onGram(rows, cols int, precision kernel.Precision) bool {
	return precision == kernel.F32 && max(rows, cols) >= 2*min(rows, cols)
}

// muonCost is about how many multiplications and additions newtonSchulz does.
func muonCost(rows, cols int, precision kernel.Precision) float64 {
	m, n := float64(min(rows, cols)), float64(max(rows, cols))
	if onGram(rows, cols, precision) {
		return 3*m*m*n + (1+4*(muonSteps-1))*m*m*m
	}
	return muonSteps * (3*m*m*n + m*m*m)
}

// newtonSchulz returns about the nearest semi-orthogonal matrix to x
// [rows, cols], which is the start of scratch; the result lies in scratch too.
// It works on the smaller of XXᵀ and XᵀX, and for a square X on the latter, since
// rows are packed faster than columns.
//
// An iteration multiplies X by P = aI + bA + cA², A = XXᵀ. In float32, where X is
// at least twice as long as wide, they are done on A alone, PAP being the next A, and the
// product Q of all P is applied to X at the end. All of these are polynomials of the
// first A, and so symmetric ("Gram Newton–Schulz", Dao AI Lab 2026). What rounding
// does to A's small eigenvalues grows twelvefold with each iteration, to 1e-3 at
// most, and comes out multiplied by the small singular values that it belongs to:
// the result is within about 1e-6 of float64's. bfloat16 would not bear it.
func newtonSchulz(x []float32, rows, cols int, scratch []float32, precision kernel.Precision, s *kernel.Scratch) []float32 {
	n, m := rows*cols, min(rows, cols)
	next, a, p := scratch[n:2*n], scratch[2*n:2*n+m*m], scratch[3*n:3*n+m*m]
	symmetric := func(op kernel.Op, k int, x []float32, ldx int, y []float32, out []float32) {
		kernel.GemmSymmetric(op, m, k, x, ldx, y, ldx, out, m, false, precision, s)
	}
	gram := func() { // A = XXᵀ, or XᵀX
		if rows < cols {
			symmetric(kernel.NT, cols, x, cols, x, a)
		} else {
			symmetric(kernel.TN, rows, x, cols, x, a)
		}
	}
	product := func(out, x, y []float32) { symmetric(kernel.NN, m, x, m, y, out) }
	polynomial := func(p []float32) { // bA + cA²
		product(p, a, a)
		kernel.Combine(p, muonB, a, muonC, p)
	}
	apply := func(q []float32, accumulate bool) {
		if rows < cols { // QX
			kernel.GemmSerial(kernel.NN, m, cols, m, q, m, x, cols, next, cols, accumulate, precision, s)
		} else { // XQ
			kernel.GemmSerial(kernel.NN, rows, m, m, x, cols, q, m, next, cols, accumulate, precision, s)
		}
		x, next = next, x
	}
	addDiagonal := func(p []float32) {
		for i := 0; i < m*m; i += m + 1 {
			p[i] += muonA
		}
	}

	kernel.Scale(x, float32(1/(math.Sqrt(kernel.SumSquares(x))+muonEps)))
	switch {
	case precision != kernel.F32: // aX is added in float32
		for range muonSteps {
			gram()
			polynomial(p)
			kernel.Combine(next, muonA, x, 0, x)
			apply(p, true)
		}
	case !onGram(rows, cols, precision):
		for range muonSteps {
			gram()
			polynomial(p)
			addDiagonal(p)
			apply(p, false)
		}
	default:
		gram()
		polynomial(p)
		addDiagonal(p)
		q, t, free := p, scratch[3*n+m*m:3*n+2*m*m], scratch[2*n+m*m:2*n+2*m*m]
		for range muonSteps - 1 {
			product(t, p, a) // PA
			product(a, t, p) // PAP
			p = free
			polynomial(p)
			addDiagonal(p)
			product(t, p, q)
			q, t, free = t, q, p
		}
		apply(q, false)
	}
	return x
}
