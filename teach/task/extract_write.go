package task

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// section is patterns that tell the same kind of thing.
type section struct {
	patterns []pattern
	kind     cueKind
	field    string
	value    string
}

// The sections by their name, and in an order that does not change.
type book struct {
	order  []string
	byName map[string]section
}

// phrases is the language of tickets, read once.
var phrases = sync.OnceValue(func() book {
	b := book{byName: map[string]section{}}
	add := func(name string, lines []string, kind cueKind, field, value string) {
		s := section{kind: kind, field: field, value: value}
		for _, l := range lines {
			s.patterns = append(s.patterns, parsePattern(l))
		}
		b.order, b.byName[name] = append(b.order, name), s
	}
	for _, w := range wishes {
		add("want "+w.intent, w.lines, cueWant, "", w.intent)
		add("back "+w.intent, w.background, cueIgnore, "", "")
		add("intro "+w.intent, w.intro, cueIgnore, "", "")
	}
	add("transit", causeTransit, cueTransit, "", "")
	add("lost", causeLost, cueTransit, "", "")
	add("failure", causeFailure, cueFailure, "", "")
	add("broken", causeBroken, cueFailure, "", "")
	add("danger", causeDanger, cueDanger, "", "")
	add("urgent", sayUrgent, cueUrgent, "", "")
	add("relaxed", sayRelaxed, cueRelaxed, "", "")
	add("other urgency", otherUrgency, cueIgnore, "urgency", "high")
	add("other order", otherOrder, cueIgnore, "order_id", "")
	add("other product", otherProduct, cueIgnore, "product", "")
	for _, wants := range []string{"refund", "replacement", "repair"} {
		add("fallback "+wants, fallbackPhrases[wants], cueIgnore, "wants", wants)
		add("declined "+wants, declinedPhrases[wants], cueIgnore, "wants", wants)
		add("history "+wants, historyPhrases[wants], cueIgnore, "wants", wants)
	}
	add("order fixed", orderFixed, cueFixed, "", "")
	for name, lines := range map[string][]string{
		"order": orderMentions, "order aside": orderAside, "order unknown": orderUnknown, "other number": otherNumber,
		"aside": asides, "aside bought": asidesBought, "aside owned": asidesOwned, "mood": moodLines, "greeting": greetings, "formal greeting": formalGreetings,
		"closing": closings, "formal closing": formalClosings, "afterword": afterwords, "ago": timesAgo,
	} {
		add(name, lines, cueIgnore, "", "")
	}
	slices.Sort(b.order)
	return b
})

// wishes are what a customer can want, how likely, and what goes with it.
var wishes = []struct {
	intent     string
	weight     int
	intro      []string
	lines      []string
	background []string
}{
	{"refund", 17, introOwned, wantRefund, causeMoney},
	{"replacement", 18, introOwned, wantReplacement, nil},
	{"repair", 11, introOwned, wantRepair, nil},
	{"cancellation", 12, introOrdered, wantCancellation, backCancellation},
	{"tracking", 13, introOrdered, wantTracking, backTracking},
	{"address_change", 9, introOrdered, wantAddress, backAddress},
	{"invoice", 8, introOwned, wantInvoice, backInvoice},
	{"howto", 6, introOwned, wantHowto, backHowto},
	{"presale", 6, introConsidering, wantPresale, backPresale},
}

// phraseBook returns the sections in a fixed order.
func phraseBook() []section {
	b := phrases()
	var out []section
	for _, name := range b.order {
		out = append(out, b.byName[name])
	}
	return out
}

// style is how somebody writes.
type style struct {
	formal   bool    // no contractions, no slips
	chat     bool    // one paragraph, little punctuation
	form     bool    // a form's fields before the message
	lower    bool    // no capital letters
	shout    float64 // share of sentences in capitals
	slips    float64 // share of words with a slip
	contract float64 // share of contractions that are used
	sloppy   float64 // share of sentences without a full stop
}

// scribe writes one ticket.
type scribe struct {
	rng     *rand.Rand
	style   style
	meant   ExtractFields
	intent  string
	product int
	other   int // a product that the matter is not about
	number  string
	owned   bool // the product is in the customer's hands
	lost    bool // and is not, though it should be
	transit bool
	spoken  map[string]bool // sections' lines that were used
}

