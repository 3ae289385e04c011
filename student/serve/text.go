package serve

import "strings"

// piece is text that is ready to be shown.
type piece struct{ reasoning, content string }

// text sorts what a model writes into pieces of reasoning and content. It holds
// back what may yet turn out to be otherwise: the first characters of a tag or
// of a stop string, and white space at a seam. What it
// gives in pieces is, put together, what openai.SplitThink makes of the whole
// (but a closing tag without an opening one, which no template of ours leads
// to, stays in the content).
type text struct {
	inline bool     // leave the reasoning, tags included, in the content
	stops  []string // end the content where one begins

	held  string // whose part is not yet known
	state textState
}

type textState int

const (
	textStart     textState = iota // nothing but white space so far
	textReasoning                  // inside of <think>
	textOpened                     // inside of <think>, nothing but white space so far
	textSeam                       // after </think>, nothing but white space so far
	textContent
	textStopped // at a stop string
)

const (
	thinkOpen  = "<think>"
	thinkClose = "</think>"
	space      = " \t\r\n"
)

func newText(inline bool, begins textState, stops []string) *text {
	t := &text{inline: inline, state: begins}
	for _, s := range stops {
		if s != "" {
			t.stops = append(t.stops, s)
		}
	}
	if inline {
		t.state = textContent
	}
	return t
}

// stopped reports whether a stop string was reached.
func (t *text) stopped() bool { return t.state == textStopped }

// reasoning reports whether the text is inside of the reasoning.
func (t *text) reasoning() bool { return t.state == textReasoning || t.state == textOpened }

// add takes what the model wrote next and returns what it completes.
func (t *text) add(s string) piece {
	t.held += s
	return t.release(false)
}

// end takes the last of what the model wrote and returns all that was held back.
func (t *text) end(s string) piece {
	t.held += s
	return t.release(true)
}

// release moves through the states as far as the held text decides them; last
// says that nothing follows.
func (t *text) release(last bool) (p piece) {
	for {
		before := t.state
		switch t.state {
		case textStart:
			body := strings.TrimLeft(t.held, space)
			switch {
			case strings.HasPrefix(body, thinkOpen):
				t.held, t.state = body[len(thinkOpen):], textOpened
			case last || !strings.HasPrefix(thinkOpen, body):
				t.state = textContent
			}
		case textOpened:
			if t.held = strings.TrimLeft(t.held, space); t.held != "" {
				t.state = textReasoning
			}
		case textReasoning:
			before, after, closed := strings.Cut(t.held, thinkClose)
			if closed {
				p.reasoning += strings.TrimRight(before, space)
				t.held, t.state = after, textSeam
				break
			}
			keep := 0
			if !last {
				keep = overlap(t.held, thinkClose)
			}
			shown := strings.TrimRight(t.held[:len(t.held)-keep], space)
			p.reasoning += shown
			t.held = t.held[len(shown):]
		case textSeam:
			if t.held = strings.TrimLeft(t.held, space); t.held != "" {
				t.state = textContent
			}
		case textContent:
			p.content += t.releaseContent(last)
		case textStopped:
			t.held = ""
		}
		if t.state == before {
			return p
		}
	}
}

// releaseContent gives the content up to the first stop string, or up to what
// could still become one.
func (t *text) releaseContent(last bool) string {
	end, keep := -1, 0
	for _, s := range t.stops {
		if i := strings.Index(t.held, s); i >= 0 && (end < 0 || i < end) {
			end = i
		}
		keep = max(keep, overlap(t.held, s))
	}
	switch {
	case end >= 0:
		t.state = textStopped
	case last:
		end = len(t.held)
	default:
		end = len(t.held) - keep
	}
	shown := t.held[:end]
	t.held = t.held[end:]
	return shown
}

// overlap is the length of the longest end of s with which tag begins, tag
// itself excepted.
func overlap(s, tag string) int {
	for n := min(len(s), len(tag)-1); n > 0; n-- {
		if strings.HasPrefix(tag, s[len(s)-n:]) {
			return n
		}
	}
	return 0
}
