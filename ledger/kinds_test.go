package ledger

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

func idAt(ms int64) exchange.ID { return exchange.NewID(time.UnixMilli(ms)) }

func TestRemarksComeBackAsTheyWereWritten(t *testing.T) {
	verdict := Verdict{Exchange: idAt(1), Time: 7, Run: "r", Rules: "abc", Reason: "field_team", Checks: []Check{{"fields", OutcomeFail, "field_team", "billing"}}}
	override := Override{Time: 8, Run: "r", Row: "openai", Actions: []string{"curate", "export"}, Basis: "contract 7", By: "Ann", Use: Use{"extract", true}}
	correction := Correction{Exchange: idAt(1), Time: 9, Human: idAt(2), Run: "r", By: "Ann", TermsID: "own"}
	action := Action{Exchange: idAt(1), Time: 11, Account: "a", KeyID: "k", Action: ActionSlow, Rule: "held", Detail: "2s"}
	access := Access{Time: 12, Account: "a", KeyID: "k", EndUser: "u", Method: "GET", Path: "/v1/models", Status: 200, Sent: 1, Got: 2, Took: 3}
	mark := Mark{Time: 13, Account: "a", Mark: MarkHold, By: "Ann", Reason: "case 4"}
	attestation := Attestation{Time: 15, Account: "a", Basis: "terms.pdf", Until: 20, By: "Ann"}
	audit := Audit{Time: 14, What: "reveal", Subject: "a", By: "Ann", Reason: "case 4"}
	consent := Consent{Time: 10, Source: "import:chats.jsonl", Basis: "form 3", Consent: ConsentRecorded, People: "support customers"}
	for _, c := range []struct {
		kind  Kind
		make  func() (Record, error)
		parse func(Record) (any, error)
		want  any
	}{
		{KindVerdict, func() (Record, error) { return NewVerdict(verdict) }, func(r Record) (any, error) { return ParseVerdict(r) }, verdict},
		{KindOverride, func() (Record, error) { return NewOverride(override) }, func(r Record) (any, error) { return ParseOverride(r) }, override},
		{KindCorrection, func() (Record, error) { return NewCorrection(correction) }, func(r Record) (any, error) { return ParseCorrection(r) }, correction},
		{KindConsent, func() (Record, error) { return NewConsent(consent) }, func(r Record) (any, error) { return ParseConsent(r) }, consent},
		{KindAction, func() (Record, error) { return NewAction(action) }, func(r Record) (any, error) { return ParseAction(r) }, action},
		{KindAccess, func() (Record, error) { return NewAccess(access) }, func(r Record) (any, error) { return ParseAccess(r) }, access},
		{KindMark, func() (Record, error) { return NewMark(mark) }, func(r Record) (any, error) { return ParseMark(r) }, mark},
		{KindAttestation, func() (Record, error) { return NewAttestation(attestation) }, func(r Record) (any, error) { return ParseAttestation(r) }, attestation},
		{KindAudit, func() (Record, error) { return NewAudit(audit) }, func(r Record) (any, error) { return ParseAudit(r) }, audit},
	} {
		rec, err := c.make()
		if err != nil || rec.Kind != c.kind {
			t.Fatalf("%s: %+v, %v", c.kind, rec, err)
		}
		got, err := c.parse(rec)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.kind, diff)
		}
		// A later version's field survives this version's round trip.
		rec.Head = json.RawMessage(strings.TrimSuffix(string(rec.Head), "}") + `,"later":[1]}`)
		if got, err = c.parse(rec); err != nil {
			t.Fatal(err)
		}
		back, err := json.Marshal(got)
		if err != nil || string(back) != string(rec.Head) {
			t.Errorf("%s came back as %s, %v; want %s", c.kind, back, err, rec.Head)
		}
		rec.Head = json.RawMessage(`[]`)
		if _, err := c.parse(rec); err == nil || !strings.Contains(err.Error(), string(c.kind)) {
			t.Errorf("%s: a head that is no object: %v", c.kind, err)
		}
		rec.Kind = KindRun
		if _, err := c.parse(rec); err == nil {
			t.Errorf("a run record was read as a %s", c.kind)
		}
	}
}

