package model

import (
	"math"
	"slices"
)

// reference is the model in plain float64 loops, written from the definitions
// and sharing nothing with the fast path but the layout of weights. Its loss is
// what finite differences are taken of.
type reference struct {
	config  Config
	arena   []float64
	w       weights[float64]
	balance float64
}

func newReference(m *Model, balance float64) *reference {
	r := &reference{config: m.config, arena: make([]float64, len(m.arena)), balance: balance}
	for i, v := range m.arena {
		r.arena[i] = float64(v)
	}
	r.w, _, _ = carve(r.config, r.arena)
	return r
}

// product is W·x for W [out, len(x)].
func product(w, x []float64) []float64 {
	y := make([]float64, len(w)/len(x))
	for i := range y {
		for j, v := range x {
			y[i] += w[i*len(x)+j] * v
		}
	}
	return y
}

func sum(x, y []float64) []float64 {
	z := slices.Clone(x)
	for i := range z {
		z[i] += y[i]
	}
	return z
}

func rmsNorm(x, w []float64, eps float64) []float64 {
	mean := 0.0
	for _, v := range x {
		mean += v * v / float64(len(x))
	}
	y := make([]float64, len(x))
	for i := range x {
		y[i] = x[i] * w[i] / math.Sqrt(mean+eps)
	}
	return y
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func swiGLU(m mlpWeights[float64], x []float64) []float64 {
	gu := product(m.gateUp, x)
	h := make([]float64, m.width)
	for i := range h {
		h[i] = gu[i] * logistic(gu[i]) * gu[m.width+i]
	}
	return product(m.down, h)
}

// rotate is transformers' apply_rotary_pos_emb_interleave: pairs are neighbours
// going in and half a width apart coming out.
func (r *reference) rotate(x []float64, pos int) []float64 {
	half := len(x) / 2
	y := make([]float64, len(x))
	for i := range half {
		angle := float64(pos) * math.Pow(r.config.RopeTheta, -2*float64(i)/float64(len(x)))
		if r.config.RopeFactors {
			angle /= r.w.rope[i]
		}
		sin, cos := math.Sincos(angle)
		y[i] = x[2*i]*cos - x[2*i+1]*sin
		y[half+i] = x[2*i+1]*cos + x[2*i]*sin
	}
	return y
}

// attention of one sequence over normed inputs.
func (r *reference) attention(l *layerWeights[float64], xs [][]float64) [][]float64 {
	c := r.config
	n, rope, v := c.NopeDim, c.RopeDim, c.VDim
	// Queries; each head's keys without position and values; rotated keys, one for
	// all heads or one for each.
	var qs, kvs, keys [][]float64
	keyStep := 0
	for pos, x := range xs {
		in := product(l.in, x)
		if c.grouped() {
			keyStep = rope
			if c.QKVBias {
				in = sum(in, l.inBias)
			}
			turned := func(head int, norm []float64) []float64 {
				x := in[head*v:][:v]
				if c.QKNorm {
					x = rmsNorm(x, norm, c.NormEps)
				}
				return r.rotate(x, pos)
			}
			var q, k, kv []float64
			for h := range c.Heads {
				g := h / (c.Heads / c.KVHeads)
				q = append(q, turned(h, l.qHead)...)
				k = append(k, turned(c.Heads+g, l.kHead)...)
				kv = append(kv, in[(c.Heads+c.KVHeads+g)*v:][:v]...)
			}
			qs, kvs, keys = append(qs, q), append(kvs, kv), append(keys, k)
			continue
		}
		q := in[:c.qIn()]
		if c.QLoraRank > 0 {
			q = product(l.qB, rmsNorm(q, l.qNorm, 1e-6))
		}
		q = slices.Clone(q)
		for h := range c.Heads {
			part := q[h*(n+rope)+n:][:rope]
			copy(part, r.rotate(part, pos))
		}
		latent := rmsNorm(in[c.qIn():][:c.KVLoraRank], l.kvNorm, 1e-6)
		qs, kvs = append(qs, q), append(kvs, product(l.kvB, latent))
		keys = append(keys, r.rotate(in[c.qIn()+c.KVLoraRank:], pos))
	}
	var out [][]float64
	for i, q := range qs {
		o := make([]float64, 0, c.Heads*v)
		for h := range c.Heads {
			e, total := make([]float64, i+1), 0.0
			for j := range e {
				score := 0.0
				for a := range n {
					score += q[h*(n+rope)+a] * kvs[j][h*(n+v)+a]
				}
				for a := range rope {
					score += q[h*(n+rope)+n+a] * keys[j][h*keyStep+a]
				}
				e[j] = math.Exp(score / math.Sqrt(float64(n+rope)))
				total += e[j]
			}
			head := make([]float64, v)
			for j := range e {
				for a := range v {
					head[a] += e[j] / total * kvs[j][h*(n+v)+n+a]
				}
			}
			o = append(o, head...)
		}
		out = append(out, product(l.out, o))
	}
	return out
}

// largest are the indices of the k largest of x.
func largest(x []float64, k int) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return 0
	})
	return order[:k]
}

