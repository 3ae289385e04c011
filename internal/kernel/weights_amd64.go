package kernel

// rowPanels is how many panels a row is multiplied with at once.
const rowPanels = 4

// panel multiplies m rows with the panel of the packed elements that begins at
// at, whose first column is j.
func (w *Weights) panel(m, n, kc int, a []float32, lda, at, j int, c []float32, ldc int, accumulate bool, s *Scratch) {
	step, add := tile.mr*lda, flag(accumulate)
	switch vectors {
	case AVX512:
		switch w.format {
		case FormatFP32:
			panelAVX512(m, n, kc, &a[0], step, lda, 1, &w.f32[at], &c[0], ldc, add)
		case FormatBF16:
			panelBF16WAVX512(m, n, kc, &a[0], step, lda, 1, &w.b16[at], &c[0], ldc, add)
		case FormatInt8:
			panelInt8WAVX512(m, n, kc, &a[0], step, lda, 1, &w.i8[at], &w.scale[j], &c[0], ldc, add)
		}
	case AVX2:
		switch w.format {
		case FormatFP32:
			panelAVX2(m, n, kc, &a[0], step, lda, 1, &w.f32[at], &c[0], ldc, add)
		case FormatBF16:
			panelBF16WAVX2(m, n, kc, &a[0], step, lda, 1, &w.b16[at], &c[0], ldc, add)
		case FormatInt8:
			panelInt8WAVX2(m, n, kc, &a[0], step, lda, 1, &w.i8[at], &w.scale[j], &c[0], ldc, add)
		}
	default:
		w.panelWidened(m, n, kc, a, lda, at, j, c, ldc, accumulate, s)
	}
}

// row multiplies one row with panels, from panel p on, several at a time, and
// returns the first panel that is left. base is where the panels' elements begin.
func (w *Weights) row(kc int, a []float32, base, p, to int, c []float32, accumulate bool) int {
	if vectors == Portable {
		return p
	}
	for ; (p+rowPanels)*tile.nr <= to; p += rowPanels {
		j := p * tile.nr
		w.rowOf(kc, a, base+j*kc, j, c[j:], accumulate)
	}
	return p
}

func (w *Weights) rowOf(kc int, a []float32, at, j int, c []float32, accumulate bool) {
	add := flag(accumulate)
	if vectors == AVX512 {
		switch w.format {
		case FormatFP32:
			rowAVX512(kc, &a[0], &w.f32[at], &c[0], add)
		case FormatBF16:
			rowBF16WAVX512(kc, &a[0], &w.b16[at], &c[0], add)
		case FormatInt8:
			rowInt8WAVX512(kc, &a[0], &w.i8[at], &w.scale[j], &c[0], add)
		}
		return
	}
	switch w.format {
	case FormatFP32:
		rowAVX2(kc, &a[0], &w.f32[at], &c[0], add)
	case FormatBF16:
		rowBF16WAVX2(kc, &a[0], &w.b16[at], &c[0], add)
	case FormatInt8:
		rowInt8WAVX2(kc, &a[0], &w.i8[at], &w.scale[j], &c[0], add)
	}
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}
