package model

import "retort/internal/kernel"

// routing sorts the choices of a layer's router by expert. Choice i = token·K+j
// is the j-th expert of a token; within an expert tokens keep their order.
type routing struct {
	start  []int   // [E+1] the sorted rows of expert e are start[e] to start[e+1]
	choice []int32 // [T·K] sorted row → choice
	row    []int32 // [T·K] choice → sorted row
}

func newRouting(c Config, tokens int) routing {
	n := tokens * c.TopK
	return routing{start: make([]int, c.RoutedExperts+1), choice: make([]int32, n), row: make([]int32, n)}
}

func (r *routing) bounds(e int) (from, to int) { return r.start[e], r.start[e+1] }

// sort is a counting sort of the experts chosen.
func (r *routing) sort(experts []int32) {
	clear(r.start)
	last := len(r.start) - 1
	for _, e := range experts {
		r.start[e]++
	}
	end := 0
	for e := range last {
		end += r.start[e]
		r.start[e] = end
	}
	r.start[last] = end
	for i := len(experts) - 1; i >= 0; i-- {
		e := experts[i]
		r.start[e]--
		r.choice[r.start[e]], r.row[i] = int32(i), int32(r.start[e])
	}
}

// expertTask is a block of sorted rows of one expert.
type expertTask struct{ expert, from, to int }

// topK sets choice to the indices of the len(choice) largest of score + bias,
// largest first, the lower index of equals.
func topK(choice []int32, score, bias []float32) {
	for j := range choice {
		best, value := -1, float32(0)
	candidates:
		for e, s := range score {
			if bias != nil {
				s += bias[e]
			}
			if best >= 0 && !(s > value) {
				continue
			}
			for _, taken := range choice[:j] {
				if int(taken) == e {
					continue candidates
				}
			}
			best, value = e, s
		}
		choice[j] = int32(best)
	}
}

// gate turns a token's scores into experts and weights: experts by score + bias,
// weights by score alone, normalised over the chosen and scaled.
func gate(choice []int32, weight, score, bias []float32, scale float32) {
	topK(choice, score, bias)
	sum := float32(1e-20)
	for _, e := range choice {
		sum += score[e]
	}
	for j, e := range choice {
		weight[j] = score[e] / sum * scale
	}
}

// chooseExperts scores rows [from, to) of the layer's normed input.
func (p *Pass) chooseExperts(from, to int, s *kernel.Scratch) {
	c, x := &p.config, &p.act[p.layer]
	e, k, d := c.RoutedExperts, c.TopK, p.ld.d
	kernel.GemmPackedSerial(to-from, x.x1n[from*d:], d, p.forward.layer[p.layer].router, x.score[from*e:], e, false, s)
	score := x.score[from*e : to*e]
	kernel.Sigmoid(score, score)
	for i := from; i < to; i++ {
		gate(x.choice[i*k:(i+1)*k], x.weight[i*k:(i+1)*k], x.score[i*e:(i+1)*e], p.w.layer[p.layer].bias, float32(c.RoutedScale))
	}
}

// sortByExpert groups the layer's tokens by expert, plans the experts' work and
// takes the balance loss.
func (p *Pass) sortByExpert() {
	x := &p.act[p.layer]
	x.route.sort(x.choice[:len(p.batch.Tokens)*p.config.TopK])
	for e := range p.loads[p.layer] {
		from, to := x.route.bounds(e)
		p.loads[p.layer][e] = to - from
	}
	p.planExperts()
	for s := range p.batch.Starts {
		p.auxiliary += p.balanceOf(s)
	}
}

// planExperts cuts the layer's sorted rows into tasks.
func (p *Pass) planExperts() {
	x := &p.act[p.layer]
	p.tasks = p.tasks[:0]
	for e := range p.config.RoutedExperts {
		from, to := x.route.bounds(e)
		for ; from < to; from += blockRows {
			p.tasks = append(p.tasks, expertTask{e, from, min(from+blockRows, to)})
		}
	}
}

// balanceOf is DeepSeek-V3's balance loss of one sequence of T tokens,
//
//	Σ_e f_e·P_e,  f_e = E/(K·T)·Σ_t [score among the K largest of t],  P_e = 1/T·Σ_t score_e/Σ score,
//
// weighted by balance / sequences. It keeps f, which is not differentiated.
func (p *Pass) balanceOf(s int) float64 {
	c, x := &p.config, &p.act[p.layer]
	e := c.RoutedExperts
	from, to := p.batch.bounds(s)
	f := x.share[s*e : (s+1)*e]
	clear(f)
	unit := float32(float64(e) / float64(c.TopK*(to-from)))
	for i := from; i < to; i++ {
		score := x.score[i*e : (i+1)*e]
		topK(p.favourites, score, nil)
		for _, j := range p.favourites {
			f[j] += unit
		}
	}
	loss := 0.0
	for i := from; i < to; i++ {
		score := x.score[i*e : (i+1)*e]
		sum, mean := 0.0, 0.0
		for j, v := range score {
			sum += float64(v)
			mean += float64(v) * float64(f[j])
		}
		if sum > 0 {
			loss += mean / sum
		}
	}
	return p.balance / float64(len(p.batch.Starts)) * loss / float64(to-from)
}

