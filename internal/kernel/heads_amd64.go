package kernel

// vectorized is what of n elements the kernels for vectors take, the same for all of them.
func vectorized(n int) int {
	if vectors == Portable {
		return 0
	}
	return n &^ 15
}

func toHalf(dst []uint16, x []float32) {
	n := vectorized(len(x))
	if n > 0 && vectors == AVX512 {
		toHalfAVX512(&dst[0], &x[0], n)
	} else if n > 0 {
		toHalfAVX2(&dst[0], &x[0], n)
	}
	toHalfPortable(dst[n:], x[n:])
}

func fromHalf(dst []float32, x []uint16) {
	n := vectorized(len(x))
	if n > 0 && vectors == AVX512 {
		fromHalfAVX512(&dst[0], &x[0], n)
	} else if n > 0 {
		fromHalfAVX2(&dst[0], &x[0], n)
	}
	fromHalfPortable(dst[n:], x[n:])
}

func (l *PagedHeads) score(queries, rows, at, next int, q []float32, ldq int, scores []float32, lds int, s *Scratch) {
	switch n := l.Dim; {
	case vectorized(n) != n:
		l.scorePortable(queries, rows, at, q, ldq, scores, lds, s)
	case vectors == AVX512 && l.Halves != nil:
		headScoresHalfAVX512(queries, rows, n, &q[0], ldq, &l.Halves[at], &scores[0], lds, &l.Halves[next])
	case vectors == AVX512:
		headScoresAVX512(queries, rows, n, &q[0], ldq, &l.Rows[at], &scores[0], lds, &l.Rows[next])
	case l.Halves != nil:
		headScoresHalfAVX2(queries, rows, n, &q[0], ldq, &l.Halves[at], &scores[0], lds, &l.Halves[next])
	default:
		headScoresAVX2(queries, rows, n, &q[0], ldq, &l.Rows[at], &scores[0], lds, &l.Rows[next])
	}
}

func (l *PagedHeads) weigh(queries, rows, at, next int, p []float32, ldp int, out []float32, ldo int, accumulate bool, s *Scratch) {
	switch n := l.Dim; {
	case vectorized(n) != n:
		l.weighPortable(queries, rows, at, p, ldp, out, ldo, accumulate, s)
	case vectors == AVX512 && l.Halves != nil:
		headValuesHalfAVX512(queries, rows, n, &p[0], ldp, &l.Halves[at], &out[0], ldo, flag(accumulate), &l.Halves[next])
	case vectors == AVX512:
		headValuesAVX512(queries, rows, n, &p[0], ldp, &l.Rows[at], &out[0], ldo, flag(accumulate), &l.Rows[next])
	case l.Halves != nil:
		headValuesHalfAVX2(queries, rows, n, &p[0], ldp, &l.Halves[at], &out[0], ldo, flag(accumulate), &l.Halves[next])
	default:
		headValuesAVX2(queries, rows, n, &p[0], ldp, &l.Rows[at], &out[0], ldo, flag(accumulate), &l.Rows[next])
	}
}