// write draws a ticket and what it is meant to say.
func (f *extract) write(rng *rand.Rand) (string, ExtractFields) {
	for {
		w := newScribe(rng)
		text := w.ticket(span(rng, f.lo, f.hi-ticketSpread/2))
		if n := len(strings.Fields(text)); n >= f.lo && n <= f.hi {
			return text, w.meant
		}
	}
}

func newScribe(rng *rand.Rand) *scribe {
	w := &scribe{rng: rng, spoken: map[string]bool{}}
	total := 0
	for _, k := range wishes {
		total += k.weight
	}
	at := rng.IntN(total)
	for _, k := range wishes {
		if at -= k.weight; at < 0 {
			w.intent = k.intent
			break
		}
	}
	for {
		w.product, w.other = rng.IntN(len(products)), rng.IntN(len(products))
		if w.product != w.other && (products[w.product].electric || w.intent != "repair" || rng.IntN(2) == 0) {
			break
		}
	}
	w.number = w.digits()
	switch w.intent {
	case "refund", "replacement":
		w.lost = w.chance(0.12)
		w.owned = !w.lost
	case "repair", "invoice", "howto":
		w.owned = true
	}
	w.meant = ExtractFields{Wants: wantsOf(w.intent), Product: products[w.product].name, Urgency: "normal"}
	switch s := &w.style; {
	case w.chance(0.28):
		*s = style{chat: true, lower: w.chance(0.6), slips: []float64{0, 0.02, 0.05}[rng.IntN(3)], contract: 0.8, sloppy: 0.35}
	case w.chance(0.25):
		*s = style{formal: true}
	case w.chance(0.18):
		*s = style{form: true, slips: []float64{0, 0.02}[rng.IntN(2)], contract: 0.4, sloppy: 0.1}
	default:
		*s = style{slips: []float64{0, 0, 0.02, 0.04}[rng.IntN(4)], contract: 0.6, sloppy: 0.03, lower: w.chance(0.06)}
	}
	if !w.style.formal && w.chance(0.06) {
		w.style.shout = 0.3
	}
	return w
}

func (w *scribe) chance(p float64) bool { return w.rng.Float64() < p }

// digits draws a number of an order's length.
func (w *scribe) digits() string { return strconv.Itoa(span(w.rng, 10000, 99999)) }

// line draws a pattern of a section that was not used in this ticket, and
// fills it in.
func (w *scribe) line(name string) string {
	patterns := phrases().byName[name].patterns
	for range 50 {
		i := w.rng.IntN(len(patterns))
		key := fmt.Sprintf("%s %d", name, i)
		if w.spoken[key] || patterns[i].electric && !products[w.product].electric {
			continue
		}
		w.spoken[key] = true
		return strings.TrimRight(strings.ReplaceAll(say(w.rng, patterns[i].parts, w.slot), "  ", " "), " ")
	}
	return ""
}

func (w *scribe) slot(name string) string {
	switch name {
	case "p":
		return w.called(w.product)
	case "q":
		return products[w.other].name
	case "ap", "aq":
		noun := w.slot(name[1:])
		if strings.ContainsRune("aeiou", rune(noun[0])) {
			return "an " + noun
		}
		return "a " + noun
	case "n":
		return w.number
	case "x":
		return w.digits()
	case "ago":
		return w.line("ago")
	case "w":
		return pick(w.rng, weekdays)
	case "month":
		return pick(w.rng, months)
	case "name":
		return pick(w.rng, firstNames)
	case "surname":
		return pick(w.rng, lastNames)
	case "city":
		return pick(w.rng, towns)
	case "eighty":
		return pick(w.rng, []string{"eighty", "eighty-two", "seventy-five", "ninety"})
	case "few":
		return pick(w.rng, smallNumbers)
	case "year":
		return strconv.Itoa(span(w.rng, 2009, 2024))
	case "price":
		return fmt.Sprintf(pick(w.rng, []string{"%d.%02d euros", "€%d.%02d", "£%d.%02d", "$%d.%02d"}), span(w.rng, 12, 240), cents(w.rng))
	case "phone":
		return fmt.Sprintf("0%d %03d %04d", span(w.rng, 111, 999), w.rng.IntN(1000), w.rng.IntN(10000))
	}
	panic("there is no slot {" + name + "}")
}

