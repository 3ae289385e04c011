package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"retort/internal/kernel"
	"retort/student/model"
)

// randoms fills n values from a seeded normal distribution.
func randoms(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func parameter(name string, kind model.Kind, data []float32, shape ...int) model.Parameter {
	return model.Parameter{Tensor: model.Tensor{Name: name, Shape: shape, Data: data}, Kind: kind}
}

func TestNewtonSchulzOrthogonalises(t *testing.T) {
	for _, shape := range [][2]int{{8, 8}, {6, 40}, {40, 6}, {1, 9}, {33, 17}} {
		rows, cols := shape[0], shape[1]
		scratch := make([]float32, 4*rows*cols)
		copy(scratch, randoms(3, rows*cols))
		x := newtonSchulz(scratch[:rows*cols], rows, cols, scratch, kernel.F32, new(kernel.Scratch))

		// Of XXᵀ or XᵀX, the smaller, the trace is the sum of squared singular
		// values; the quintic leaves each singular value near 1.
		m := min(rows, cols)
		var sum float64
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		if got := math.Sqrt(sum / float64(m)); got < 0.65 || got > 1.2 { // where the quintic leaves them
			t.Errorf("%dx%d: root mean squared singular value %.3f, want about 1", rows, cols, got)
		}
		for i := range m {
			for j := range i {
				dot := 0.0
				for k := range max(rows, cols) {
					if rows <= cols {
						dot += float64(x[i*cols+k]) * float64(x[j*cols+k])
					} else {
						dot += float64(x[k*cols+i]) * float64(x[k*cols+j])
					}
				}
				if math.Abs(dot) > 0.45 {
					t.Errorf("%dx%d: vectors %d and %d have inner product %.3f, want about 0", rows, cols, i, j, dot)
				}
			}
		}
	}
}

// TestNewtonSchulzIsTheQuintic compares with five plain iterations in float64, of
// matrices with singular values from 1 down to 1e-6 too.
func TestNewtonSchulzIsTheQuintic(t *testing.T) {
	for _, shape := range [][2]int{{24, 24}, {20, 30}, {64, 32}, {32, 64}, {24, 96}, {200, 40}, {96, 288}} {
		for _, spread := range []float64{0, 6} {
			rows, cols := shape[0], shape[1]
			n := rows * cols
			scratch, want := make([]float32, 4*n), make([]float64, n)
			copy(scratch, randoms(3, n))
			norm := 0.0
			for i := range n {
				short := i % cols
				if rows < cols {
					short = i / cols
				}
				scratch[i] *= float32(math.Pow(10, -spread*float64(short)/float64(min(rows, cols))))
				want[i] = float64(scratch[i])
				norm += want[i] * want[i]
			}
			for i := range want {
				want[i] /= math.Sqrt(norm) + muonEps
			}
			for range muonSteps {
				want = quintic(want, rows, cols)
			}
			got := newtonSchulz(scratch[:n], rows, cols, scratch, kernel.F32, new(kernel.Scratch))
			for i := range got {
				if d := math.Abs(float64(got[i]) - want[i]); !(d < 1e-5) {
					t.Fatalf("%d×%d, singular values over %v decades: element %d is %v, want %v", rows, cols, spread, i, got[i], want[i])
				}
			}
		}
	}
}

// quintic is aX + bXXᵀX + cXXᵀXXᵀX.
func quintic(x []float64, rows, cols int) []float64 {
	timesGram := func(y []float64) []float64 { // YXᵀX
		gram, out := make([]float64, cols*cols), make([]float64, len(y))
		for i := range cols {
			for j := range cols {
				for k := range rows {
					gram[i*cols+j] += x[k*cols+i] * x[k*cols+j]
				}
			}
		}
		for i := range rows {
			for j := range cols {
				for k := range cols {
					out[i*cols+j] += y[i*cols+k] * gram[k*cols+j]
				}
			}
		}
		return out
	}
	cubic := timesGram(x)
	fifth := timesGram(cubic)
	out := make([]float64, len(x))
	for i := range out {
		out[i] = muonA*x[i] + muonB*cubic[i] + muonC*fifth[i]
	}
	return out
}

func TestMuonSeesBlocksAsMatricesOfTheirOwn(t *testing.T) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	const cols = 6
	heights := []int{5, 12, 3}
	w, g := randoms(1, 20*cols), randoms(2, 20*cols)
	whole := parameter("w", model.KindMatrix, slices.Clone(w), 20, cols)
	whole.Blocks = heights
	o, err := newOptimizer([]model.Parameter{whole}, []model.Tensor{{Data: g}}, Options{Optimizer: "muon", MuonLR: 0.1}, kernel.F32, pool)
	if err != nil {
		t.Fatal(err)
	}
	o.step(1, 1, 0.5, 1)
	at := 0
	for _, rows := range heights {
		alone := parameter("w", model.KindMatrix, slices.Clone(w[at*cols:(at+rows)*cols]), rows, cols)
		o, err := newOptimizer([]model.Parameter{alone}, []model.Tensor{{Data: g[at*cols : (at+rows)*cols]}}, Options{Optimizer: "muon", MuonLR: 0.1}, kernel.F32, pool)
		if err != nil {
			t.Fatal(err)
		}
		o.step(1, 1, 0.5, 1)
		if !slices.Equal(alone.Data, whole.Data[at*cols:(at+rows)*cols]) {
			t.Errorf("rows from %d on have moved otherwise than as a matrix of their own", at)
		}
		at += rows
	}
	whole.Blocks = []int{5, 12}
	if _, err := newOptimizer([]model.Parameter{whole}, []model.Tensor{{Data: g}}, Options{Optimizer: "muon", MuonLR: 0.1}, kernel.F32, pool); err == nil {
		t.Error("blocks that leave rows out are accepted")
	}
}

