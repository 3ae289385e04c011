package model

import (
	"fmt"
	"testing"

	"retort/internal/kernel"
)

// stepShape is a step of the quickstart: about 2,048 tokens in about 20
// sequences, the loss on the response, 60% of them.
func stepShape(c Config) Batch {
	var b Batch
	for s := 0; len(b.Tokens) < 2048; s++ {
		n := min(85+(s*37)%36, 2048-len(b.Tokens))
		b.Starts = append(b.Starts, len(b.Tokens))
		for i := range n {
			b.Tokens = append(b.Tokens, int32((s*131+i*i*7+i)%c.VocabSize))
			y := int32((s*17 + i*3) % c.VocabSize)
			if i < 2*n/5 {
				y = -1
			}
			b.Targets = append(b.Targets, y)
		}
	}
	return b
}

func benchModel(b *testing.B, preset string) *Model {
	c, err := Preset(preset, 400)
	if err != nil {
		b.Fatal(err)
	}
	m, err := New(c, 1)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

var benchPresets = []string{"tiny-dense", "tiny-moe"}

func BenchmarkTrainStep(b *testing.B) {
	for _, preset := range benchPresets {
		b.Run(preset, func(b *testing.B) {
			m := benchModel(b, preset)
			batch := stepShape(m.config)
			p := NewPass(m, testPool(b, 0), len(batch.Tokens))
			step := func() {
				if _, err := p.Gradients(batch); err != nil {
					b.Fatal(err)
				}
			}
			step()
			for b.Loop() {
				step()
			}
			perSecond := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond*float64(len(batch.Tokens)), "tokens/s")
			b.ReportMetric(perSecond*m.config.TrainFLOPs(batch)/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkForward(b *testing.B) {
	for _, preset := range benchPresets {
		b.Run(preset, func(b *testing.B) {
			m := benchModel(b, preset)
			batch := stepShape(m.config)
			p := NewPass(m, testPool(b, 0), len(batch.Tokens))
			for b.Loop() {
				if _, err := p.Forward(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(batch.Tokens))/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// BenchmarkDecode continues 1 or 32 slots that hold about 100 tokens.
func BenchmarkDecode(b *testing.B) {
	for _, preset := range benchPresets {
		for _, slots := range []int{1, 32} {
			b.Run(preset+map[int]string{1: "/1 slot", 32: "/32 slots"}[slots], func(b *testing.B) {
				m := benchModel(b, preset)
				d := NewDecoder(m, testPool(b, 0), DecoderOptions{Slots: slots, MaxContext: 200})
				prompt := stepShape(m.config).Tokens[:60]
				next, chunks := make([]int32, slots), make([]Chunk, slots)
				for i := range chunks {
					next[i] = int32(i)
					chunks[i] = Chunk{Slot: i, Tokens: next[i : i+1]}
				}
				for b.Loop() {
					if d.Len(0) == 0 || d.Len(0) == 140 {
						b.StopTimer()
						for i := range chunks {
							d.Reset(i)
							if _, err := d.Prefill(i, prompt); err != nil {
								b.Fatal(err)
							}
						}
						b.StartTimer()
					}
					if _, err := d.Read(chunks); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*slots)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

func BenchmarkPrefill(b *testing.B) {
	for _, preset := range benchPresets {
		b.Run(preset, func(b *testing.B) {
			m := benchModel(b, preset)
			const slots = 8
			d := NewDecoder(m, testPool(b, 0), DecoderOptions{Slots: slots, MaxContext: 200})
			tokens := stepShape(m.config).Tokens
			chunks := make([]Chunk, slots)
			for i := range chunks {
				chunks[i] = Chunk{Slot: i, Tokens: tokens[i*20 : i*20+60], Prompt: true}
			}
			for b.Loop() {
				for i := range chunks {
					d.Reset(i)
				}
				if _, err := d.Read(chunks); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*slots*60)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// BenchmarkDecodeAfter continues one sequence of a student of five million
// parameters after contexts of different lengths.
func BenchmarkDecodeAfter(b *testing.B) {
	m, err := New(Config{
		VocabSize: 512, Hidden: 256, Layers: 6, Heads: 8, NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 768, DenseLayers: 6, RopeTheta: 1000, NormEps: 1e-6, MaxPositions: 4096, RoutedScale: 1,
	}, 1)
	if err != nil {
		b.Fatal(err)
	}
	for f := kernel.FormatFP32; f <= kernel.FormatInt8; f++ {
		for _, threads := range []int{1, 2} {
			for _, n := range []int{128, 512, 2000} {
				b.Run(fmt.Sprintf("%v/%d threads/%d tokens", f, threads, n), func(b *testing.B) {
					d := NewDecoder(m, testPool(b, threads), DecoderOptions{Format: f})
					chunks := []Chunk{{Tokens: []int32{1}}}
					left := 0
					for b.Loop() {
						if left == 0 {
							b.StopTimer()
							d.Reset(0)
							if _, err := d.Prefill(0, make([]int32, n)); err != nil {
								b.Fatal(err)
							}
							left = 100
							b.StartTimer()
						}
						if _, err := d.Read(chunks); err != nil {
							b.Fatal(err)
						}
						left--
					}
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
				})
			}
		}
	}
}
