package ledger

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retort/exchange"
)

func TestCommitmentsAreReadBackWithWhatTheyDoNotKnow(t *testing.T) {
	for _, want := range []Commitment{
		{Exchange: exchange.ID{1}, Time: 5, Log: "l", What: "leaf", Index: 3, Leaf: `{"kind":"coin"}`, Tag: "t", Arms: []exchange.ID{{2}, {3}}, Marks: "AAAA", Extra: map[string]json.RawMessage{"later": json.RawMessage(`{"a":1}`)}},
		{Time: 6, Log: "l", What: "head", Note: "text\n\n— name sig\n", Stamp: []byte{48, 3}, Body: []byte("{}")},
	} {
		rec, err := NewCommitment(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseCommitment(rec)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, bad := range []Commitment{{}, {Log: "l", What: "leaf"}, {Log: "l", What: "leaf", Leaf: "x", Note: "y"}, {What: "leaf", Leaf: "x"}} {
		if _, err := NewCommitment(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := ParseCommitment(Record{Kind: KindMark}); err == nil {
		t.Error("a mark is read as a commitment")
	}
}