func cents(rng *rand.Rand) int { return []int{0, 50, 90, 95, 99}[rng.IntN(5)] }

// called names a product as customers do.
func (w *scribe) called(product int) string {
	p := products[product]
	if w.chance(0.7) {
		return p.name
	}
	return pick(w.rng, p.also)
}

// ticket writes about that many words.
func (w *scribe) ticket(words int) string {
	head, sentences := w.story()
	count := func() int { return len(strings.Fields(strings.Join(sentences, " "))) }
	for tries := 0; count() < words-10 && tries < 200; tries++ {
		extra := w.line(pick(w.rng, w.asides()))
		if extra == "" { // all of a section is said
			continue
		}
		at := span(w.rng, 1, len(sentences))
		sentences = slices.Insert(sentences, at, extra)
	}
	return w.dress(head, sentences)
}

// asides are the sections that fit.
func (w *scribe) asides() []string {
	out := []string{"aside", "aside", "aside"}
	if w.intent != "presale" {
		out = append(out, "aside bought", "mood")
	}
	if w.owned {
		out = append(out, "aside owned")
	}
	return out
}

// story decides what is said, and sets what is meant by it. Sentences that
// belong together are one string, its parts divided by a stop.
func (w *scribe) story() (string, []string) {
	intro := w.line("intro " + w.intent)
	if w.lost {
		intro = w.line("intro tracking")
	}
	var rest []string
	add := func(s string) {
		if s != "" {
			rest = append(rest, s)
		}
	}
	cause := w.cause()
	request := w.request()
	head, ordered := w.header()
	if !ordered {
		add(w.order(&intro))
	}
	if w.chance(0.2) && w.intent != "presale" {
		add(w.line("other number"))
	}
	urgency := w.urgency()
	w.rng.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	// What happened mostly comes before what is wanted.
	body := []string{cause, request}
	if cause == "" {
		body = body[1:]
	} else if w.chance(0.2) {
		body[0], body[1] = body[1], body[0]
	}
	for _, s := range append(rest, urgency...) {
		body = slices.Insert(body, w.rng.IntN(len(body)+1), s)
	}
	if w.chance(0.12) { // at the end, lest "it" seem to mean the other one
		body = append(body, w.line("other product"))
	}
	if w.chance(0.1) { // straight to the point
		if i := slices.Index(body, request); i >= 0 {
			body = slices.Delete(body, i, i+1)
		}
		return head, append([]string{request, intro}, body...)
	}
	return head, append([]string{intro}, body...)
}

// cause says what happened, and why.
func (w *scribe) cause() string {
	electric := products[w.product].electric
	failed := func() string {
		switch {
		case electric && w.chance(0.16):
			w.meant.Urgency = "high"
			return w.line("failure") + stop + w.line("danger")
		case electric:
			return w.line("failure")
		}
		return w.line("broken")
	}
	if w.lost {
		w.transit = true
		return w.line("lost")
	}
	switch w.intent {
	case "refund":
		switch w.rng.IntN(3) {
		case 0:
			return w.line("transit")
		case 1:
			return failed()
		}
	case "replacement":
		if w.transit = w.chance(0.5); w.transit {
			return w.line("transit")
		}
		return failed()
	case "repair":
		return failed()
	}
	if w.intent != "refund" && w.chance(0.35) {
		return ""
	}
	return w.line("back " + w.intent)
}

// request says what is wanted, with what is not wanted beside it.
func (w *scribe) request() string {
	w.meant.Team = team(w.intent, w.transit)
	request := w.line("want " + w.intent)
	others := slices.DeleteFunc([]string{"refund", "replacement", "repair"}, func(s string) bool { return s == w.intent })
	if len(others) == 3 {
		return request
	}
	other := others[w.rng.IntN(len(others))]
	switch {
	case w.chance(0.14):
		if declined := w.line("declined " + other); w.chance(0.5) {
			return declined + stop + request
		} else {
			return request + stop + declined
		}
	case w.chance(0.12):
		return request + stop + w.line("fallback "+other)
	case w.chance(0.07):
		return request + stop + w.line("history "+other)
	}
	return request
}

