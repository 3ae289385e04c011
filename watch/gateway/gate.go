package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	// maxUsage is how long an event may be that tells the usage alone.
	maxUsage = 16 << 10
	// maxHeld is how much of a stream's last event is held back before it has come
	// to its end: of a longer one the beginning is let through.
	maxHeld = 256 << 10
	// maxView is how long an event or a body may be for it to be read.
	maxView = 4 << 20
)

// gate lets a stream of server-sent events through as it arrives, but for the
// event that ends it, which stays until the exchange is durable, and for an event
// of usage that was asked for by the gateway and not by the client, which goes.
// Every other byte comes out as it went in.
//
// A line whose beginning may still become that of a last event waits for its next
// bytes. An event that turns out to be the last one only as it ends, since the
// server does not name it, is held from the blank line on without which no client
// takes it for one.
type gate struct {
	ends  []string
	strip bool
	view  *view

	buf   []byte // what has come and was not let through
	out   int    // bytes at the beginning of buf that the last push let through
	scan  int    // bytes of buf that have been looked at
	line  int    // where the line begins that scan is in
	event int    // where its event begins; negative if that was let through
	fed   int    // bytes of buf that were given to the view, or are in part
	part  []byte // the beginning of an event, for the view
	long  bool   // the event under way is too long for it
	last  int    // where what is held begins, once the last event has begun
	over  bool   // the last event has ended
	held  bool   // the last event has begun
	cr    bool   // the byte before scan is a CR that ended a line
	drop  bool   // what belongs to the line ending that cr is of an event that was taken out
	err   error  // the error that the upstream told, or else the last event that could not be read
	fresh func() *view
}

func newGate(w *modelWire, strip bool) *gate {
	return &gate{ends: w.ends, strip: strip, view: w.stream(), fresh: w.stream}
}

// push takes the next bytes and returns those that may go to the client, valid
// until the next call.
func (g *gate) push(p []byte) []byte {
	g.advance()
	g.buf = append(g.buf, p...)
	for g.scan < len(g.buf) {
		if g.cr {
			g.cr = false
			if g.buf[g.scan] == '\n' { // the second half of CRLF
				if g.drop {
					g.buf = append(g.buf[:g.scan], g.buf[g.scan+1:]...)
				} else {
					g.scan++
				}
				g.drop = false
				g.begin(g.scan)
				continue
			}
			g.drop = false
		}
		i := bytes.IndexAny(g.buf[g.scan:], "\r\n")
		if i < 0 {
			g.scan = len(g.buf)
			break
		}
		end := g.scan + i
		g.cr = g.buf[end] == '\r'
		g.scan = end + 1
		g.endLine(end)
	}
	g.feed(len(g.buf), false)
	g.out = g.safe()
	return g.buf[:g.out]
}

// begin notes that a line begins at i, and an event if none has.
func (g *gate) begin(i int) {
	if g.event == g.line {
		g.event = i
	}
	g.line = i
}

// endLine looks at the line that ends before end; scan is behind its ending.
func (g *gate) endLine(end int) {
	line := g.buf[max(g.line, 0):end]
	if g.line < 0 || len(line) > 0 {
		g.ending(line)
		g.line = g.scan
		return
	}
	// A blank line: the event has ended.
	if g.strip && g.event >= 0 && !g.held && usageOnly(g.buf[g.event:end]) {
		g.feed(g.scan, true)
		g.buf = append(g.buf[:g.event], g.buf[g.scan:]...)
		g.scan, g.fed, g.drop = g.event, g.event, g.cr
		g.line = g.event
		return
	}
	g.feed(g.scan, true)
	if !g.held && g.view.Finished() {
		g.held, g.last = true, end
	}
	g.over = g.over || g.held
	g.event, g.line = g.scan, g.scan
}

// ending notes whether the last event begins with a line.
func (g *gate) ending(line []byte) {
	if g.held || g.line < 0 {
		return
	}
	for _, e := range g.ends {
		if bytes.HasPrefix(line, []byte(e)) {
			g.held, g.last = true, g.line
			return
		}
	}
}

// feed gives the view what has come up to an offset of buf, whole events at a
// time; ended says whether one ends there. An event that it cannot read, or that
// is too long, costs what that event told and not the usage that is told behind it.
func (g *gate) feed(to int, ended bool) {
	event := g.buf[min(g.fed, to):to]
	g.fed = max(to, g.fed)
	if len(g.part) > 0 || !ended {
		if g.long = g.long || len(g.part)+len(event) > maxView; !g.long {
			g.part = append(g.part, event...)
		}
		if !ended {
			return
		}
		event, g.part = g.part, g.part[:0]
	}
	var err error
	if g.long {
		err = fmt.Errorf("an event has more than %d bytes", maxView)
	} else {
		err = g.view.event(event)
	}
	g.long = false
	if err == nil {
		return
	}
	if !refusal(g.err) {
		g.err = err
	}
	produced := g.view.produced
	g.view = g.fresh()
	g.view.produced = produced
}

// end reads what is left of an event that did not end, and reports whether the
// answer came to its end.
func (g *gate) end() error {
	if err := g.view.Feed(g.part); err != nil {
		return err
	}
	return g.view.Flush()
}

// safe is up to where buf may be let through.
func (g *gate) safe() int {
	if !g.held && g.line < len(g.buf) && g.line >= 0 {
		rest := g.buf[g.line:]
		g.ending(rest)
		if !g.held && g.undecided(rest) {
			return g.begun(g.line)
		}
	}
	if !g.held {
		return g.begun(len(g.buf))
	}
	if !g.over && len(g.buf)-g.last > maxHeld { // not the end of the event, since that is not there yet
		g.last = len(g.buf) - maxHeld/2
	}
	return g.last
}

// begun is where, at or before i, what may be an event of usage begins.
func (g *gate) begun(i int) int {
	if g.strip && g.event >= 0 && len(g.buf)-g.event <= maxUsage {
		return min(i, g.event)
	}
	return i
}

// undecided reports whether more bytes could make a line one that begins the last
// event.
func (g *gate) undecided(line []byte) bool {
	for _, e := range g.ends {
		if strings.HasPrefix(e, string(line)) {
			return true
		}
	}
	return false
}

// advance drops what was let through.
func (g *gate) advance() {
	if g.out == 0 {
		return
	}
	g.buf = append(g.buf[:0], g.buf[g.out:]...)
	g.scan -= g.out
	g.fed -= g.out
	g.last -= g.out
	g.line -= g.out
	g.event -= g.out
	g.out = 0
}

// rest returns what was held back, once nothing more comes.
func (g *gate) rest() []byte {
	g.advance()
	return g.buf
}

// usageOnly reports whether an event is the one that stream_options asks for: a
// chunk without choices that tells the usage.
func usageOnly(event []byte) bool {
	if !bytes.Contains(event, []byte(`"usage"`)) {
		return false
	}
	var data []byte
	for line := range bytes.FieldsFuncSeq(event, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, rest...)
		}
	}
	var chunk struct {
		Choices *[]json.RawMessage `json:"choices"`
		Usage   *json.RawMessage   `json:"usage"`
	}
	return json.Unmarshal(data, &chunk) == nil && chunk.Choices != nil && len(*chunk.Choices) == 0 && chunk.Usage != nil
}
