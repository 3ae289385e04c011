// Command imported writes the conversations that recipes/import-sharegpt.yaml
// imports, in ShareGPT's form, as JSON lines on standard output. They are about
// measures and their conversion; a few rows are wrong on purpose, as files from
// elsewhere are. The same program writes the same bytes.
//
//	go run ./recipes/imported >recipes/imported/sharegpt.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

// turn is one message of a conversation.
type turn struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// row is one conversation.
type row struct {
	ID            string `json:"id"`
	Conversations []turn `json:"conversations"`
	Topic         string `json:"topic"` // no part of the form: it is to survive
}

// measure is a pair of units.
type measure struct {
	topic, large, small string
	factor              int
}

var measures = []measure{
	{"length", "metres", "centimetres", 100}, {"length", "kilometres", "metres", 1000}, {"length", "feet", "inches", 12}, {"length", "yards", "feet", 3},
	{"mass", "kilograms", "grams", 1000}, {"mass", "pounds", "ounces", 16}, {"mass", "tonnes", "kilograms", 1000},
	{"time", "hours", "minutes", 60}, {"time", "minutes", "seconds", 60}, {"time", "days", "hours", 24}, {"time", "weeks", "days", 7},
	{"volume", "litres", "millilitres", 1000}, {"volume", "gallons", "quarts", 4}, {"angle", "degrees", "minutes of arc", 60}, {"count", "dozens", "pieces", 12},
}

// In these forms L and S are the units, n the number asked, m the answer and f
// the factor.
var (
	asking = []string{
		"How many {S} are {n} {L}?", "Please convert {n} {L} to {S}.", "I have {n} {L}. What is that in {S}?",
		"What do {n} {L} come to in {S}?", "{n} {L} in {S}, please.", "Could you tell me how many {S} there are in {n} {L}?",
	}
	answering = []string{"{n} {L} are {m} {S}.", "That is {m} {S}.", "{m} {S}: one of the {L} has {f} of them."}
	again     = []string{"And {n}?", "What about {n} {L}?", "And if there were {n}?", "Thanks. And {n} {L}?"}
)

func main() {
	rng := rand.New(rand.NewPCG(2026, 11))
	out := json.NewEncoder(os.Stdout)
	write := func(r row) {
		if err := out.Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, "imported:", err)
			os.Exit(1)
		}
	}
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	for i := range 240 {
		m := measures[rng.IntN(len(measures))]
		say := func(form string, n int) string {
			return strings.NewReplacer("{L}", m.large, "{S}", m.small, "{n}", fmt.Sprint(n), "{m}", fmt.Sprint(n*m.factor), "{f}", fmt.Sprint(m.factor)).Replace(form)
		}
		r := row{ID: fmt.Sprintf("measure-%d", i+1), Topic: m.topic}
		n := 2 + rng.IntN(97)
		r.Conversations = append(r.Conversations, turn{"human", say(pick(asking), n)}, turn{"gpt", say(pick(answering), n)})
		if rng.IntN(3) == 0 {
			n = 2 + rng.IntN(97)
			r.Conversations = append(r.Conversations, turn{"human", say(pick(again), n)}, turn{"gpt", say(pick(answering), n)})
		}
		switch i {
		case 60:
			r.Conversations[1].Value = "I am a language model, and that is " + r.Conversations[1].Value
		case 120:
			r.Conversations = r.Conversations[:1] // nobody answered
		case 180:
			r.Conversations[0].From = "somebody"
		}
		write(r)
	}
}