// order names the order, or does not.
func (w *scribe) order(intro *string) string {
	other := ""
	if w.chance(0.13) {
		other = w.line("other order")
	}
	named := w.intent != "presale" && w.chance(0.72)
	if !named {
		if w.intent == "presale" || other != "" {
			return other
		}
		return w.line("order unknown")
	}
	w.meant.OrderID = &w.number
	mention := ""
	switch {
	case other == "" && w.chance(0.12):
		mention = w.line("order fixed")
	case w.chance(0.35):
		*intro += w.line("order aside")
	default:
		mention = w.line("order")
	}
	switch {
	case mention == "":
		return other
	case other == "":
		return mention
	case w.chance(0.5):
		return other + stop + mention
	}
	return mention + stop + other
}

// urgency says how soon.
func (w *scribe) urgency() []string {
	if w.meant.Urgency == "high" { // a danger
		if w.chance(0.12) {
			return []string{w.line("relaxed")}
		}
		return nil
	}
	switch u := w.rng.Float64(); {
	case u < 0.30:
		w.meant.Urgency = "high"
		return []string{w.line("urgent")}
	case u < 0.48:
		w.meant.Urgency = "low"
		return []string{w.line("relaxed")}
	case u < 0.56:
		return []string{w.line("other urgency")}
	}
	return nil
}

// header is a form's fields or a subject, which may name product and order.
// Ordered says that nothing more is to be said of the order.
func (w *scribe) header() (head string, ordered bool) {
	named := func() string {
		w.meant.OrderID = &w.number
		return w.number
	}
	if w.style.form {
		lines := []string{"Name: " + pick(w.rng, firstNames) + " " + pick(w.rng, lastNames)}
		if w.chance(0.5) {
			lines = append(lines, "Product: "+products[w.product].name)
		}
		switch {
		case w.intent == "presale" || w.chance(0.3):
			lines = append(lines, "Order: "+pick(w.rng, []string{"-", "unknown", "none", "?"}))
		default:
			lines = append(lines, pick(w.rng, []string{"Order: ", "Order number: ", "Order no.: "})+named())
		}
		return strings.Join(lines, "\n") + "\n" + pick(w.rng, []string{"Message: ", "Message:\n", "Your message: "}), true
	}
	if w.style.chat || w.chance(0.65) {
		return "", false
	}
	subject := pick(w.rng, []string{"", "Re: ", "Question: ", "Support: "})
	if w.intent == "presale" || w.chance(0.6) {
		return "Subject: " + subject + w.called(w.product) + "\n\n", false
	}
	return "Subject: " + subject + pick(w.rng, []string{"order ", "order no. ", "my order "}) + named() + "\n\n", true
}

// stop divides sentences that stay together.
const stop = "\x00"

// dress puts the sentences on paper, in the writer's manner.
func (w *scribe) dress(head string, sentences []string) string {
	var all []string
	for _, s := range sentences {
		for one := range strings.SplitSeq(s, stop) {
			if one != "" {
				all = append(all, w.sentence(one))
			}
		}
	}
	body := strings.Join(all, " ")
	switch {
	case w.style.chat:
		if w.chance(0.5) {
			body = w.polite(pick(w.rng, []string{"Hi", "Hello", "Hey", "Hi there", "Good evening", "Moin", "Hallo"})) + pick(w.rng, []string{", ", " ", "! "}) + body
		}
		if w.chance(0.4) {
			body += " " + w.polite(pick(w.rng, []string{"Thanks", "Thanks!", "Thank you", "Cheers", "Thx", "Thanks, " + pick(w.rng, firstNames), ":)"}))
		}
		return head + body
	case w.style.form:
		return head + body
	}
	if len(all) > 3 && w.chance(0.4) { // two paragraphs
		at := span(w.rng, 1, len(all)-2)
		body = strings.Join(all[:at], " ") + "\n\n" + strings.Join(all[at:], " ")
	}
	hello, bye := "greeting", "closing"
	if w.style.formal {
		hello, bye = "formal greeting", "formal closing"
	}
	greeting := w.polite(w.line(hello)) + pick(w.rng, []string{",", ",", ",", "!", ""})
	if w.chance(0.06) {
		greeting = ""
	} else {
		greeting += "\n\n"
	}
	signature := pick(w.rng, firstNames)
	if w.style.formal || w.chance(0.3) {
		signature += " " + pick(w.rng, lastNames)
	}
	out := head + greeting + body + "\n\n" + w.polite(w.line(bye)) + pick(w.rng, []string{",\n", "\n", ", "}) + w.polite(signature)
	if !w.style.formal && w.chance(0.08) {
		out += "\n\n" + w.line("afterword")
	}
	return out
}

