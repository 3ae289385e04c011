package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"retort/internal/kernel"
	"retort/student/chat"
	"retort/student/model"
)

// BenchmarkServe streams 32 answers of 64 tokens at once from a student of five
// million parameters.
func BenchmarkServe(b *testing.B) {
	m, err := model.New(model.Config{
		VocabSize: 512, Hidden: 256, Layers: 6, Heads: 8, NopeDim: 32, RopeDim: 32, VDim: 32, KVLoraRank: 64,
		Intermediate: 768, DenseLayers: 6, RopeTheta: 1000, NormEps: 1e-6, MaxPositions: 1024, RoutedScale: 1,
	}, 1)
	if err != nil {
		b.Fatal(err)
	}
	pool := kernel.NewPool(0)
	defer pool.Close()
	e, err := NewEngine(m, chat.Own(vocabulary()), pool, Options{Slots: 32})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	srv := httptest.NewServer(e.Handler())
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	defer client.CloseIdleConnections()
	const answers, tokens = 32, 64
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				body := fmt.Sprintf(`{"model":"student","prompt":[%d,70,71,72,73,74,75,76],"max_tokens":%d,"temperature":0,"stream":true}`, 65+i, tokens)
				resp, err := client.Post(srv.URL+"/v1/completions", "application/json", bytes.NewReader([]byte(body)))
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.N*answers*tokens)/b.Elapsed().Seconds(), "tokens/s")
}
