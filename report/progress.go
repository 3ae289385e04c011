package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"retort/exchange"
)

// ProgressMode says how progress is shown.
type ProgressMode int

// The progress modes.
const (
	ProgressQuiet ProgressMode = iota // nothing
	ProgressPlain                     // a line every few seconds, for logs
	ProgressBars                      // live bars, for a terminal
)

// plainEvery is the time between two plain lines of one stage.
const plainEvery = 5 * time.Second

// Progress shows what a run is doing: the stage, done of total, the rate, what
// was spent and the time left. It is safe for concurrent use. Close it before
// printing anything else to the same writer.
type Progress struct {
	mode ProgressMode
	w    io.Writer
	now  func() time.Time

	// mu serialises what callers do. A bar draws itself in a goroutine of its
	// own, which answers no call while it does, so what it draws is behind
	// another lock, shown, under which no bar is ever called.
	mu    sync.Mutex
	shown sync.Mutex
	spend string // behind shown
	bars  *mpb.Progress
	stage *Stage
}

// NewProgress returns a progress view that writes to w.
func NewProgress(w io.Writer, mode ProgressMode) *Progress {
	p := &Progress{mode: mode, w: w, now: time.Now}
	if mode == ProgressBars {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(32), mpb.WithRefreshRate(200*time.Millisecond), mpb.PopCompletedMode())
	}
	return p
}

// Spend records what the run has spent so far.
func (p *Progress) Spend(sum exchange.PicoSum) {
	text := FormatUSD(sum.USD())
	p.shown.Lock()
	p.spend = text
	p.shown.Unlock()
}

// Log prints one line above the bars.
func (p *Progress) Log(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logLocked(fmt.Sprintf(format, args...))
}

func (p *Progress) logLocked(line string) {
	switch p.mode {
	case ProgressPlain:
		fmt.Fprintln(p.w, line)
	case ProgressBars:
		fmt.Fprintln(p.bars, line) // mpb keeps it above the bars
	}
}

// Close ends the view. A stage that has not ended is shown as interrupted.
func (p *Progress) Close() {
	p.mu.Lock()
	s := p.stage
	p.mu.Unlock()
	if s != nil {
		s.end("interrupted", false)
	}
	if p.bars != nil {
		p.bars.Wait()
	}
}

// Stage is one stage's line of a Progress.
type Stage struct {
	p        *Progress
	name     string
	unit     string
	started  time.Time
	base     int64     // done at the start: work of an earlier run, which says nothing about the rate
	lastLine time.Time // behind Progress.mu
	bar      *mpb.Bar

	// Behind Progress.shown; changed under Progress.mu as well.
	total int64
	done  int64
	note  string
	ended bool
}

// Stage starts a stage of total units (0: unknown), of which already are done
// from an earlier run. A stage that is still open ends here.
func (p *Progress) Stage(name string, already, total int64, unit string) *Stage {
	p.mu.Lock()
	old := p.stage
	p.mu.Unlock()
	if old != nil {
		old.end("", true)
	}
	now := p.now()
	s := &Stage{p: p, name: name, unit: unit, started: now, lastLine: now, total: total, done: already, base: already}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = s
	switch p.mode {
	case ProgressPlain:
		fmt.Fprintln(p.w, s.line(now))
	case ProgressBars:
		s.bar = p.bars.AddBar(max(total, 1),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%-9s ", name) })),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + s.tail(p.now()) })))
		s.bar.SetCurrent(already)
	}
	return s
}

// Set says how much is done and, if note is not empty, what else is worth
// showing beside it.
func (s *Stage) Set(done int64, note string) {
	p := s.p
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.ended {
		return
	}
	p.shown.Lock()
	s.done = done
	if note != "" {
		s.note = note
	}
	p.shown.Unlock()
	switch {
	case p.mode == ProgressBars:
		s.bar.SetCurrent(min(done, max(s.total, 1)-1)) // the last unit is taken by end, which completes the bar
	case p.mode == ProgressPlain && now.Sub(s.lastLine) >= plainEvery:
		s.lastLine = now
		fmt.Fprintln(p.w, s.line(now))
	}
}

// Grow changes the total.
func (s *Stage) Grow(total int64) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.shown.Lock()
	s.total = total
	s.p.shown.Unlock()
	if s.bar != nil && !s.ended {
		s.bar.SetTotal(max(total, 1), false)
	}
}

// Done ends the stage with a summary in a few words.
func (s *Stage) Done(summary string) { s.end(summary, true) }

func (s *Stage) end(summary string, complete bool) {
	p := s.p
	p.mu.Lock()
	if s.ended {
		p.mu.Unlock()
		return
	}
	if p.stage == s {
		p.stage = nil
	}
	p.shown.Lock()
	s.ended = true
	if summary != "" {
		s.note = summary
	}
	p.shown.Unlock()
	line := fmt.Sprintf("%-9s %s  %s", s.name, FormatDuration(p.now().Sub(s.started)), s.note)
	if p.mode == ProgressPlain {
		fmt.Fprintln(p.w, strings.TrimRight(line, " "))
	}
	total := max(s.total, 1)
	p.mu.Unlock()
	if s.bar != nil {
		if complete {
			s.bar.SetCurrent(total) // a stage that counts nothing is full too
			s.bar.SetTotal(-1, true)
		} else {
			s.bar.Abort(false)
		}
	}
}

// line is the whole plain line of the stage.
func (s *Stage) line(now time.Time) string {
	return fmt.Sprintf("%-9s %s", s.name, s.tail(now))
}

// tail is what follows the bar: counts, rate, spend, time left, note.
func (s *Stage) tail(now time.Time) string {
	s.p.shown.Lock()
	defer s.p.shown.Unlock()
	var parts []string
	elapsed := now.Sub(s.started)
	if s.ended {
		parts = append(parts, FormatDuration(elapsed))
	} else {
		if s.total > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s %s", FormatCount(s.done), FormatCount(s.total), s.unit))
		} else if s.done > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", FormatCount(s.done), s.unit))
		}
		if rate := float64(s.done-s.base) / elapsed.Seconds(); elapsed >= time.Second && rate > 0 {
			parts = append(parts, fmt.Sprintf("%s/s", FormatCount(int64(rate+0.5))))
			if left := s.total - s.done; left > 0 {
				parts = append(parts, FormatDuration(time.Duration(float64(left)/rate*float64(time.Second)))+" left")
			}
		}
	}
	if s.p.spend != "" {
		parts = append(parts, "spent "+s.p.spend)
	}
	if s.note != "" {
		parts = append(parts, s.note)
	}
	return strings.Join(parts, " · ")
}
