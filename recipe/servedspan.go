package recipe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"retort/exchange"
	"retort/workspace"
)

// servedFile is where a run's directory keeps what times its served sources
// came to.
const servedFile = "served.json"

// settle is how long reading the ledger waits after the moment until which it is
// read: what ended by then, or is under way, is recorded within it.
const settle = 500 * time.Millisecond

// place is where a recipe that reads the ledger for its prompts finds it.
type place struct {
	ws   *workspace.Workspace
	dir  string // of the run; what was resolved is kept there
	keep bool   // whether what is resolved now is to be kept

	log    *gatewayLog
	spans  *spans
	stored bool // spans are kept
}

// spans are the times of a recipe's served sources. A gateway goes on recording:
// they are resolved once for each run, so that the same recipe gives the same
// dataset.
type spans struct {
	Resolved time.Time `json:"resolved"`
	Sources  []span    `json:"sources"`
}

// span is when the exchanges of a source ended.
type span struct {
	Source int        `json:"source"`          // index of the recipe's prompts
	Since  *time.Time `json:"since,omitempty"` // nil: whenever they did
	Until  time.Time  `json:"until"`           // before
	// Open were under way when the span was resolved. They are not in it, whenever
	// the ledger says later that they ended.
	Open []exchange.ID `json:"open,omitempty"`

	open map[exchange.ID]bool // the same
}

// over reports whether an exchange had ended when the span did.
func (s *span) over(h *servedHead) bool {
	return h.ended != 0 && h.ended < s.Until.UnixNano() && !s.open[h.id]
}

// holds reports whether an exchange ended in the span.
func (s *span) holds(h *servedHead) bool { return s.over(h) && s.after(h.ended) }

// began reports whether an exchange began in the span and went on beyond it.
func (s *span) began(h *servedHead) bool {
	return !s.over(h) && s.after(h.queued) && h.queued < s.Until.UnixNano()
}

func (s *span) after(t int64) bool { return s.Since == nil || t >= s.Since.UnixNano() }

// String says the span in words.
func (s *span) String() string {
	text := "that ended "
	if s.Since != nil {
		text += "from " + when(*s.Since) + " "
	}
	return text + "until " + when(s.Until)
}

// when shows a time to the second, and a day's beginning as the day.
func when(t time.Time) string {
	if t = t.UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

// relative is a time that counts back: 30d, 12h.
var relative = regexp.MustCompile(`^([0-9]{1,4})([mhdw])$`)

var units = map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}

// timeOf reads a date, RFC 3339, or a time that counts back from now.
func timeOf(text string, now time.Time) (time.Time, error) {
	if m := relative.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // four digits
		return now.Add(-time.Duration(n) * units[m[2]]), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date (2026-10-01), time (2026-10-01T08:00:00Z) or time before now (30d, 12h)", text)
}

// spanOf resolves the times of a source.
func (r *Recipe) spanOf(p *Served, path string, now time.Time) (s span, err error) {
	s.Until = now
	if p.Until != "" {
		if s.Until, err = timeOf(p.Until, now); err != nil {
			return s, r.src.errorf(path+".until", "%v", err)
		}
	}
	if p.Since != "" {
		t, err := timeOf(p.Since, now)
		if err != nil {
			return s, r.src.errorf(path+".since", "%v", err)
		}
		s.Since = &t
	}
	return s, nil
}

// inOrder refuses a span that ends before it begins.
func (r *Recipe) inOrder(s *span, path string) error {
	if s.Since != nil && !s.Since.Before(s.Until) {
		return r.src.errorf(path+".since", "%s is not before %s, where the span ends", when(*s.Since), when(s.Until))
	}
	return nil
}

// resolve finds the spans of the recipe's served sources, and reads what the
// ledger says without bodies.
func (w *place) resolve(ctx context.Context, r *Recipe) error {
	if w.spans != nil {
		return nil
	}
	var kept spans
	path := filepath.Join(w.dir, servedFile)
	found, err := readJSON(path, &kept)
	if err != nil {
		return fmt.Errorf("%w; remove the file to have the times resolved again", err)
	}
	if !found {
		if kept, err = r.spansNow(time.Now().UTC()); err != nil {
			return err
		}
		if w.keep {
			for _, s := range kept.Sources {
				if err := wait(ctx, s.Until.Add(settle)); err != nil {
					return err
				}
			}
		}
	}
	reader, err := ledgerOf(w.ws)
	if err != nil {
		return err
	}
	if w.log, err = readGatewayLog(ctx, reader); err != nil {
		return err
	}
	for i := range kept.Sources {
		s := &kept.Sources[i]
		for _, h := range w.log.heads {
			if !found && h.ended == 0 && s.began(h) {
				s.Open = append(s.Open, h.id)
			}
		}
		s.open = make(map[exchange.ID]bool, len(s.Open))
		for _, id := range s.Open {
			s.open[id] = true
		}
	}
	w.spans, w.stored = &kept, found
	return nil
}

// spansNow resolves every served source at one moment.
func (r *Recipe) spansNow(now time.Time) (spans, error) {
	out := spans{Resolved: now}
	for i, p := range r.Prompts {
		if p.Served == nil {
			continue
		}
		path := at("prompts", i) + "." + familyServed
		s, err := r.spanOf(p.Served, path, now)
		if err != nil {
			return out, err
		}
		if s.Until.After(now) {
			return out, r.src.errorf(path+".until", "%s is yet to come, and what will be served by then is not known; leave until out, or give a time that has passed", when(s.Until))
		}
		if err := r.inOrder(&s, path); err != nil {
			return out, err
		}
		s.Source = i
		out.Sources = append(out.Sources, s)
	}
	return out, nil
}

// wait returns at a time.
func wait(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// store keeps the spans that were resolved in this go, once they have proved to
// hold something. The error is fs.ErrExist where another process was faster: its
// spans count.
func (w *place) store() error {
	if w == nil || w.spans == nil || w.stored || !w.keep {
		return nil
	}
	raw, err := json.MarshalIndent(w.spans, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	w.stored = true
	return workspace.WriteFileNew(filepath.Join(w.dir, servedFile), raw, 0o644)
}

// span returns the span of source i.
func (w *place) span(i int) (*span, error) {
	for k := range w.spans.Sources {
		if w.spans.Sources[k].Source == i {
			return &w.spans.Sources[k], nil
		}
	}
	return nil, fmt.Errorf("%s says nothing of prompts[%d]; remove the file to have the times resolved again", filepath.Join(w.dir, servedFile), i)
}

// done reports whether a stage of the run is done.
func (w *place) done(stage string) bool {
	if w.dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(w.dir, "stages", stage+".json"))
	return err == nil
}