func TestMuonMovesAlongTheOrthogonalisedMomentum(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	const rows, cols = 12, 4
	w, g := randoms(1, rows*cols), randoms(2, rows*cols)
	before := slices.Clone(w)
	o, err := newOptimizer([]model.Parameter{parameter("w", model.KindMatrix, w, rows, cols)},
		[]model.Tensor{{Name: "w", Shape: []int{rows, cols}, Data: g}}, Options{Optimizer: "muon", MuonLR: 0.1}, kernel.F32, pool)
	if err != nil {
		t.Fatal(err)
	}
	o.step(1, 1, 0.5, 1)

	// The momentum starts at 0, so the first direction is that of the gradient.
	scratch := make([]float32, 4*rows*cols)
	copy(scratch, g)
	u := newtonSchulz(scratch[:rows*cols], rows, cols, scratch, kernel.F32, new(kernel.Scratch))
	for i := range w {
		want := float64(before[i])*(1-0.1*0.5) - 0.1*math.Sqrt(rows/cols)*float64(u[i])
		if math.Abs(float64(w[i])-want) > 1e-3 {
			t.Fatalf("element %d is %v, want %v", i, w[i], want)
		}
	}
	// The second step's direction mixes in the first with μ² against 1-μ².
	g1 := slices.Clone(g)
	copy(g, randoms(5, rows*cols))
	before = slices.Clone(w)
	o.step(2, 1, 0, 1)
	for i := range scratch[:rows*cols] {
		m1 := (1 - muonMomentum) * g1[i]
		m2 := muonMomentum*m1 + (1-muonMomentum)*g[i]
		scratch[i] = muonMomentum*m2 + (1-muonMomentum)*g[i]
	}
	u = newtonSchulz(scratch[:rows*cols], rows, cols, scratch, kernel.F32, new(kernel.Scratch))
	for i := range w {
		want := float64(before[i]) - 0.1*math.Sqrt(rows/cols)*float64(u[i])
		if math.Abs(float64(w[i])-want) > 1e-3 {
			t.Fatalf("step 2: element %d is %v, want %v", i, w[i], want)
		}
	}
}

func TestAdamWTakesAllThatIsNotAHiddenMatrix(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	kinds := []model.Kind{model.KindMatrix, model.KindRouter, model.KindEmbedding, model.KindHead, model.KindNorm}
	for _, kind := range kinds {
		for _, optimizer := range []string{"muon", "adamw"} {
			w, g := randoms(1, 64), randoms(2, 64)
			shape := []int{8, 8}
			if kind == model.KindNorm {
				shape = []int{64}
			}
			before := slices.Clone(w)
			o, err := newOptimizer([]model.Parameter{parameter("w", kind, w, shape...)}, []model.Tensor{{Name: "w", Data: g}}, Options{Optimizer: optimizer, LR: 0.25, EmbedLR: 0.25, HeadLR: 0.25}, kernel.F32, pool)
			if err != nil {
				t.Fatal(err)
			}
			o.step(1, 1, 0, 1)
			// AdamW's first step has the size of the learning rate in every element.
			adam := true
			for i := range w {
				if d := math.Abs(float64(w[i] - before[i])); math.Abs(d-0.25) > 1e-3 {
					adam = false
				}
			}
			if want := kind != model.KindMatrix || optimizer == "adamw"; adam != want {
				t.Errorf("%s with %s: updated by AdamW %v, want %v", kind, optimizer, adam, want)
			}
		}
	}
}

