package report

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"

	"retort/exchange"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func plainProgress(w *bytes.Buffer) (*Progress, *clock) {
	c := &clock{t: time.Unix(1000, 0)}
	p := NewProgress(w, ProgressPlain)
	p.now = c.now
	return p, c
}

func TestPlainProgressShowsStageCountRateSpendAndTimeLeft(t *testing.T) {
	var out bytes.Buffer
	p, c := plainProgress(&out)
	s := p.Stage("collect", 1000, 4000, "examples")
	var spent exchange.PicoSum
	spent.Add(exchange.Dollar / 4)
	p.Spend(spent)
	c.advance(10 * time.Second)
	s.Set(2000, "2 refused")
	s.Done("3 refused")
	want := "collect   1,000 of 4,000 examples\n" +
		"collect   2,000 of 4,000 examples · 100/s · 20 s left · spent $0.2500 · 2 refused\n" +
		"collect   10 s  3 refused\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPlainProgressIsNotAFlood(t *testing.T) {
	var out bytes.Buffer
	p, c := plainProgress(&out)
	s := p.Stage("train", 0, 1000, "steps")
	for i := range 100 {
		c.advance(100 * time.Millisecond)
		s.Set(int64(i), "")
	}
	p.Close()
	if n := strings.Count(out.String(), "\n"); n != 4 { // the start, at 5 s, at 10 s, and the interruption
		t.Errorf("%d lines in ten seconds:\n%s", n, out.String())
	}
	if !strings.Contains(out.String(), "interrupted") {
		t.Errorf("a stage cut off by Close is not said to be interrupted:\n%s", out.String())
	}
}

func TestBarsEndAndLogLinesStayAbove(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, ProgressBars)
	s := p.Stage("train", 0, 10, "steps")
	s.Set(5, "loss 0.5")
	p.Log("a line")
	s.Done("loss 0.1")
	unfinished := p.Stage("eval", 0, 0, "answers")
	unfinished.Set(3, "")
	p.Close() // must not hang
}

// A bar that draws itself while somebody reports progress must not wait for
// whom it keeps waiting.
func TestBarsAreDrawnWhileManyReport(t *testing.T) {
	p := NewProgress(io.Discard, ProgressBars)
	p.bars = mpb.New(mpb.WithOutput(io.Discard), mpb.WithAutoRefresh(), mpb.WithRefreshRate(50*time.Microsecond), mpb.PopCompletedMode())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			s := p.Stage("collect", 1, 1000, "answers")
			var wg sync.WaitGroup
			for k := range 4 {
				wg.Go(func() {
					for i := range 250 {
						p.Spend(exchange.PicoSum{})
						s.Set(int64(4*i+k), "a note")
						if i%50 == 0 {
							s.Grow(int64(1000 + i))
							p.Log("line %d", i)
						}
					}
				})
			}
			wg.Wait()
			s.Done("done")
		}
		p.Close()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("progress hangs")
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		FormatCount(0):                    "0",
		FormatCount(-1234567):             "-1,234,567",
		FormatCount(999):                  "999",
		FormatCount(-100):                 "-100",
		FormatUSD(0.00012345):             "$0.000123",
		FormatUSD(0.5):                    "$0.5000",
		FormatUSD(12.345):                 "$12.35",
		FormatDuration(400_000_000):       "0.4 s",
		FormatDuration(59900 * 1e6):       "1 min 0 s",
		FormatDuration(7500 * 1e9):        "2 h 5 min",
		FormatPercent(0.97449):            "97.4%",
		FormatDuration(12 * time.Second):  "12 s",
		FormatDuration(200 * time.Second): "3 min 20 s",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
