package kernel

// panelPortable adds to or sets C [m, n] from A, whose element (i, k) is at
// a[i/mr*step+i%mr*rs+k*ks], and a panel B [k, 8], zero from column n on.
func panelPortable(m, n, k int, a []float32, step, rs, ks int, b []float32, c []float32, ldc int, accumulate bool) {
	const mr, nr = 4, 8
	for i := range m {
		if n == nr {
			var s0, s1, s2, s3, s4, s5, s6, s7 float32
			ai, bi := i/mr*step+i%mr*rs, 0
			for range k {
				x, y := a[ai], b[bi:bi+nr:bi+nr]
				s0 += x * y[0]
				s1 += x * y[1]
				s2 += x * y[2]
				s3 += x * y[3]
				s4 += x * y[4]
				s5 += x * y[5]
				s6 += x * y[6]
				s7 += x * y[7]
				ai += ks
				bi += nr
			}
			out := c[i*ldc:][:nr:nr]
			if accumulate {
				s0 += out[0]
				s1 += out[1]
				s2 += out[2]
				s3 += out[3]
				s4 += out[4]
				s5 += out[5]
				s6 += out[6]
				s7 += out[7]
			}
			out[0], out[1], out[2], out[3] = s0, s1, s2, s3
			out[4], out[5], out[6], out[7] = s4, s5, s6, s7
			continue
		}
		for j := range n {
			var s float32
			for l := range k {
				s += a[i/mr*step+i%mr*rs+l*ks] * b[l*nr+j]
			}
			if accumulate {
				s += c[i*ldc+j]
			}
			c[i*ldc+j] = s
		}
	}
}

// packRowsPortable copies k rows of n columns into a panel that is nr wide,
// with zeros to the right.
func packRowsPortable(panel, b []float32, ldb, n, k, nr int) {
	for l := range k {
		row := panel[l*nr : (l+1)*nr]
		copy(row, b[l*ldb:l*ldb+n])
		clear(row[n:])
	}
}

// packColumnsPortable transposes n rows of k elements into a panel that is nr
// wide, with zeros to the right.
func packColumnsPortable(panel, b []float32, ldb, n, k, nr int) {
	for j := range n {
		row := b[j*ldb : j*ldb+k]
		for l, x := range row {
			panel[l*nr+j] = x
		}
	}
	for j := n; j < nr; j++ {
		for l := range k {
			panel[l*nr+j] = 0
		}
	}
}

// copyRows copies m rows of n columns, unless they are there already.
func copyRows(dst, src []float32, ld, m, n int) {
	if m == 0 || n == 0 || &dst[0] == &src[0] {
		return
	}
	for i := range m {
		copy(dst[i*ld:][:n], src[i*ld:])
	}
}

// transposePortable sets dst [cols, rows] to the transpose of src [rows, cols].
func transposePortable(dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	for i := range rows {
		for j, x := range src[i*ldsrc:][:cols] {
			dst[j*lddst+i] = x
		}
	}
}

// packTilesPortable copies k rows of m columns into tiles of mr columns.
func packTilesPortable(tiles []float32, step int, a []float32, lda, m, k, mr int) {
	for i := 0; i < m; i += mr {
		for l := range k {
			copy(tiles[i/mr*step+l*mr:], a[l*lda+i:l*lda+min(i+mr, m)])
		}
	}
}
