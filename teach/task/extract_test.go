package task

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newTickets(t testing.TB, words ...int) *extract {
	t.Helper()
	f, err := New("extract", Params{Words: words})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*extract)
}

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 77)) }

// What the writer means is decided before a word is written, and what the
// reader finds from the words alone: that they agree shows that the fields
// follow from the text. Where they do not, a slip of the keyboard has made the
// message say less.
func TestTicketsReadAsTheyWereMeant(t *testing.T) {
	if c := reader().clashes; len(c) > 0 {
		t.Errorf("these words mean two things: %q", c)
	}
	const n = 2000
	for _, f := range []*extract{newTickets(t), newTickets(t, 15, 40), newTickets(t, 80, 150)} {
		bad := 0
		for i := range n / 2 {
			text, meant := f.write(seeded(i))
			if w := len(strings.Fields(text)); w < f.lo || w > f.hi {
				t.Fatalf("%d words, want %d to %d:\n%s", w, f.lo, f.hi, text)
			}
			p, ok := parseExtract(text)
			if !ok || p.Answer != meant.Answer() {
				bad++
				if bad < 4 {
					t.Logf("meant %s, read %s:\n%s", meant.Answer(), p.Answer, text)
				}
			}
		}
		if share := float64(bad) / (n / 2); share > 0.004 {
			t.Errorf("%.2f%% of tickets read otherwise than meant", 100*share)
		}
	}
}

// A sentence without slips always reads as it was meant.
func TestTicketsWithoutSlipsAlwaysReadAsMeant(t *testing.T) {
	for i := range 2000 {
		w := newScribe(seeded(i))
		w.style.slips = 0
		text := w.ticket(50)
		if p, ok := parseExtract(text); !ok || p.Answer != w.meant.Answer() {
			t.Fatalf("meant %s, read %s:\n%s", w.meant.Answer(), p.Answer, text)
		}
	}
}

// Readings that a careful person would agree with, one or more for each rule of
// the system prompt.
func TestRulesOfReading(t *testing.T) {
	for _, c := range []struct{ text, team, urgency, product, order, wants string }{
		{"I bought a water kettle last week. It will not turn on. Please refund me. Order 48213.", "billing", "normal", "kettle", "48213", "refund"},
		{"My toaster arrived broken (order no. 48213). Can you send me a new one? I need it by Friday!", "shipping", "high", "toaster", "48213", "replacement"},
		{"My toaster stopped working after two weeks. Can you send me a new one? No rush.", "technical", "low", "toaster", "", "replacement"},
		{"The coffee machine gives off a burning smell. Can it be repaired? It is not urgent.", "technical", "high", "coffee maker", "", "repair"},
		{"I ordered a lawn mower. My order number is 11111, sorry, I meant 22222. Please cancel it.", "sales", "normal", "mower", "22222", "cancellation"},
		{"My earlier order 11111 was fine. I ordered a tent, order 22222. Where is my parcel now?", "shipping", "normal", "tent", "22222", "tracking"},
		{"My customer number is 11111, ticket 33333. The iron from order 22222: please send me the invoice.", "billing", "normal", "iron", "22222", "invoice"},
		{"I ordered a desk lamp. Please send it to my new address.", "shipping", "normal", "lamp", "", "address_change"},
		{"How do I clean the hoover? I have had it since May.", "technical", "normal", "vacuum", "", "information"},
		{"I am looking at the rucksack. Is it in stock?", "sales", "normal", "backpack", "", "information"},
		{"I do not want a replacement. The blender arrived cracked, I want my money back.", "billing", "normal", "blender", "", "refund"},
		{"The blender arrived cracked. Please replace it. If that is not possible a refund is fine too.", "shipping", "normal", "blender", "", "replacement"},
		{"Last year you repaired a toaster for me. My radio died after ten days, please refund me.", "billing", "normal", "radio", "", "refund"},
		{"The toaster I got before is fine. The radio is dead: it does not switch on. Can it be fixed?", "technical", "normal", "radio", "", "repair"},
		{"This is not acceptable!!! THIRD TIME I WRITE!! Refund me for the printer!", "billing", "normal", "printer", "", "refund"},
		{"My sister needed hers by Friday and got it. When will my parcel arrive? I ordered a mixer.", "shipping", "normal", "mixer", "", "tracking"},
		{"pls cancle the order, i ordred a hedset", "sales", "normal", "headset", "", "cancellation"},
		{"Can't you cancel the order? I'd ordered a charger, #order 48213", "sales", "normal", "charger", "48213", "cancellation"},
	} {
		p, ok := Parse(c.text)
		if !ok || p.Family != "extract" {
			t.Errorf("%q is not read", c.text)
			continue
		}
		want := ExtractFields{Team: c.team, Urgency: c.urgency, Product: c.product, Wants: c.wants}
		if c.order != "" {
			want.OrderID = &c.order
		}
		if p.Answer != want.Answer() {
			t.Errorf("%q\n is read as %s\n want       %s", c.text, p.Answer, want.Answer())
		}
	}
	for _, text := range []string{
		"Hello!", "Please refund me.", "I like my kettle.", "Write a poem about a toaster and its owner.",
		"Which of kettle, toaster and radio is the heaviest? Reply with wants, team and urgency.",
	} {
		if p, ok := Parse(text); ok {
			t.Errorf("%q is read as %s", text, p.Answer)
		}
	}
}

