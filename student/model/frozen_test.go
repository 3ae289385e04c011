package model

import (
	"errors"
	"math"
	"strings"
	"testing"

	"retort/internal/kernel"
)

// counting is a source that counts how often a tensor is read, or fails at one.
type counting struct {
	*Model
	loads map[string]int
	fail  string
}

func (c *counting) Load(name string, shape []int, dst []float32) error {
	c.loads[name]++
	if name == c.fail {
		return errors.New("the disk is gone")
	}
	return c.Model.Load(name, shape, dst)
}

func TestAFrozenModelIsReadTensorByTensor(t *testing.T) {
	for _, test := range adaptedModels {
		src := &counting{Model: testModel(t, test.config, 3), loads: map[string]int{}}
		f, err := NewFrozen(kernel.F32, src, testPool(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		if f.Hash() != src.Hash() {
			t.Errorf("%s: frozen it is %s, want %s", test.name, f.Hash(), src.Hash())
		}
		for _, x := range src.Tensors() {
			if src.loads[x.Name] != 1 {
				t.Errorf("%s: %s was read %d times", test.name, x.Name, src.loads[x.Name])
			}
			src.fail = x.Name
			if _, err := NewFrozen(kernel.F32, src, testPool(t, 1)); err == nil || !strings.Contains(err.Error(), "loading tensor "+x.Name+": the disk is gone") {
				t.Errorf("%s: where %s fails the error is %v", test.name, x.Name, err)
			}
			src.fail, src.loads[x.Name] = "", 1
		}
	}
}

// A pass over frozen weights has the loss of a pass over the model, to the bit where the
// products are the same, and in bfloat16 too; its gradients stay those of the reference
// (TestAdapterGradients…) with one copy of the matrices or with two.
func TestAFrozenModelIsTheModel(t *testing.T) {
	was := kernel.Active()
	defer kernel.Use(was)
	for _, isa := range kernel.Available() {
		if err := kernel.Use(isa); err != nil {
			t.Fatal(err)
		}
		for _, test := range adaptedModels {
			for _, precision := range []kernel.Precision{kernel.F32, kernel.BF16} {
				m, pool := testModel(t, test.config, 3), testPool(t, 2)
				a, err := NewAdapter(test.config, test.lora, 1) // changes nothing
				if err != nil {
					t.Fatal(err)
				}
				b := testBatch(test.config, 4, 100, 7)
				got, err := adapterPass(t, precision, m, a, pool, 200).Gradients(b)
				if err != nil {
					t.Fatal(err)
				}
				if want, _ := NewPassIn(precision, m, pool, 200).Forward(b); got != want {
					t.Errorf("%v, %s, %v: the loss is %v, of the model itself %v", isa, test.name, precision, got, want)
				}
			}
		}
	}
}

// Matrices are held once or twice, and rounded or not: the gradients are the same, but for
// rounding.
func TestAdapterGradientsOnEveryPath(t *testing.T) {
	was := kernel.Active()
	defer kernel.Use(was)
	test := adaptedModels[2]
	var want []Tensor
	for _, isa := range kernel.Available() {
		if err := kernel.Use(isa); err != nil {
			t.Fatal(err)
		}
		for _, precision := range []kernel.Precision{kernel.F32, kernel.BF16} {
			m, a := testModel(t, test.config, 3), testAdapter(t, test.config, test.lora)
			p := adapterPass(t, precision, m, a, testPool(t, 2), 200)
			if _, err := p.Gradients(testBatch(test.config, 4, 100, 7)); err != nil {
				t.Fatal(err)
			}
			got := p.Grads()
			if want == nil {
				want = got // portable, in float32
			}
			most := map[kernel.Precision]float64{kernel.F32: 1e-5, kernel.BF16: 0.1}[precision]
			for i := range got {
				size, off := 0.0, 0.0
				for j, v := range want[i].Data {
					size += float64(v) * float64(v)
					off += float64(v-got[i].Data[j]) * float64(v-got[i].Data[j])
				}
				if share := math.Sqrt(off / size); !(share < most) {
					t.Errorf("%v, %v: %s differs by %.2g of its size", isa, precision, got[i].Name, share)
				}
			}
		}
	}
}
