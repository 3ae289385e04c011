package task

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Extract is a problem of the family extract: what a careful reader finds in a
// message to a shop's support. The rules are those that a person would be
// given; recipes/tickets/sys.md holds them in full.
type Extract struct {
	Fields   ExtractFields   `json:"fields"`
	Evidence ExtractEvidence `json:"evidence"`
	// Traps are what a hasty reader would fill in instead.
	Traps []ExtractTrap `json:"traps,omitempty"`
}

// ExtractFields is the object that is asked for, its keys in this order.
type ExtractFields struct {
	Team    string  `json:"team"`     // billing, shipping, technical or sales
	Urgency string  `json:"urgency"`  // low, normal or high
	Product string  `json:"product"`  // as the shop calls it
	OrderID *string `json:"order_id"` // five digits; null if the message names none
	Wants   string  `json:"wants"`    // refund, replacement, repair, cancellation, tracking, address_change, invoice or information
}

// ExtractEvidence quotes the words of the message that each field follows
// from. Urgency and OrderID are "" where nothing is said, Team where it follows
// from what is wanted alone.
type ExtractEvidence struct {
	Wants   string `json:"wants"`
	Team    string `json:"team,omitempty"`
	Urgency string `json:"urgency,omitempty"`
	Product string `json:"product"`
	OrderID string `json:"order_id,omitempty"`
}

// ExtractTrap is a value that a hasty reader would give a field.
type ExtractTrap struct {
	Field    string `json:"field"`
	Value    string `json:"value"`
	Evidence string `json:"evidence"`
}

// Answer returns the object as JSON without white space.
func (f ExtractFields) Answer() string { return string(encode(f)) }

// Shortest and longest ticket in words, and how far apart they must be.
const (
	minTicketWords = 15
	maxTicketWords = 150
	ticketSpread   = 15
	orderDigits    = 5
)

type extract struct{ lo, hi int }

func newExtract(p Params) (Family, error) {
	f := &extract{}
	var err error
	if f.lo, f.hi, err = pair("extract", "words", p.Words, [2]int{30, 80}, minTicketWords, maxTicketWords, true); err != nil {
		return nil, err
	}
	if f.hi-f.lo < ticketSpread {
		return nil, fmt.Errorf("family extract: words is %v, the longest ticket must have at least %d words more than the shortest", p.Words, ticketSpread)
	}
	return f, nil
}

func (*extract) Name() string             { return "extract" }
func (*extract) VerifiableIdentity() bool { return true }

// extractWordings ask for the object; the message stands after them.
var extractWordings = []string{
	"Give team, urgency, product, order_id and wants of this message as JSON.\n\n",
	"Read this message. Reply with team, urgency, product, order_id and wants as JSON.\n\n",
	"Extract team, urgency, product, order_id and wants as JSON.\n\n",
}

// Generate draws a ticket. One that does not read as it was meant, as a
// mistyped word can make it, is thrown away.
func (f *extract) Generate(rng *rand.Rand) Problem {
	for {
		text, meant := f.write(rng)
		prompt := pick(rng, extractWordings) + text
		if p, ok := parseExtract(prompt); ok && p.Answer == meant.Answer() {
			return p
		}
	}
}

// maxExtract bounds what is read as a message with a template around it.
const maxExtract = 16 << 10

func (*extract) Parse(prompt string) (Problem, bool) { return parseExtract(prompt) }

// parseExtract finds the message wherever it stands in a prompt, by its cues:
// what is wanted, and a product.
func parseExtract(prompt string) (Problem, bool) {
	if len(prompt) > maxExtract {
		return Problem{}, false
	}
	e, identity, ok := reader().read(prompt)
	if !ok {
		return Problem{}, false
	}
	sum := sha256.Sum256([]byte(identity))
	answer := e.Fields.Answer()
	return Problem{
		Family: "extract",
		ID:     "extract:" + hex.EncodeToString(sum[:12]),
		Prompt: prompt,
		Answer: answer,
		Gold:   json.RawMessage(answer),
		Data:   encode(e),
	}, true
}

func (*extract) Mask(prompt string) string {
	for _, w := range extractWordings {
		if text, ok := strings.CutPrefix(prompt, w); ok && strings.TrimSpace(text) != "" {
			return text
		}
	}
	return prompt
}