// runExperts computes the outputs of a block of one expert's tokens.
func (p *Pass) runExperts(part, worker int) {
	t := p.tasks[part]
	c, x := &p.config, &p.act[p.layer]
	d := p.ld.d
	for r := t.from; r < t.to; r++ {
		token := int(x.route.choice[r]) / c.TopK
		copy(x.xs[r*d:][:c.Hidden], x.x1n[token*d:])
	}
	y := p.flow.ys[t.from*d : t.to*d]
	clear(y)
	p.mlpForward(&x.expert, p.forward.layer[p.layer].expert[t.expert], x.xs, y, t.from, t.to, p.pool.Scratch(worker))
}

// combine adds the experts' weighted outputs to the residual stream of a block
// and prepares the next layer's attention.
func (p *Pass) combine(part, worker int) {
	from, to := p.rows(part)
	c, x := &p.config, &p.act[p.layer]
	d, n := p.ld.d, c.Hidden
	next := p.stream(p.layer + 1)
	for i := from; i < to; i++ {
		for j := i * c.TopK; j < (i+1)*c.TopK; j++ {
			kernel.Axpy(next[i*d:][:n], x.weight[j], p.flow.ys[int(x.route.row[j])*d:][:n])
		}
	}
	if p.layer+1 < c.Layers {
		p.beforeAttention(p.layer+1, from, to, p.pool.Scratch(worker))
	}
}

// expertGrad takes the gradient of the residual stream through a block of one
// expert's tokens: to its input, and to the weight that the router gave.
func (p *Pass) expertGrad(part, worker int) {
	t, s := p.tasks[part], p.pool.Scratch(worker)
	c, x, f := &p.config, &p.act[p.layer], &p.flow
	m := p.backward.layer[p.layer].expert[t.expert]
	d, w, n, dh, a := p.ld.d, c.MoEIntermediate, t.to-t.from, p.work[worker].dh, &x.expert
	for r := t.from; r < t.to; r++ {
		token := int(x.route.choice[r]) / c.TopK
		copy(f.dys[r*d:][:c.Hidden], f.dx[token*d:])
	}
	// With y = weight·down·h: the gradient of weight is dy·(down·h) = (downᵀ·dy)·h.
	kernel.GemmPackedSerial(n, f.dys[t.from*d:], d, m.down, dh, a.ldh, false, s)
	for r := t.from; r < t.to; r++ {
		weight := x.weight[x.route.choice[r]]
		g, h, row := dh[(r-t.from)*a.ldh:][:w], a.h[r*a.ldh:][:w], a.gateUp[r*a.ld:][:2*w]
		f.dweight[r] = kernel.Dot(g, h)
		kernel.Scale(g, weight)
		kernel.SwiGLUGrad(row[:w], row[w:], g, row[:w], row[w:])
		kernel.Scale(h, weight) // for the gradient of down
	}
	kernel.GemmPackedSerial(n, a.gateUp[t.from*a.ld:], a.ld, m.gateUp, f.ys[t.from*d:], d, false, s)
}

// moeGrad gathers what the experts and the router send back to the normed input
// of a block and goes on to attention.
func (p *Pass) moeGrad(part, worker int) {
	s := p.pool.Scratch(worker)
	from, to := p.rows(part)
	c, x, f := &p.config, &p.act[p.layer], &p.flow
	d, n, e := p.ld.d, c.Hidden, c.RoutedExperts
	for i := from; i < to; i++ {
		dxn := f.dx1n[i*d:][:n]
		for j := i * c.TopK; j < (i+1)*c.TopK; j++ {
			kernel.Add(dxn, dxn, f.ys[int(x.route.row[j])*d:][:n])
		}
		p.gateGrad(i)
	}
	kernel.GemmPackedSerial(to-from, f.dscore[from*e:], e, p.backward.layer[p.layer].router, f.dx1n[from*d:], d, true, s)
	p.outGrad(part, f.dx1n[from*d:], s)
}

// gateGrad sets the gradient of one token's router logits, from the weights of
// its experts and from the balance loss.
func (p *Pass) gateGrad(i int) {
	c, x := &p.config, &p.act[p.layer]
	e, k := c.RoutedExperts, c.TopK
	score, ds := x.score[i*e:(i+1)*e], p.flow.dscore[i*e:(i+1)*e]

	// Balance: ∂/∂s_e of Σ f·s/Σs is (f_e - Σ f·s/Σs)/Σs.
	s := int(p.sequence[i])
	from, to := p.batch.bounds(s)
	share := x.share[s*e : (s+1)*e]
	sum, along := float32(1e-20), float32(0)
	for j, v := range score {
		sum += v
		along += v * share[j]
	}
	unit := float32(p.balance/float64(len(p.batch.Starts)*(to-from))) / sum
	along /= sum
	for j := range ds {
		ds[j] = unit * (share[j] - along)
	}

	// Weights: w_j = scale·s_j/Σs over the chosen.
	choice := x.choice[i*k : (i+1)*k]
	sum, along = 1e-20, 0
	for j, expert := range choice {
		sum += score[expert]
		along += score[expert] * p.flow.dweight[x.route.row[i*k+j]]
	}
	along /= sum
	scale := float32(c.RoutedScale) / sum
	for j, expert := range choice {
		ds[expert] += scale * (p.flow.dweight[x.route.row[i*k+j]] - along)
	}
	for j, v := range score {
		ds[j] *= v * (1 - v)
	}
}
