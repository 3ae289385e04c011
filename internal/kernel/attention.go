package kernel

import (
	"fmt"
	"math"
)

// Attention is computed in tiles of attnRows queries by attnKeys keys, so its
// working memory does not grow with the length but for a few numbers a row.
const (
	attnRows = 48 // a multiple of every mr and of attnSub
	attnKeys = blockK
	// attnSub is the number of rows (or keys) for which a tile on the diagonal
	// is cut to the part that the causal mask leaves.
	attnSub = 24
)

// AttentionForward computes causal attention of one head over one sequence of
// t positions: query i sees keys 0 to i.
//
//	out[i] = Σⱼ pᵢⱼ v[j],  pᵢⱼ = e^(scale·q[i]·k[j] - lse[i])
//
// q and k are [t, dqk], v and out [t, dv], each with a leading dimension of its
// own; lse [t] is what AttentionBackward needs. scale is positive. Precision BF16
// rounds the operands of products where FastBF16 says that this is faster.
func AttentionForward(t, dqk, dv int, q []float32, ldq int, k []float32, ldk int, v []float32, ldv int, out []float32, ldo int, lse []float32, scale float32, precision Precision, s *Scratch) {
	checkAttention(t, dqk, dv, scale, len(lse))
	checkMatrix("q", q, t, dqk, ldq)
	checkMatrix("k", k, t, dqk, ldk)
	checkMatrix("v", v, t, dv, ldv)
	checkMatrix("out", out, t, dv, ldo)
	if t == 0 {
		return
	}
	if roundsAttention(precision, dqk, dv) {
		attentionForwardBF16(t, dqk, dv, q, ldq, k, ldk, v, ldv, out, ldo, lse, scale, s)
		return
	}
	keys := min(t, attnKeys)
	w := split(&s.attn, packedLen(keys, dqk), packedLen(dv, keys), attnRows*keys, t)
	kt, vp, score, sum := w[0], w[1], w[2], w[3]
	for j0 := 0; j0 < t; j0 += attnKeys {
		j1 := min(j0+attnKeys, t)
		packPanels(NT, kt, k[j0*ldk:], ldk, j1-j0, dqk, 0, panels(j1-j0))
		packPanels(NN, vp, v[j0*ldv:], ldv, dv, j1-j0, 0, panels(dv))
		for i0 := j0; i0 < t; i0 += attnRows {
			i1 := min(i0+attnRows, t)
			scores(score, keys, q, ldq, kt, dqk, i0, i1, j0, j1)
			for i := i0; i < i1; i++ {
				row := score[(i-i0)*keys:][:keys]
				softmaxTile(row[:min(i+1, j1)-j0], out[i*ldo:][:dv], &lse[i], &sum[i], scale, j0 == 0)
				clear(row[min(i+1, j1)-j0 : min(i1, j1)-j0])
			}
			timesKeys(score, keys, vp, dv, out, ldo, i0, i1, j0, j1, j0 > 0)
		}
	}
	for i, m := range lse[:t] {
		scaleVector(out[i*ldo:][:dv], 1/sum[i])
		lse[i] = m + float32(math.Log(float64(sum[i])))
	}
}

// softmaxTile replaces a row of scores by exponentials relative to the largest
// score so far, *top, and rescales what earlier tiles left in out and *sum.
func softmaxTile(row, out []float32, top, sum *float32, scale float32, first bool) {
	m := scale * maximum(row)
	if first {
		*top, *sum = m, expSum(row, row, scale, -m)
		return
	}
	if m > *top {
		shrink := exp1(*top - m)
		scaleVector(out, shrink)
		*sum *= shrink
		*top = m
	}
	*sum += expSum(row, row, scale, -*top)
}

