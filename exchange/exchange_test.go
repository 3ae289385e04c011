package exchange

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func request() Request {
	return Request{
		Endpoint:  "https://teacher.example/v1",
		Model:     "m",
		Messages:  []Message{{Role: "user", Content: "What is 2+2?"}},
		Params:    json.RawMessage(`{"temperature":0.7,"top_p":1}`),
		MaxTokens: 100,
	}
}

// A change of this value means that every ledger in the world no longer
// recognises what it has already paid for.
func TestPromptKeyIsFinal(t *testing.T) {
	r := request()
	key, err := r.Key()
	if err != nil {
		t.Fatal(err)
	}
	const want = "cdf225f1fe6226ccfc9b9805c015a69fe31dc412b0ce6ebccbe16969675a6d9f"
	if got := key.String(); got != want {
		t.Errorf("prompt key is %s, want %s", got, want)
	}
	if s := key.Seed(); s < 0 || s >= 1<<53 {
		t.Errorf("derived seed %d does not survive a JSON number", s)
	}
}

func TestPromptKeyCoversWhatDecidesTheAnswerAndNothingElse(t *testing.T) {
	r := request()
	want, _ := r.Key()
	same := []func(*Request){
		func(r *Request) { r.Run, r.Stage, r.Family, r.Problem = "other", "eval", "chain", "p" },
		func(r *Request) { r.Params = json.RawMessage("{ \"top_p\": 1.0,\n \"temperature\": 0.70 }") },
	}
	for i, change := range same {
		r := request()
		change(&r)
		if got, err := r.Key(); err != nil || got != want {
			t.Errorf("change %d moved the key: %v, %v", i, got, err)
		}
	}
	seen := map[Key]int{want: -1}
	different := []func(*Request){
		func(r *Request) { r.Endpoint += "/" },
		func(r *Request) { r.Model = "n" },
		func(r *Request) { r.Sample = 1 },
		func(r *Request) { r.MaxTokens++ },
		func(r *Request) { r.Seed = SeedNone },
		func(r *Request) { r.Params = json.RawMessage(`{"temperature":0.8,"top_p":1}`) },
		func(r *Request) { r.Params = nil },
		func(r *Request) { r.Messages[0].Content += " " },
		func(r *Request) { r.Messages[0].Role = "system" },
		func(r *Request) { r.Messages = append([]Message{{Role: "system"}}, r.Messages...) },
		func(r *Request) { r.Messages[0] = Message{Role: "user", Content: "What is", Reasoning: " 2+2?"} },
		func(r *Request) { r.Endpoint, r.Model = r.Endpoint+r.Model, "" },
		func(r *Request) { r.Messages[0].Name = "ann" },
		func(r *Request) { r.Messages[0].ToolCallID = "ann" },
		func(r *Request) { r.Messages[0].ToolCalls = []ToolCall{{}} },
		func(r *Request) { r.Messages[0].ToolCalls = []ToolCall{{ID: "a", Name: "b"}} },
		func(r *Request) { r.Messages[0].ToolCalls = []ToolCall{{Name: "a", Arguments: "b"}} },
	}
	for i, change := range different {
		r := request()
		r.Messages = append([]Message(nil), r.Messages...)
		change(&r)
		got, err := r.Key()
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[got]; ok {
			t.Errorf("changes %d and %d have the same key", i, j)
		}
		seen[got] = i
	}
}

func TestCanonicalJSON(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"b":1,"a":[1.50,2e3,-0,1E-7]}`, `{"a":[1.5,2000,0,1e-07],"b":1}`},
		{`{"big":9007199254740993}`, `{"big":9007199254740993}`},
		{`{"s":"<&>"}`, `{"s":"<&>"}`},
	} {
		got, err := CanonicalJSON([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("CanonicalJSON(%s) = %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{``, `{`, `{} {}`, `{"a":1e999}`} {
		if got, err := CanonicalJSON([]byte(bad)); err == nil {
			t.Errorf("CanonicalJSON(%q) = %s, want an error", bad, got)
		}
	}
}

func TestPicoSumAgreesWithBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOf(rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, -1, 0}))).Draw(t, "amounts")
		var s, halves PicoSum
		want := new(big.Int)
		for i, a := range amounts {
			s.Add(Pico(a))
			want.Add(want, big.NewInt(a))
			if i%2 == 0 {
				var one PicoSum
				one.Add(Pico(a))
				halves.AddSum(one)
			} else {
				halves.Add(Pico(a))
			}
		}
		if s.Big().Cmp(want) != 0 || halves.Cmp(s) != 0 {
			t.Fatalf("sum of %v is %v (in parts %v), want %v", amounts, s.Big(), halves.Big(), want)
		}
		var zero PicoSum
		if got := s.Cmp(zero); got != want.Sign() {
			t.Fatalf("%v compares to zero as %d", want, got)
		}
	})
}

func TestMoneyPrintsExactly(t *testing.T) {
	for _, c := range []struct {
		p    Pico
		want string
	}{{0, "$0.00"}, {Dollar, "$1.00"}, {Dollar / 2, "$0.50"}, {1, "$0.000000000001"}, {-Dollar - 10_000_000_000, "-$1.01"}} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%d pico-dollars print as %s, want %s", int64(c.p), got, c.want)
		}
	}
	if p, err := Dollars(5); err != nil || p != 5*Dollar {
		t.Errorf("Dollars(5) = %d, %v", p, err)
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1), 1e7} {
		if p, err := Dollars(bad); err == nil {
			t.Errorf("Dollars(%v) = %d, want an error", bad, p)
		}
	}
}

func TestIDsSortByTimeAndRoundTrip(t *testing.T) {
	a := NewID(time.UnixMilli(1000))
	b := NewID(time.UnixMilli(2000))
	if !(a.String() < b.String()) {
		t.Errorf("%s does not sort before %s", a, b)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back ID
	if err := json.Unmarshal(text, &back); err != nil || back != a {
		t.Errorf("%s came back as %v, %v", text, back, err)
	}
	if _, err := ParseID("not an id"); err == nil || !strings.Contains(err.Error(), "not an id") {
		t.Errorf("ParseID accepted nonsense or did not name it: %v", err)
	}
	if _, err := ParseID("0000000000000000000000000!"); err == nil {
		t.Error("ParseID accepted a character outside of the alphabet")
	}
}

func TestAccountHashNeedsTheKey(t *testing.T) {
	a := HashAccount([]byte("key one"), "alice")
	if a == HashAccount([]byte("key two"), "alice") || a == HashAccount([]byte("key one"), "bob") {
		t.Error("account hash does not depend on both key and account")
	}
	if strings.Contains(a, "alice") {
		t.Error("account hash shows the account")
	}
}
