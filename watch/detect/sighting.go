package detect

import (
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"retort/exchange"
)

// What is measured of one exchange. Each is about the form of a request, of its
// answer or of its place in time; none depends on which words are used, only on
// which of them are the same. So a text and its translation, word for word, look
// alike.
const (
	xPrompt      = iota // log of the characters of what the user says last
	xInput              // log of the tokens sent
	xOutput             // log of the tokens received, of one answer
	xYield              // tokens received over tokens sent and received
	xSingle             // nothing was said before
	xTurns              // log of the messages before
	xTool               // tools are offered, or a tool speaks
	xSystem             // there is a system prompt
	xSchema             // the answer's form is given
	xSamples            // log of the answers asked for
	xLogprobs           // log-probabilities are asked for
	xGreedy             // temperature 0
	xHot                // temperature of at least 0.5, said
	xReasoned           // log of the tokens of reasoning, and of what an answer has of it
	xAskedReason        // reasoning is asked for by a parameter
	xSteps              // log of the numbered lines of the answer
	xDigits             // share of digits in the prompt
	xLines              // log of the prompt's lines
	xRubric             // log of the prompt's numbered or bulleted lines
	xQuestion           // the prompt ends as a question
	xSymbols            // share of brackets, quotes and the like in the prompt
	xLimit              // log of the limit on the answer, 0 where there is none
	xSeeded             // a seed is sent
	xCut                // the answer was cut off at the limit
	xEquations          // log of the answer's signs of equality
	xAnswerLines        // log of the answer's lines
	xPause              // log of the time since the last answer was over
	xUnread             // the next question came before a person could have read
	xOverlap            // it was sent before the last answer was over
	xTemplated          // its beginning or end is among those that the account repeats
	xRare               // likewise, weighted by how few other accounts have it
	xCount
)

// sighting is what is kept of an exchange until it is counted.
type sighting struct {
	id         exchange.ID
	account    string
	sent, last int64
	x          [xCount]float32
	out        float32 // tokens of the answer
	prefix     uint64  // of what the user says, literals masked; 0 if there is none
	suffix     uint64
	system     uint64
	prompt     uint64 // the whole of it, normalised
	fresh      bool   // a user speaks, not a tool
	words      []uint64
	told       uint32 // words in it
}

// keptWords is how many words of a prompt are counted.
const keptWords = 96

// look reads an event.
func look(ev *Event) sighting {
	s := sighting{id: ev.ID, account: ev.Account, sent: ev.Sent, last: ev.Last}
	x := &s.x
	before, tools := 0, ev.Params.Tools
	var prompt, system string
	last := len(ev.Messages) - 1
	for i := range ev.Messages {
		m := &ev.Messages[i]
		switch m.Role {
		case "system":
			if system == "" {
				system = m.Content
			}
			continue
		case "tool":
			tools = true
		case "user", "":
			prompt = m.Content
			s.fresh = i == last
		}
		if i < last {
			before++
		}
	}
	if system != "" {
		x[xSystem] = 1
		s.system = xxh3.HashString(system) | 1
	}
	x[xSingle], x[xTurns], x[xTool] = flag(before == 0), log1p(float64(before)), flag(tools)
	if s.fresh {
		s.read(prompt)
	}
	p := &ev.Params
	n := float64(max(1, p.N))
	in, out := float64(ev.Usage.Input), float64(ev.Usage.Output)/n
	if ev.Usage.Output == 0 { // nobody counted: about four characters a token
		out = float64(utf8.RuneCountInString(ev.Answer.Content)+utf8.RuneCountInString(ev.Answer.Reasoning)) / 4
	}
	if in == 0 && ev.Bytes > 0 {
		in = float64(ev.Bytes) / 4
	} else if in == 0 {
		for _, m := range ev.Messages {
			in += float64(utf8.RuneCountInString(m.Content)) / 4
		}
	}
	s.out = float32(out)
	x[xInput], x[xOutput], x[xYield] = log1p(in), log1p(out), float32(out/(in+out+1))
	x[xSchema], x[xSamples], x[xLogprobs] = flag(p.Schema != 0), float32(math.Log(n)), flag(p.Logprobs)
	x[xGreedy], x[xHot] = flag(p.HasTemperature && p.Temperature == 0), flag(p.HasTemperature && p.Temperature >= 0.5)
	x[xAskedReason], x[xSeeded], x[xLimit] = flag(p.Reasoning), flag(p.Seed), log1p(float64(p.MaxTokens))
	x[xCut] = flag(ev.Answer.FinishReason == "length")
	x[xReasoned] = log1p(max(float64(ev.Usage.Reasoning), float64(len(ev.Answer.Reasoning))/4))
	lines, numbered, equal := form(ev.Answer.Content)
	x[xAnswerLines], x[xSteps], x[xEquations] = log1p(lines), log1p(numbered), log1p(equal)
	return s
}