// AttentionBackward computes the gradients of AttentionForward, given that of
// its output, dout, with the probabilities recomputed from lse. It overwrites
// dq, dk and dv.
func AttentionBackward(t, dqk, dv int, q []float32, ldq int, k []float32, ldk int, v []float32, ldv int, out []float32, ldo int, lse []float32,
	dout []float32, lddo int, dq []float32, lddq int, dk []float32, lddk int, dvv []float32, lddv int, scale float32, precision Precision, s *Scratch) {
	checkAttention(t, dqk, dv, scale, len(lse))
	checkMatrix("q", q, t, dqk, ldq)
	checkMatrix("k", k, t, dqk, ldk)
	checkMatrix("v", v, t, dv, ldv)
	checkMatrix("out", out, t, dv, ldo)
	checkMatrix("dout", dout, t, dv, lddo)
	checkMatrix("dq", dq, t, dqk, lddq)
	checkMatrix("dk", dk, t, dqk, lddk)
	checkMatrix("dv", dvv, t, dv, lddv)
	if t == 0 {
		return
	}
	if roundsAttention(precision, dqk, dv) {
		attentionBackwardBF16(t, dqk, dv, q, ldq, k, ldk, v, ldv, out, ldo, lse, dout, lddo, dq, lddq, dk, lddk, dvv, lddv, scale, s)
		return
	}
	keys := min(t, attnKeys)
	w := split(&s.attn, packedLen(keys, dqk), packedLen(keys, dv), packedLen(dqk, keys), // kᵀ, vᵀ, k
		packedLen(dqk, attnRows), packedLen(dv, attnRows), // rows of q and of dout
		attnRows*keys, attnRows*keys, t) // p, dp, along
	kt, vt, kp, qp, op, p, dp, along := w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
	for i := range t {
		along[i] = dot(dout[i*lddo:][:dv], out[i*ldo:][:dv])
	}
	for j0 := 0; j0 < t; j0 += attnKeys {
		j1 := min(j0+attnKeys, t)
		packPanels(NT, kt, k[j0*ldk:], ldk, j1-j0, dqk, 0, panels(j1-j0))
		packPanels(NT, vt, v[j0*ldv:], ldv, j1-j0, dv, 0, panels(j1-j0))
		packPanels(NN, kp, k[j0*ldk:], ldk, dqk, j1-j0, 0, panels(dqk))
		for i0 := j0; i0 < t; i0 += attnRows {
			i1 := min(i0+attnRows, t)
			scores(p, keys, q, ldq, kt, dqk, i0, i1, j0, j1)
			scores(dp, keys, dout, lddo, vt, dv, i0, i1, j0, j1)
			for i := i0; i < i1; i++ {
				n := min(i+1, j1) - j0
				pr, dr := p[(i-i0)*keys:][:min(i1, j1)-j0], dp[(i-i0)*keys:][:min(i1, j1)-j0]
				expSum(pr[:n], pr[:n], scale, -lse[i])
				scoreGrad(dr[:n], pr[:n], along[i], scale)
				clear(pr[n:])
				clear(dr[n:])
			}
			timesKeys(dp, keys, kp, dqk, dq, lddq, i0, i1, j0, j1, j0 > 0)
			packPanels(NN, op, dout[i0*lddo:], lddo, dv, i1-i0, 0, panels(dv))
			packPanels(NN, qp, q[i0*ldq:], ldq, dqk, i1-i0, 0, panels(dqk))
			timesRows(p, keys, op, dv, dvv, lddv, i0, i1, j0, j1)
			timesRows(dp, keys, qp, dqk, dk, lddk, i0, i1, j0, j1)
		}
	}
}

// scores sets the tile of queries [i0, i1) and keys [j0, j1), as far as the
// causal mask leaves it, to their products; packed holds the keys, d wide.
func scores(dst []float32, ld int, q []float32, ldq int, packed []float32, d, i0, i1, j0, j1 int) {
	g := Group{M: i1 - i0, N: j1 - j0, K: d, A: q[i0*ldq:], LDA: ldq, C: dst, LDC: ld}
	for p := 0; j0+p*tile.nr < min(i1, j1); p++ {
		r0 := max(0, j0+p*tile.nr-i0) // rows above see none of these keys
		multiplyPacked(&g, packed, span{r0: r0, r1: i1 - i0, p0: p, p1: p + 1}, false)
	}
}

// timesKeys adds to (or sets) rows [i0, i1) of dst the product of the tile p
// with the packed [j1-j0, d] of the keys' block.
func timesKeys(p []float32, ld int, packed []float32, d int, dst []float32, lddst, i0, i1, j0, j1 int, accumulate bool) {
	for r0 := i0; r0 < i1; r0 += attnSub {
		r1 := min(r0+attnSub, i1)
		n := min(r1, j1) - j0
		for c := 0; n > 0 && c < d; c += tile.nr {
			multiplyPanel(r1-r0, min(tile.nr, d-c), n, p[(r0-i0)*ld:], tile.mr*ld, ld, 1,
				packed[c*(j1-j0):], dst[r0*lddst+c:], lddst, accumulate)
		}
	}
}

// timesRows adds to rows [j0, j1) of dst the product of the transposed tile p
// with the packed [i1-i0, d] of the queries' block. Keys that these queries are
// the first to see are set.
func timesRows(p []float32, ld int, packed []float32, d int, dst []float32, lddst, i0, i1, j0, j1 int) {
	end := min(i1, j1)
	for k0 := j0; k0 < end; k0 += attnSub {
		k1 := min(k0+attnSub, end)
		r0 := max(i0, k0) // rows above see none of these keys
		for c := 0; c < d; c += tile.nr {
			multiplyPanel(k1-k0, min(tile.nr, d-c), i1-r0, p[(r0-i0)*ld+k0-j0:], tile.mr, 1, ld,
				packed[c*(i1-i0)+(r0-i0)*tile.nr:], dst[k0*lddst+c:], lddst, k0 < i0)
		}
	}
}

func checkAttention(t, dqk, dv int, scale float32, lse int) {
	if t < 0 || dqk < 1 || dv < 1 || !(scale > 0) {
		panic(fmt.Sprintf("kernel: attention over %d positions, widths %d and %d, scale %v", t, dqk, dv, scale))
	}
	if lse < t {
		panic(fmt.Sprintf("kernel: lse holds %d elements for %d positions", lse, t))
	}
}

// split cuts memory, which it grows, into pieces of the given lengths that begin
// on cache lines where memory does.
func split[T float32 | uint16](memory *[]T, lengths ...int) (pieces [8][]T) {
	const line = 32 // elements of the smaller type
	total := 0
	for _, n := range lengths {
		total += (n + line - 1) &^ (line - 1)
	}
	*memory = grow(*memory, total)
	at := 0
	for i, n := range lengths {
		pieces[i] = (*memory)[at : at+n]
		at += (n + line - 1) &^ (line - 1)
	}
	return pieces
}