func TestEmbeddingsAndHeadHaveRatesOfTheirOwn(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	for _, tied := range []bool{false, true} {
		var params []model.Parameter
		var grads []model.Tensor
		for _, kind := range []model.Kind{model.KindNorm, model.KindRouter, model.KindEmbedding, model.KindHead} {
			if tied && kind == model.KindHead { // the embeddings are the head
				continue
			}
			params = append(params, parameter(fmt.Sprint(kind), kind, make([]float32, 4), 2, 2))
			grads = append(grads, model.Tensor{Data: []float32{1, 1, 1, 1}})
		}
		o, err := newOptimizer(params, grads, Options{Optimizer: "muon", LR: 0.5, EmbedLR: 2, HeadLR: 1}, kernel.F32, pool)
		if err != nil {
			t.Fatal(err)
		}
		o.step(1, 1, 0, 1)
		want := []float64{0.5, 0.5, 2, 1}
		if tied {
			want = []float64{0.5, 0.5, 0.5}
		}
		for i, p := range params { // AdamW's first step has the size of the learning rate
			if got := -float64(p.Data[3]); math.Abs(got-want[i]) > 1e-3 {
				t.Errorf("tied %v: %s moved by %v, want %v", tied, p.Name, got, want[i])
			}
		}
	}
}

func TestWeightDecaySparesNorms(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	norm, head := []float32{2, 2}, []float32{2, 2}
	o, err := newOptimizer([]model.Parameter{parameter("n", model.KindNorm, norm, 2), parameter("h", model.KindHead, head, 1, 2)},
		[]model.Tensor{{Data: make([]float32, 2)}, {Data: make([]float32, 2)}}, Options{Optimizer: "muon", LR: 0.5, HeadLR: 0.5}, kernel.F32, pool)
	if err != nil {
		t.Fatal(err)
	}
	o.step(1, 1, 0.5, 1)
	if norm[0] != 2 || head[0] != 1.5 {
		t.Errorf("after decay by a quarter norm is %v and head %v, want 2 and 1.5", norm[0], head[0])
	}
}

func TestGradNormAndUpdatesDoNotDependOnThreads(t *testing.T) {
	type outcome struct {
		norm float64
		w    []float32
	}
	var first outcome
	for _, threads := range []int{1, 2, 3, 4} {
		pool := kernel.NewPool(threads)
		var params []model.Parameter
		var grads []model.Tensor
		all := randoms(7, 40000)
		for i, n := range []int{96 * 40, 30 * 64, 17 * 17, 20000} {
			shape, kind := [][]int{{96, 40}, {30, 64}, {17, 17}, {20000}}[i], model.KindMatrix
			if i == 3 {
				kind = model.KindNorm
			}
			params = append(params, parameter("p", kind, all[:n:n], shape...))
			all = all[n:]
			grads = append(grads, model.Tensor{Data: randoms(uint64(8+i), n)})
		}
		o, err := newOptimizer(params, grads, Options{Optimizer: "muon", LR: 1e-2, EmbedLR: 1e-2, HeadLR: 1e-2, MuonLR: 1e-2}, kernel.F32, pool)
		if err != nil {
			t.Fatal(err)
		}
		var got outcome
		got.norm = o.gradNorm()
		for step := range 3 {
			o.step(step+1, 1, 0.1, 0.5)
		}
		for _, p := range params {
			got.w = append(got.w, p.Data...)
		}
		pool.Close()
		if threads == 1 {
			first = got
			want := 0.0
			for _, g := range grads {
				for _, v := range g.Data {
					want += float64(v) * float64(v)
				}
			}
			if math.Abs(got.norm-math.Sqrt(want)) > 1e-3*got.norm {
				t.Errorf("gradient norm %v, want %v", got.norm, math.Sqrt(want))
			}
			continue
		}
		if got.norm != first.norm || !slices.Equal(got.w, first.w) {
			t.Errorf("%d threads give another result than one", threads)
		}
	}
}