// polite is for what is not a sentence.
func (w *scribe) polite(s string) string {
	if w.style.lower {
		return strings.ToLower(s)
	}
	return s
}

// sentence writes one sentence down.
func (w *scribe) sentence(s string) string {
	s = w.contracted(s)
	if !w.style.lower {
		s = capitals(s)
	} else {
		s = strings.ToLower(s)
	}
	s = w.slip(s)
	if w.style.shout > 0 && w.chance(w.style.shout) {
		s = strings.ToUpper(s)
		s = strings.TrimRight(s, ".!") + pick(w.rng, []string{"!", "!!", "!!!"})
	}
	last, _ := utf8.DecodeLastRuneInString(s)
	switch {
	case last == '?' && w.style.chat && w.chance(0.3):
		return s[:len(s)-1]
	case last == '?' && w.chance(0.05):
		return s + "?"
	case strings.ContainsRune("?!.", last):
		return s
	case w.chance(w.style.sloppy):
		return s + pick(w.rng, []string{"", ",", "..", " -"})
	case w.chance(0.04) && !w.style.formal:
		return s + "!"
	}
	return s + "."
}

// contracted shortens some of what can be shortened.
func (w *scribe) contracted(s string) string {
	if w.style.contract == 0 {
		return s
	}
	for _, c := range contractions {
		for _, at := range []string{" " + c.long + " ", c.long + " "} {
			i := strings.Index(s, at)
			if c.onlyRead || i < 0 || at[0] != ' ' && i != 0 || !w.chance(w.style.contract) {
				continue
			}
			short := c.short
			if w.style.chat && w.chance(0.4) {
				bare := strings.ReplaceAll(short, "'", "")
				if expanded()[strings.ToLower(bare)] != nil {
					short = bare
				}
			}
			s = s[:i] + strings.Replace(at, c.long, short, 1) + s[i+len(at):]
		}
	}
	return s
}

// capitals begins a sentence with a capital letter and writes "i" as English
// does.
func capitals(s string) string {
	words := strings.Split(s, " ")
	for i, word := range words {
		if strings.Trim(word, ".,;:!?()-") == "i" {
			words[i] = strings.Replace(word, "i", "I", 1)
		}
	}
	s = strings.Join(words, " ")
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// slip mistypes some words.
func (w *scribe) slip(s string) string {
	if w.style.slips == 0 {
		return s
	}
	words := strings.Split(s, " ")
	for i, word := range words {
		if len(word) < 4 || !letters(strings.ToLower(word)) || !w.chance(w.style.slips) {
			continue
		}
		b := []byte(word)
		at := span(w.rng, 1, len(b)-2)
		switch w.rng.IntN(4) {
		case 0:
			b[at], b[at+1] = b[at+1], b[at]
		case 1:
			b = append(b[:at], b[at+1:]...)
		case 2:
			b = slices.Insert(b, at, b[at])
		default:
			b[at] = beside[(b[at]|0x20)-'a']
		}
		words[i] = string(b)
	}
	return strings.Join(words, " ")
}

// beside holds for each letter one that lies beside it on a keyboard.
const beside = "snvfrdhguhjknmiowtaryceztx"
