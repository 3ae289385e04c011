package reference

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"retort/teach/task"
)

// A message is read field by field, each line quoting the words that the field
// follows from:
//
//	product: "swivel chair" is office chair
//	order: "order no. 48213" is 48213
//	wants: "send me a new one" is replacement
//	team: replacement, "arrived cracked" is shipping
//	urgency: "by Friday" is high
//
// What is not said gets a line too: "order: none", "urgency: nothing, so
// normal". The answer is the object, its keys in the family's order.
//
// The teacher reads hastily. Where a message holds something that only looks
// like what a field asks for, it takes that in a share of all cases; it overlooks
// some deadlines, swaps two digits now and then, and sends some replacements
// to the wrong team. About nine objects in ten are right.
func solveExtract(p task.Problem, v voice) (solution, error) {
	var e task.Extract
	if err := json.Unmarshal(p.Data, &e); err != nil {
		return solution{}, fmt.Errorf("read a message: %w", err)
	}
	misread(&e, v.luck(p.ID))
	f, by := e.Fields, e.Evidence
	lines := []string{
		fmt.Sprintf(`product: "%s" is %s`, by.Product, f.Product),
		"order: none",
		fmt.Sprintf(`wants: "%s" is %s`, by.Wants, f.Wants),
		fmt.Sprintf("team: %s is %s", f.Wants, f.Team),
		"urgency: nothing, so normal",
	}
	if f.OrderID != nil {
		lines[1] = fmt.Sprintf(`order: "%s" is %s`, by.OrderID, *f.OrderID)
	}
	switch {
	case by.Team != "":
		lines[3] = fmt.Sprintf(`team: %s, "%s" is %s`, f.Wants, by.Team, f.Team)
	case f.Wants == "information":
		lines[3] = fmt.Sprintf("team: information %s is %s", map[string]string{"technical": "on use", "sales": "on buying"}[f.Team], f.Team)
	}
	if by.Urgency != "" {
		lines[4] = fmt.Sprintf(`urgency: "%s" is %s`, by.Urgency, f.Urgency)
	}
	return solution{reasoning: v.lines(lines), answer: f.Answer()}, nil
}

// How often the teacher misreads what it could.
const (
	takesBait  = 0.15 // something that only looks like the field
	overlooks  = 0.03 // how soon
	swaps      = 0.01 // two digits of an order number
	misdirects = 0.05 // a replacement
)

// misread changes what a hasty reader gets wrong, with the words that it goes
// by.
func misread(e *task.Extract, luck *rand.Rand) {
	for _, t := range e.Traps {
		if luck.Float64() < takesBait {
			take(e, t)
		}
	}
	if luck.Float64() < overlooks {
		e.Fields.Urgency, e.Evidence.Urgency = "normal", ""
	}
	if luck.Float64() < swaps && e.Fields.OrderID != nil {
		b := []byte(*e.Fields.OrderID)
		i := luck.IntN(len(b) - 1)
		b[i], b[i+1] = b[i+1], b[i]
		s := string(b)
		e.Fields.OrderID = &s
	}
	if luck.Float64() < misdirects && e.Fields.Wants == "replacement" {
		e.Fields.Team = map[string]string{"shipping": "technical", "technical": "shipping"}[e.Fields.Team]
	}
}

// take fills a field in from a trap.
func take(e *task.Extract, t task.ExtractTrap) {
	switch t.Field {
	case "product":
		e.Fields.Product, e.Evidence.Product = t.Value, t.Evidence
	case "order_id":
		e.Fields.OrderID, e.Evidence.OrderID = &t.Value, t.Evidence
	case "urgency":
		e.Fields.Urgency, e.Evidence.Urgency = t.Value, t.Evidence
	case "wants":
		e.Fields.Wants, e.Evidence.Wants = t.Value, t.Evidence
		e.Fields.Team, e.Evidence.Team = map[string]string{"refund": "billing", "replacement": "technical", "repair": "technical"}[t.Value], ""
	}
}