func (*extract) Verify(p Problem, content string) Verdict {
	var e Extract
	if err := json.Unmarshal(p.Data, &e); err != nil || e.Fields.Wants == "" {
		return Verdict{Reason: ReasonNoGold}
	}
	object, reason := lastObject(content)
	if object == nil {
		return Verdict{Reason: reason}
	}
	got, ok := readFields(object)
	if !ok {
		return Verdict{Reason: ReasonUnparsable, Answer: got.Answer()}
	}
	if got.Answer() != e.Fields.Answer() {
		return Verdict{Reason: ReasonWrong, Answer: got.Answer()}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: got.Answer()}
}

// What of an answer is searched for its object: its end, and not for ever.
const (
	maxAnswer = 64 << 10
	maxBraces = 200
)

// lastObject returns the last JSON object that content holds outside of
// others, whatever stands around it.
func lastObject(content string) (object json.RawMessage, reason string) {
	if !strings.Contains(content, "{") {
		return nil, ReasonNoAnswer
	}
	rest := content[max(0, len(content)-maxAnswer):]
	for failed := 0; failed < maxBraces; {
		i := strings.IndexByte(rest, '{')
		if i < 0 {
			break
		}
		rest = rest[i:]
		dec := json.NewDecoder(strings.NewReader(rest))
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			failed, rest = failed+1, rest[1:]
			continue
		}
		object, rest = raw, rest[dec.InputOffset():]
	}
	if object == nil {
		return nil, ReasonUnparsable
	}
	return object, ""
}

// readFields reads an answer's object by the rules of the family: keys in any
// order, others than the five passed over; words in any case, with blanks or
// hyphens for the underscore; an order number as a string or a number, with or
// without #; an order_id that is missing, null or empty is none.
func readFields(object json.RawMessage) (f ExtractFields, ok bool) {
	if names := keys(object); len(names) != len(slices.Compact(slices.Sorted(slices.Values(names)))) {
		return f, false // a key that stands twice says two things
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(object, &raw) != nil {
		return f, false
	}
	word := func(key string) string {
		var s string
		if json.Unmarshal(raw[key], &s) != nil {
			return ""
		}
		return strings.ToLower(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '-' || r == '_' || r == '\n' || r == '\t' }), "_"))
	}
	f = ExtractFields{
		Team: word("team"), Urgency: word("urgency"), Wants: word("wants"),
		Product: strings.ReplaceAll(word("product"), "_", " "),
	}
	id := bytes.TrimSpace(raw["order_id"])
	switch {
	case len(id) == 0 || string(id) == "null":
	case id[0] == '"':
		var s string
		if json.Unmarshal(id, &s) != nil {
			return f, false
		}
		if s = strings.TrimLeft(strings.TrimSpace(s), "# "); s != "" {
			f.OrderID = &s
		}
	case id[0] >= '0' && id[0] <= '9':
		s := string(id)
		f.OrderID = &s
	default:
		return f, false
	}
	return f, true
}

// teams are the teams that what is wanted decides alone. Of replacement the
// cause decides, see team.
var teams = map[string]string{
	"refund": "billing", "invoice": "billing", "tracking": "shipping", "address_change": "shipping", "cancellation": "sales", "repair": "technical",
	"howto": "technical", "presale": "sales",
}

// wantsOf names what is wanted as the object does.
func wantsOf(intent string) string {
	if intent == "howto" || intent == "presale" {
		return "information"
	}
	return intent
}

// team decides who answers.
func team(intent string, transit bool) string {
	if intent != "replacement" {
		return teams[intent]
	}
	if transit {
		return "shipping"
	}
	return "technical"
}

