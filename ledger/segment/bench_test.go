package segment

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"retort/ledger"
)

// BenchmarkAppend measures records per second and the 99th percentile of the
// time to durability: 64 writers, one record of 4 KiB a call. RETORT_BENCH_DIR
// says on which disk.
func BenchmarkAppend(b *testing.B) {
	for _, text := range []bool{false, true} {
		b.Run(map[bool]string{false: "random", true: "text"}[text], func(b *testing.B) {
			dir, err := os.MkdirTemp(os.Getenv("RETORT_BENCH_DIR"), "ledger-bench-")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			s, err := Open(dir, Option{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			payload := body(1, 4<<10)
			if text {
				for i := range payload {
					payload[i] = " etaoin shrdlu,{}\":"[payload[i]%19]
				}
			}
			const writers = 64
			took := make([][]time.Duration, writers)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.SetBytes(int64(len(payload)))
			b.ResetTimer()
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					r := ledger.Record{Kind: ledger.KindFragment, Head: []byte(`{"seq":0}`), Body: payload}
					for left.Add(-1) >= 0 {
						start := time.Now()
						if err := s.Append(context.Background(), r); err != nil {
							b.Error(err)
							return
						}
						took[w] = append(took[w], time.Since(start))
					}
				})
			}
			group.Wait()
			b.StopTimer()
			all := slices.Concat(took...)
			slices.Sort(all)
			b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
