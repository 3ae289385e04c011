package kernel

import "math"

// attnRowsBF16 is the number of queries of a tile of attention in bfloat16.
const attnRowsBF16 = 2 * tileRows

// roundsAttention reports whether attention of these widths can be computed with
// instructions for bfloat16.
func roundsAttention(precision Precision, dqk, dv int) bool {
	return precision == BF16 && FastBF16() && dqk <= blockK && dv <= blockK
}

// attentionForwardBF16 is AttentionForward with the operands of both products
// rounded, scores and sums being float32.
func attentionForwardBF16(t, dqk, dv int, q []float32, ldq int, k []float32, ldk int, v []float32, ldv int, out []float32, ldo int, lse []float32, scale float32, s *Scratch) {
	keys := padK(min(t, attnKeys))
	wide := max(padK(dqk), keys) + rowSlack
	f := split(&s.attn, attnRowsBF16*keys, t)
	score, sum := f[0], f[1]
	h := split(&s.attn16, packedLenBF16(keys, dqk), packedLenBF16(dv, keys), attnRowsBF16*wide)
	kt, vp, a := h[0], h[1], h[2]
	for j0 := 0; j0 < t; j0 += attnKeys {
		j1 := min(j0+attnKeys, t)
		packPanelsBF16(NT, kt, k[j0*ldk:], ldk, j1-j0, dqk, s)
		packPanelsBF16(NN, vp, v[j0*ldv:], ldv, dv, j1-j0, s)
		for i0 := j0; i0 < t; i0 += attnRowsBF16 {
			i1 := min(i0+attnRowsBF16, t)
			seen := padK(min(i1, j1) - j0)
			scoresBF16(score, keys, q[i0*ldq:], ldq, i1-i0, dqk, kt, seen, a, wide, s)
			for i := i0; i < i1; i++ {
				row := score[(i-i0)*keys:][:seen]
				n := min(i+1, j1) - j0
				softmaxTile(row[:n], out[i*ldo:][:dv], &lse[i], &sum[i], scale, j0 == 0)
				clear(row[n:])
			}
			convertRows(a, wide, score, keys, i1-i0, seen)
			multiplyPanelsBF16(i1-i0, dv, seen, 0, panels(dv), a, wide, vp, padK(j1-j0)*panelN, out[i0*ldo:], ldo, j0 > 0, s)
		}
	}
	for i, m := range lse[:t] {
		scaleVector(out[i*ldo:][:dv], 1/sum[i])
		lse[i] = m + float32(math.Log(float64(sum[i])))
	}
}

// scoresBF16 sets dst [m, seen], whose rows are ld apart, to the products of m
// rows of q, d wide, with packed keys. dst has room for whole tiles.
func scoresBF16(dst []float32, ld int, q []float32, ldq, m, d int, packed []uint16, seen int, a []uint16, lda int, s *Scratch) {
	convertRows(a, lda, q, ldq, m, d)
	whole := (m + tileRows - 1) / tileRows * tileRows // beyond m it is anything
	multiplyPanelsBF16(whole, ld, padK(d), 0, seen/panelN, a, lda, packed, padK(d)*panelN, dst, ld, false, s)
}

// attentionBackwardBF16 is AttentionBackward with the operands of all products
// rounded.
func attentionBackwardBF16(t, dqk, dv int, q []float32, ldq int, k []float32, ldk int, v []float32, ldv int, out []float32, ldo int, lse []float32,
	dout []float32, lddo int, dq []float32, lddq int, dk []float32, lddk int, dvv []float32, lddv int, scale float32, s *Scratch) {
	keys := padK(min(t, attnKeys))
	wide := max(padK(dqk), padK(dv), keys) + rowSlack
	const deep = attnRowsBF16 + rowSlack // of a row of a transposed tile
	f := split(&s.attn, attnRowsBF16*keys, attnRowsBF16*keys, t)
	p, dp, along := f[0], f[1], f[2]
	h := split(&s.attn16, packedLenBF16(keys, dqk), packedLenBF16(keys, dv), packedLenBF16(dqk, keys), // kᵀ, vᵀ, k
		packedLenBF16(dqk, attnRowsBF16), packedLenBF16(dv, attnRowsBF16), // rows of q and of dout
		attnRowsBF16*wide, keys*deep) // rows of a tile, and a tile transposed
	kt, vt, kp, qp, op, a, at := h[0], h[1], h[2], h[3], h[4], h[5], h[6]
	for i := range t {
		along[i] = dot(dout[i*lddo:][:dv], out[i*ldo:][:dv])
		clear(dq[i*lddq:][:dqk])
		clear(dk[i*lddk:][:dqk])
		clear(dvv[i*lddv:][:dv])
	}
	for j0 := 0; j0 < t; j0 += attnKeys {
		j1 := min(j0+attnKeys, t)
		packPanelsBF16(NT, kt, k[j0*ldk:], ldk, j1-j0, dqk, s)
		packPanelsBF16(NT, vt, v[j0*ldv:], ldv, j1-j0, dv, s)
		packPanelsBF16(NN, kp, k[j0*ldk:], ldk, dqk, j1-j0, s)
		for i0 := j0; i0 < t; i0 += attnRowsBF16 {
			i1 := min(i0+attnRowsBF16, t)
			m, end := i1-i0, min(i1, j1)-j0
			seen := padK(end)
			scoresBF16(p, keys, q[i0*ldq:], ldq, m, dqk, kt, seen, a, wide, s)
			scoresBF16(dp, keys, dout[i0*lddo:], lddo, m, dv, vt, seen, a, wide, s)
			for i := i0; i < i1; i++ {
				n := min(i+1, j1) - j0
				pr, dr := p[(i-i0)*keys:][:seen], dp[(i-i0)*keys:][:seen]
				expSum(pr[:n], pr[:n], scale, -lse[i])
				scoreGrad(dr[:n], pr[:n], along[i], scale)
				clear(pr[n:])
				clear(dr[n:])
			}
			convertRows(a, wide, dp, keys, m, seen)
			multiplyPanelsBF16(m, dqk, seen, 0, panels(dqk), a, wide, kp, padK(j1-j0)*panelN, dq[i0*lddq:], lddq, true, s)
			packPanelsBF16(NN, op, dout[i0*lddo:], lddo, dv, m, s)
			packPanelsBF16(NN, qp, q[i0*ldq:], ldq, dqk, m, s)
			timesRowsBF16(p, keys, m, seen, end, at, deep, op, dv, dvv[j0*lddv:], lddv, s)
			timesRowsBF16(dp, keys, m, seen, end, at, deep, qp, dqk, dk[j0*lddk:], lddk, s)
		}
	}
}

// timesRowsBF16 adds to dst [end, d] the product of the transposed tile p
// [m, seen] with the packed [m, d] of the queries.
func timesRowsBF16(p []float32, ld, m, seen, end int, at []uint16, deep int, packed []uint16, d int, dst []float32, lddst int, s *Scratch) {
	mp := padK(m)
	s.narrow = grow(s.narrow, mp*seen)
	both := pairs(s.narrow)
	clear(both[(m+1)/2*seen:])
	pairRows(both, seen, p, ld, m, seen)
	transpose(pairs(at), deep/2, both, seen, mp/2, seen)
	multiplyPanelsBF16(end, d, mp, 0, panels(d), at, deep, packed, mp*panelN, dst, lddst, true, s)
}