// read finds a message's fields. Identity holds what they follow from and what
// could mislead: two messages that say the same in the same decisive words are
// one problem, whatever else they tell.
func (r *ticketReader) read(text string) (e Extract, identity string, ok bool) {
	tokens := tokenize(text)
	r.spell(tokens)
	tokens = r.classify(tokens)
	found := r.signs(tokens)
	ignoreLists(tokens)
	quote := func(start, end int) string { return strings.Join(strings.Fields(text[start:end]), " ") }

	want := firstSign(found, cueWant)
	if want == nil {
		return e, "", false
	}
	e.Fields.Wants, e.Evidence.Wants = wantsOf(want.value), quote(want.start, want.end)
	if !r.readProduct(&e, tokens, quote) {
		return e, "", false
	}
	transit, failure := firstSign(found, cueTransit), firstSign(found, cueFailure)
	if failure == nil {
		failure = firstSign(found, cueDanger)
	}
	e.Fields.Team = team(want.value, transit != nil)
	switch {
	case want.value != "replacement":
	case transit != nil:
		e.Evidence.Team = quote(transit.start, transit.end)
	case failure != nil:
		e.Evidence.Team = quote(failure.start, failure.end)
	}
	e.readUrgency(found, quote)
	e.readOrder(tokens, found, quote)
	for _, s := range found {
		if s.kind == cueIgnore && s.value != "" {
			e.trap(s.field, s.value, quote(s.start, s.end))
		}
	}
	return e, identityOf(&e, want.value, tokens, found), true
}

func firstSign(found []sign, kind cueKind) *sign {
	for i := range found {
		if found[i].kind == kind {
			return &found[i]
		}
	}
	return nil
}

// trap notes a misreading, unless it would be right.
func (e *Extract) trap(field, value, evidence string) {
	right := map[string]string{"urgency": e.Fields.Urgency, "product": e.Fields.Product, "wants": e.Fields.Wants, "order_id": ""}[field]
	if field == "order_id" && e.Fields.OrderID != nil {
		right = *e.Fields.OrderID
	}
	if value != right {
		e.Traps = append(e.Traps, ExtractTrap{field, value, evidence})
	}
}

// readProduct takes the first product that is not put aside.
func (r *ticketReader) readProduct(e *Extract, tokens []token, quote func(int, int) string) bool {
	for _, t := range tokens {
		if t.word == productKey && !t.ignored {
			e.Fields.Product, e.Evidence.Product = products[t.product].name, quote(t.start, t.end)
			break
		}
	}
	if e.Fields.Product == "" {
		return false
	}
	for _, t := range tokens {
		if t.word == productKey && t.ignored {
			e.trap("product", products[t.product].name, quote(t.start, t.end))
		}
	}
	return true
}

// readUrgency: a danger is urgent whatever is said; else the first word on it
// counts.
func (e *Extract) readUrgency(found []sign, quote func(int, int) string) {
	e.Fields.Urgency = "normal"
	set := func(s *sign, value string) {
		e.Fields.Urgency, e.Evidence.Urgency = value, quote(s.start, s.end)
	}
	s := firstSign(found, cueDanger)
	if s != nil {
		set(s, "high")
	}
	for i := range found {
		value := map[cueKind]string{cueUrgent: "high", cueRelaxed: "low"}[found[i].kind]
		switch {
		case value == "":
		case e.Evidence.Urgency == "":
			set(&found[i], value)
		default:
			e.trap("urgency", value, quote(found[i].start, found[i].end))
		}
	}
}

// readOrder takes the first number that is called an order's and is not put
// aside; a correction of it counts instead.
func (e *Extract) readOrder(tokens []token, found []sign, quote func(int, int) string) {
	set := func(i, from int) {
		t := tokens[i]
		id := quote(t.start, t.end)
		e.Fields.OrderID, e.Evidence.OrderID = &id, quote(tokens[from].start, t.end)
	}
	first := -1
	for i, t := range tokens {
		if from, ok := labelled(tokens, i); ok && t.word == numberKey && !t.ignored {
			set(i, from)
			first = i
			break
		}
	}
	if s := firstSign(found, cueFixed); s != nil && s.number >= 0 {
		set(s.number, s.number)
		e.Evidence.OrderID = quote(s.start, s.end)
	}
	for i, t := range tokens {
		if from, ok := labelled(tokens, i); ok && t.word == numberKey && (t.ignored || i == first) {
			e.trap("order_id", quote(t.start, t.end), quote(tokens[from].start, t.end))
		}
	}
}

// identityOf writes down what decides a message.
func identityOf(e *Extract, intent string, tokens []token, found []sign) string {
	parts := []string{intent, string(encode(e.Fields))}
	for _, s := range found {
		var words []string
		for _, t := range tokens {
			if t.start >= s.start && t.end <= s.end {
				words = append(words, t.word)
			}
		}
		parts = append(parts, strings.Join(words, " "))
	}
	for _, t := range e.Traps {
		parts = append(parts, t.Field+" "+t.Value)
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}