func TestRemarksThatSayTooLittleAreRefused(t *testing.T) {
	for name, fn := range map[string]func() (Record, error){
		"verdict without exchange":      func() (Record, error) { return NewVerdict(Verdict{Rules: "a"}) },
		"verdict without rules":         func() (Record, error) { return NewVerdict(Verdict{Exchange: idAt(1)}) },
		"override without basis":        func() (Record, error) { return NewOverride(Override{Row: "a", Actions: []string{"curate"}}) },
		"override without actions":      func() (Record, error) { return NewOverride(Override{Row: "a", Basis: "b"}) },
		"correction of itself":          func() (Record, error) { id := idAt(1); return NewCorrection(Correction{Exchange: id, Human: id}) },
		"consent of no source":          func() (Record, error) { return NewConsent(Consent{Consent: ConsentNone}) },
		"consent that is no such word":  func() (Record, error) { return NewConsent(Consent{Source: "a", Consent: "yes"}) },
		"recorded consent, nowhere":     func() (Record, error) { return NewConsent(Consent{Source: "a", Consent: ConsentRecorded}) },
		"correction without exchange":   func() (Record, error) { return NewCorrection(Correction{Human: idAt(1)}) },
		"action of no rule":             func() (Record, error) { return NewAction(Action{Account: "a", Action: ActionBlock}) },
		"action that there is not":      func() (Record, error) { return NewAction(Action{Account: "a", Rule: "r", Action: "ban"}) },
		"access to nothing":             func() (Record, error) { return NewAccess(Access{Method: "GET"}) },
		"mark that there is not":        func() (Record, error) { return NewMark(Mark{Account: "a", Mark: "bad"}) },
		"attestation without end":       func() (Record, error) { return NewAttestation(Attestation{Account: "a", Basis: "b"}) },
		"audit without a reason":        func() (Record, error) { return NewAudit(Audit{What: "reveal", Subject: "a"}) },
		"correction without its answer": func() (Record, error) { return NewCorrection(Correction{Exchange: idAt(1)}) },
	} {
		if rec, err := fn(); err == nil {
			t.Errorf("%s was accepted: %s", name, rec.Head)
		}
	}
	if _, _, err := Correct(&exchange.Exchange{ID: idAt(1)}, Correction{Reasoning: "because"}); err == nil {
		t.Error("a correction without an answer was accepted")
	}
}

func TestACorrectionKeepsTheLineageOfWhatItCorrects(t *testing.T) {
	of := sample()
	human, recs, err := Correct(of, Correction{Answer: "right", Reasoning: "so", By: "Ann", Run: "r-1", Raw: []byte(`{"row":1}`), Time: 5e9})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Corrections(t.Context(), memory(append(records(t, of), recs...)))
	if err != nil {
		t.Fatal(err)
	}
	if string(human.ResponseBody) != `{"row":1}` {
		t.Errorf("what stood in the file: %s", human.ResponseBody)
	}
	human.ResponseBody = nil
	if diff := cmp.Diff(map[exchange.ID]*exchange.Exchange{of.ID: human}, got); diff != "" {
		t.Fatalf("read back (-made +read):\n%s", diff)
	}
	e := got[of.ID]
	switch {
	case e.Origin != exchange.OriginHuman, e.Parent != of.ID, e.Key != of.Key, e.TermsID != of.TermsID, e.Cost != 0, e.Worst != 0, !e.OK(), e.Run != "":
		t.Errorf("origin, parent, key, terms, cost, status or run: %+v", e)
	case e.Answer.Content != "right" || string(e.RequestBody) != string(of.RequestBody):
		t.Errorf("its text: %+v", e)
	}
	c, err := ParseCorrection(recs[len(recs)-1])
	if err != nil || c.Exchange != of.ID || c.Human != human.ID || c.By != "Ann" || c.Run != "r-1" || c.TermsID != of.TermsID {
		t.Errorf("record %+v, %v", c, err)
	}
}

func TestTheLastCorrectionCountsAndCorrectionsOfCorrectionsToo(t *testing.T) {
	of := sample()
	first, one, _ := Correct(of, Correction{Answer: "1"})
	_, two, _ := Correct(of, Correction{Answer: "2"})
	second, three, _ := Correct(first, Correction{Answer: "3"})
	read := func(recs ...[]Record) string {
		t.Helper()
		var all memory
		for _, r := range recs {
			all = append(all, r...)
		}
		got, err := Corrections(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		if got[of.ID] == nil {
			return ""
		}
		return got[of.ID].Answer.Content
	}
	if got := read(one, two); got != "2" {
		t.Errorf("of two corrections %q counts, want the later", got)
	}
	if got := read(two, one, three); got != "3" {
		t.Errorf("a correction of a correction: %q", got)
	}
	circle, err := NewCorrection(Correction{Exchange: second.ID, Human: first.ID})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(one, three, []Record{circle}); got == "" {
		t.Error("corrections that name each other in a circle leave none")
	}
	lost := one[len(one)-1:] // damage took the human exchange, its record stays
	if got := read(lost); got != "" {
		t.Errorf("a correction whose exchange is gone: %q", got)
	}
}