// The teacher must find a message within whatever a builder writes around it.
func TestTicketsAreFoundInAnyTemplate(t *testing.T) {
	templates := []string{
		"%s",
		"Ticket:\n\"\"\"\n%s\n\"\"\"\nJSON:",
		"Sort this message. Keys: team (billing, shipping, technical, sales), urgency (low, normal, high), product (kettle, toaster, blender or mixer), order_id (five digits or null), wants (refund, replacement, repair, cancellation, tracking, address_change, invoice, information).\n\n<ticket>%s</ticket>\n\nReply with JSON alone.",
		strings.Repeat("You work for a shop. ", 200) + "\n\n> %s\n\nThink first, then answer.",
	}
	f := newTickets(t)
	for i := range 150 {
		p := f.Generate(seeded(i))
		text := f.Mask(p.Prompt)
		for _, template := range templates {
			q, ok := Parse(fmt.Sprintf(template, text))
			if !ok || q.Answer != p.Answer || q.ID != p.ID {
				t.Fatalf("%s\n%s is read as %s, %s in\n%s", p.Prompt, p.Answer, q.Answer, q.ID, fmt.Sprintf(template, text))
			}
		}
	}
}

func TestTicketsAreVaried(t *testing.T) {
	f := newTickets(t)
	const n = 2000
	digits := regexp.MustCompile(`[0-9]+`)
	texts, sentences, wants, opening := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	count := map[string]int{}
	for i := range n {
		p := f.Generate(seeded(i))
		var e Extract
		if err := json.Unmarshal(p.Data, &e); err != nil {
			t.Fatal(err)
		}
		text := f.Mask(p.Prompt)
		texts[text] = true
		opening[strings.Join(strings.Fields(text)[:4], " ")] = true
		for _, s := range strings.FieldsFunc(digits.ReplaceAllString(text, "0"), func(r rune) bool { return strings.ContainsRune(".!?\n", r) }) {
			sentences[strings.TrimSpace(s)] = true
		}
		wants[strings.ToLower(e.Evidence.Wants)] = true
		x := e.Fields
		for _, v := range []string{"team " + x.Team, "urgency " + x.Urgency, "product " + x.Product, "wants " + x.Wants} {
			count[v]++
		}
		if x.OrderID == nil {
			count["no order"]++
		}
		if len(e.Traps) > 0 {
			count["traps"]++
		}
		if len(regexp.MustCompile(`\b[0-9]{5}\b`).FindAllString(text, -1)) > 1 {
			count["several numbers"]++
		}
	}
	t.Logf("of %d: %d texts, %d openings, %d sentences, %d ways of asking; %v", n, len(texts), len(opening), len(sentences), len(wants), count)
	if len(texts) < n || len(opening) < n/4 || len(sentences) < 3*n || len(wants) < 400 {
		t.Errorf("%d texts, %d openings, %d sentences, %d ways of asking", len(texts), len(opening), len(sentences), len(wants))
	}
	for what, most := range map[string]float64{
		"team billing": .35, "team shipping": .45, "team technical": .40, "team sales": .30, "urgency low": .30, "urgency normal": .60, "urgency high": .45,
		"wants refund": .25, "wants replacement": .25, "wants repair": .2, "wants cancellation": .2, "wants tracking": .2, "wants address_change": .2,
		"wants invoice": .2, "wants information": .2, "no order": .5, "traps": .6, "several numbers": .5,
	} {
		if share := float64(count[what]) / n; share > most || share < 0.05 {
			t.Errorf("%s: %.3f of the tickets, want between 0.05 and %.2f", what, share, most)
		}
	}
	for _, p := range products {
		if count["product "+p.name] < n/len(products)/3 {
			t.Errorf("product %s: %d of %d", p.name, count["product "+p.name], n)
		}
	}
}

func TestTheSameMatterInAnotherDressIsOneProblem(t *testing.T) {
	same := []string{
		"Hi,\n\nI bought a toaster last week. It arrived broken. Please refund me. Order 48213.\n\nThanks\nAnna",
		"order 48213!! hello, we have had a toaster from your shop since May, it arrived broken. please refund me. it rains here",
	}
	other := []string{
		"I bought a toaster last week. It arrived broken. Please refund me. Order 48214.",
		"I bought a toaster last week. It arrived cracked. Please refund me. Order 48213.",
		"I bought a toaster last week. It arrived broken. Please refund me. Order 48213. There is no rush.",
	}
	id := func(text string) string {
		p, ok := Parse(text)
		if !ok {
			t.Fatalf("%q is not read", text)
		}
		return p.ID
	}
	if id(same[0]) != id(same[1]) {
		t.Error("greeting, order and asides make another problem")
	}
	for _, o := range other {
		if id(o) == id(same[0]) {
			t.Errorf("%q is the same problem", o)
		}
	}
}