// experts of one sequence: outputs and the sequence's balance loss.
func (r *reference) experts(l *layerWeights[float64], xs [][]float64) (out [][]float64, balance float64) {
	c := r.config
	f, p := make([]float64, c.RoutedExperts), make([]float64, c.RoutedExperts)
	t := float64(len(xs))
	for _, x := range xs {
		score := product(l.router, x)
		total := 0.0
		for e := range score {
			score[e] = logistic(score[e])
			total += score[e]
		}
		for e := range score {
			p[e] += score[e] / total / t
		}
		for _, e := range largest(score, c.TopK) {
			f[e] += float64(c.RoutedExperts) / (float64(c.TopK) * t)
		}
		chosen := largest(sum(score, l.bias), c.TopK)
		total = 1e-20
		for _, e := range chosen {
			total += score[e]
		}
		y := swiGLU(l.shared, x)
		for _, e := range chosen {
			for i, v := range swiGLU(l.expert[e], x) {
				y[i] += c.RoutedScale * score[e] / total * v
			}
		}
		out = append(out, y)
	}
	for e := range f {
		balance += f[e] * p[e]
	}
	return out, balance
}

// logits of one sequence at every position, and the balance losses of its layers.
func (r *reference) logits(tokens []int32) (out [][]float64, balance float64) {
	c := r.config
	var xs [][]float64
	for _, t := range tokens {
		xs = append(xs, r.w.embed[int(t)*c.Hidden:][:c.Hidden])
	}
	normed := func(w []float64) (ys [][]float64) {
		for _, x := range xs {
			ys = append(ys, rmsNorm(x, w, c.NormEps))
		}
		return ys
	}
	for i := range r.w.layer {
		l := &r.w.layer[i]
		for j, y := range r.attention(l, normed(l.attnNorm)) {
			xs[j] = sum(xs[j], y)
		}
		h := normed(l.ffnNorm)
		if c.isMoE(i) {
			ys, b := r.experts(l, h)
			for j, y := range ys {
				xs[j] = sum(xs[j], y)
			}
			balance += b
			continue
		}
		for j := range xs {
			xs[j] = sum(xs[j], swiGLU(l.dense, h[j]))
		}
	}
	for _, x := range normed(r.w.norm) {
		out = append(out, product(r.w.head, x))
	}
	return out, balance
}

// loss is the mean cross-entropy and the weighted mean balance loss of b.
func (r *reference) loss(b Batch) (entropy, balance float64) {
	n := 0
	for s := range b.Starts {
		from, to := b.bounds(s)
		rows, aux := r.logits(b.Tokens[from:to])
		balance += r.balance * aux / float64(len(b.Starts))
		for i, row := range rows {
			y := b.Targets[from+i]
			if y < 0 {
				continue
			}
			total := 0.0
			for _, v := range row {
				total += math.Exp(v)
			}
			entropy += math.Log(total) - row[y]
			n++
		}
	}
	return entropy / float64(n), balance
}