// form counts a text's lines, those that begin with a number or a bullet, and
// signs of equality, in its first 4 KiB.
func form(t string) (lines, numbered, equal float64) {
	begin := true
	for i := 0; i < len(t) && i < 4096; i++ {
		c := t[i]
		switch {
		case c == '\n':
			lines++
			begin = true
			continue
		case c == '=':
			equal++
		}
		if begin && c != ' ' && c != '\t' {
			begin = false
			if c == '-' || c == '*' || c >= '0' && c <= '9' && i+1 < len(t) && (t[i+1] == '.' || t[i+1] == ')') {
				numbered++
			}
		}
	}
	return lines, numbered, equal
}

// How many words of a beginning and of an end are compared, and how many a text
// must have for both to be scaffold rather than the whole of it.
const (
	beginning = 6
	ending    = 5
	scaffold  = beginning + ending + 2
)

// read reads what the user says: its words, in one pass.
func (s *sighting) read(t string) {
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3
	var ring [ending]uint64
	h, in := uint64(offset), false
	runes, digits, symbols, total := 0, 0, 0, 0
	number := false
	var prefix uint64 = offset
	whole := uint64(offset)
	var lastRune rune
	flush := func() {
		if !in {
			return
		}
		in = false
		h ^= h >> 32
		h *= 0x9e3779b97f4a7c15
		h ^= h >> 29
		masked := h
		if number {
			masked = 1 // any number is the same literal
		} else if len(s.words) < keptWords {
			if s.words == nil {
				s.words = make([]uint64, 0, 24)
			}
			s.words = append(s.words, h)
		}
		whole = (whole ^ h) * prime
		whole ^= whole >> 31
		ring[total%ending] = masked
		if total < beginning {
			prefix = (prefix ^ masked) * prime
			prefix ^= prefix >> 31
		}
		total++
		h, number = offset, false
	}
	for i := 0; i < len(t) && runes < 16384; {
		c := rune(t[i])
		size := 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(t[i:])
		}
		i += size
		runes++
		switch {
		case c >= 'a' && c <= 'z':
			h = (h ^ uint64(c)) * prime
			in = true
		case c >= 'A' && c <= 'Z':
			h = (h ^ uint64(c|0x20)) * prime
			in = true
		case c >= '0' && c <= '9':
			if in && !number {
				flush()
			}
			digits++
			h = (h ^ uint64(c)) * prime
			in, number = true, true
		case c < utf8.RuneSelf:
			flush()
			switch c {
			case '{', '}', '[', ']', '(', ')', '<', '>', '"', ';', '=', '|', '/', '\\', '_':
				symbols++
			}
		case c >= 0x2e80 && c <= 0x9fff || c >= 0xf900 && c <= 0xfaff || c >= 0x20000: // scripts without spaces
			flush()
			h = (h ^ uint64(c)) * prime
			in = true
			flush()
		case unicode.IsLetter(c) || unicode.IsMark(c):
			h = (h ^ uint64(unicode.ToLower(c))) * prime
			in = true
		case unicode.IsNumber(c):
			h = (h ^ uint64(c)) * prime
			in, number = true, true
			digits++
		default:
			flush()
		}
		if c > ' ' {
			lastRune = c
		}
	}
	flush()
	x := &s.x
	lines, numbered, _ := form(t)
	x[xPrompt], x[xLines], x[xRubric] = log1p(float64(runes)), log1p(lines), log1p(numbered)
	if runes > 0 {
		x[xDigits], x[xSymbols] = float32(digits)/float32(runes), float32(symbols)/float32(runes)
	}
	switch lastRune {
	case '?', '\uff1f', '\u061f', '\u037e': // full width, Arabic, Greek
		x[xQuestion] = 1
	}
	s.told, s.prompt = uint32(total), whole|1
	if total >= scaffold {
		s.prefix = prefix | 1
		var suffix uint64 = offset + 1
		for i := range ending {
			suffix = (suffix ^ ring[(total+i)%ending]) * prime
			suffix ^= suffix >> 31
		}
		s.suffix = suffix | 1
	}
}

func hashBytes(b []byte) uint64 { return xxh3.Hash(b) | 1 }

func flag(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

func log1p(v float64) float32 { return float32(math.Log1p(max(0, v))) }