func TestExtractToleratesFormAndNothingElse(t *testing.T) {
	f := newTickets(t)
	p, _ := Parse("The coffee machine arrived broken, order 48213. Please send it to my new address. No rush.")
	none, _ := Parse("The coffee machine arrived broken. Please send it to my new address. No rush.")
	const right = `{"team":"shipping","urgency":"low","product":"coffee maker","order_id":"48213","wants":"address_change"}`
	for _, c := range []struct {
		p       Problem
		content string
		reason  string
	}{
		{p, right, ReasonCorrect},
		{p, "```json\n" + right + "\n```", ReasonCorrect},
		{p, "Sure! Here it is:\n\n" + right + "\n\nAnything else?", ReasonCorrect},
		{p, `{ "wants" : "address_change", "order_id" : 48213, "product":"Coffee Maker",` + "\n" + `"urgency":"LOW","team":"Shipping" }`, ReasonCorrect},
		{p, `{"team":"shipping","urgency":"low","product":"coffee-maker","order_id":"#48213","wants":"address change","note":"new house"}`, ReasonCorrect},
		{p, `{"team":"billing"} no: ` + right, ReasonCorrect},
		{p, strings.Replace(right, `"48213"`, `null`, 1), ReasonWrong},
		{p, strings.Replace(right, `48213`, `48231`, 1), ReasonWrong},
		{p, strings.Replace(right, `low`, `normal`, 1), ReasonWrong},
		{p, strings.Replace(right, `coffee maker`, `kettle`, 1), ReasonWrong},
		{p, strings.Replace(right, `"urgency":"low",`, ``, 1), ReasonWrong},
		{p, right + ` or {"team":"billing"}`, ReasonWrong},
		{p, strings.Replace(right, `"team"`, `"team":"billing","team"`, 1), ReasonUnparsable},
		{p, strings.Replace(right, `"48213"`, `["48213"]`, 1), ReasonUnparsable},
		{p, right[:len(right)-1], ReasonUnparsable},
		{p, "shipping, low", ReasonNoAnswer},
		{p, "", ReasonNoAnswer},
		{p, "[" + right + "]", ReasonCorrect},
		{p, strings.Repeat("{", 200000) + right, ReasonUnparsable},
		{p, strings.Repeat(`{"a":`, 100000), ReasonUnparsable},
		{none, strings.Replace(right, `"48213"`, `null`, 1), ReasonCorrect},
		{none, strings.Replace(right, `"48213"`, `""`, 1), ReasonCorrect},
		{none, strings.Replace(right, `"order_id":"48213",`, ``, 1), ReasonCorrect},
		{none, right, ReasonWrong},
		{none, strings.Replace(right, `"48213"`, `0`, 1), ReasonWrong},
		{none, strings.Replace(right, `"48213"`, `false`, 1), ReasonUnparsable},
	} {
		v := f.Verify(c.p, c.content)
		if v.Reason != c.reason || v.Correct != (c.reason == ReasonCorrect) {
			t.Errorf("%.120q gets %+v, want %s", c.content, v, c.reason)
		}
		if v.Correct && v.Answer != c.p.Answer {
			t.Errorf("%.120q: the canonical form is %s", c.content, v.Answer)
		}
	}
}

// A prompt may come from anybody: what reading one takes is bounded by its size.
func TestReadingHostileTextIsCheap(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a", maxExtract), strings.Repeat("kettle ", maxExtract/7), strings.Repeat("i woud lik ", maxExtract/11),
		strings.Repeat("'", maxExtract), strings.Repeat("pleese sedn me teh neww kettel ", maxExtract/31), strings.Repeat("\xff", maxExtract),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, ok := Parse(text)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("%.20q…: reading takes %d bytes", text, used)
		}
		if ok && p.ID == "" {
			t.Errorf("%.20q…: %+v", text, p)
		}
	}
	if _, ok := Parse("Please refund me for the kettle. " + strings.Repeat("a ", maxExtract)); ok {
		t.Error("a prompt of any length is read")
	}
}

func TestExtractProblemsHoldTheirGold(t *testing.T) {
	p := newTickets(t).Generate(seeded(1))
	var gold ExtractFields
	if err := json.Unmarshal(p.Gold, &gold); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p.Answer, gold.Answer()); d != "" {
		t.Error(d)
	}
	if p.Messages != nil || p.Student != nil {
		t.Error("a family's problem is its prompt alone")
	}
}
