package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"retort/exchange"
)

// memory is a ledger in a slice.
type memory []Record

func (m memory) Scan(ctx context.Context, fn func(Record) error) error {
	for _, r := range m {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func sample() *exchange.Exchange {
	return &exchange.Exchange{
		ID: exchange.NewID(time.UnixMilli(1)), Parent: exchange.NewID(time.UnixMilli(2)), Key: exchange.Key{1, 2},
		Run: "r", Stage: "collect", Origin: exchange.OriginAPI, Provider: "openai", Endpoint: "http://x/v1",
		ModelAsked: "m", ModelAnswered: "m-1", Fingerprint: "fp", Account: "a", Family: "chain", Problem: "p",
		TermsID: "t", TermsBasis: "b", ExposureArm: "arm", Attempt: 2, Status: 200,
		RequestHeader: map[string]string{"X-Retort-Attempt": "1"}, ResponseHeader: map[string]string{"A": "b"},
		RequestBody: []byte(`{"model":"m"}`), ResponseBody: []byte("data: x\n\n"),
		Answer: exchange.Answer{Reasoning: "so", Content: "4", FinishReason: "stop", ToolCalls: []exchange.ToolCall{{ID: "i", Name: "n", Arguments: "{}"}}},
		Usage:  exchange.Usage{Source: exchange.UsageReported, Input: 3, CachedInput: 1, Output: 2, Reasoning: 1},
		Cost:   7, Worst: 9, Price: "book/1", Times: exchange.Times{Queued: 1, Sent: 2, FirstByte: 3, LastByte: 4},
	}
}

func records(t *testing.T, e *exchange.Exchange) []Record {
	t.Helper()
	recs, err := Records(e)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func joinAll(t *testing.T, r Reader) []*exchange.Exchange {
	t.Helper()
	var all []*exchange.Exchange
	if err := Exchanges(context.Background(), r, func(e *exchange.Exchange) error {
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryFieldOfAnExchangeComesBack(t *testing.T) {
	want := sample()
	got := joinAll(t, memory(records(t, want)))
	if diff := cmp.Diff([]*exchange.Exchange{want}, got); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
}

func TestBodiesAreSplitAndJoinedAtAnyLength(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := sample()
		n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(MaxFragment-2, MaxFragment+2), rapid.IntRange(2*MaxFragment-1, 2*MaxFragment+1)).Draw(rt, "n")
		e.ResponseBody = bytes.Repeat([]byte("0123456789abc"), n/13+1)[:n]
		recs, err := Records(e)
		if err != nil {
			rt.Fatal(err)
		}
		for _, r := range recs {
			if r.Kind == KindFragment && (len(r.Body) > MaxFragment || len(r.Body) == 0) {
				rt.Fatalf("fragment of %d bytes", len(r.Body))
			}
		}
		// Fragments are joined by their numbers, in whatever order they lie.
		slices.Reverse(recs[1 : len(recs)-1])
		err = Exchanges(context.Background(), memory(recs), func(got *exchange.Exchange) error {
			if !bytes.Equal(got.ResponseBody, e.ResponseBody) || got.ErrorText != "" {
				rt.Fatalf("%d of %d bytes came back, %q", len(got.ResponseBody), n, got.ErrorText)
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func TestAnIntentWithoutEndIsDeliveredLastAndChargedItsWorst(t *testing.T) {
	a, b, c := sample(), sample(), sample()
	b.ID, c.ID = exchange.NewID(time.UnixMilli(3)), exchange.NewID(time.UnixMilli(4))
	ra, rb, rc := records(t, a), records(t, b), records(t, c)
	m := memory{rb[0], ra[0], rc[0], rb[1], ra[1], rc[1], rc[2]} // a and b have no end
	got := joinAll(t, m)
	if len(got) != 3 || got[0].ID != c.ID || got[1].ID != b.ID || got[2].ID != a.ID {
		t.Fatalf("delivered %v", got)
	}
	if got[0].Cost != c.Cost || got[0].ErrorClass != "" {
		t.Errorf("an ended exchange costs %v, %q", got[0].Cost, got[0].ErrorClass)
	}
	for _, e := range got[1:] {
		if e.ErrorClass != exchange.ClassUnended || e.Cost != e.Worst || e.Worst != 9 {
			t.Errorf("an unended exchange is %q and costs %v, want its worst, 9", e.ErrorClass, e.Cost)
		}
		if string(e.ResponseBody) != "data: x\n\n" {
			t.Errorf("what had been read of its body is %q", e.ResponseBody)
		}
	}
}

func TestAnEndWithoutIntentStillCounts(t *testing.T) {
	e := sample()
	recs := records(t, e)
	got := joinAll(t, memory{recs[len(recs)-1]})
	if len(got) != 1 || got[0].Cost != e.Cost || got[0].ID != e.ID || !strings.Contains(got[0].ErrorText, "0 of 9 bytes") {
		t.Errorf("delivered %+v", got)
	}
}

func TestUnknownFieldsAndKindsSurvive(t *testing.T) {
	e := sample()
	recs := records(t, e)
	for _, i := range []int{0, len(recs) - 1} {
		recs[i].Head = append(bytes.TrimSuffix(recs[i].Head, []byte("}")), []byte(fmt.Sprintf(`,"later_%d":{"x":[1,2]},"aa":1e400}`, i))...)
	}
	var intent Intent
	if err := json.Unmarshal(recs[0].Head, &intent); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(intent)
	if err != nil {
		t.Fatal(err)
	}
	var a, b map[string]json.RawMessage
	if json.Unmarshal(recs[0].Head, &a) != nil || json.Unmarshal(again, &b) != nil || !cmp.Equal(a, b) {
		t.Errorf("an intent's head came back as %s", again)
	}
	var end End
	if err := json.Unmarshal(recs[len(recs)-1].Head, &end); err != nil || string(end.Extra["aa"]) != "1e400" {
		t.Errorf("an end's extra fields are %v, %v", end.Extra, err)
	}
	recs = append(recs, Record{Kind: "verdict", Exchange: e.ID, Head: []byte(`{}`)})
	var out bytes.Buffer
	if n, err := WriteJSONL(context.Background(), &out, memory(recs), Filter{}); n != 1 || err != nil {
		t.Fatalf("exported %d, %v", n, err)
	}
	for _, want := range []string{`"later_0":{"x":[1,2]}`, `"later_2":{"x":[1,2]}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the export lacks %s: %s", want, out.String())
		}
	}
}

func TestADamagedHeadIsNamed(t *testing.T) {
	recs := records(t, sample())
	recs[0].Head = []byte(`{"attempt":"x"}`)
	err := Exchanges(context.Background(), memory(recs), func(*exchange.Exchange) error { return nil })
	if err == nil || !strings.Contains(err.Error(), recs[0].Exchange.String()) || !strings.Contains(err.Error(), "intent") {
		t.Errorf("error is %v", err)
	}
}

func TestRecordsNeedAnID(t *testing.T) {
	if _, err := NewIntent(&exchange.Exchange{}); err == nil {
		t.Error("an intent without id was made")
	}
	if _, err := NewEnd(&exchange.Exchange{}); err == nil {
		t.Error("an end without id was made")
	}
}

func TestFilter(t *testing.T) {
	e := sample()
	failed := sample()
	failed.Status, failed.ErrorClass = 429, exchange.ClassRateLimited
	for _, c := range []struct {
		f    Filter
		e    *exchange.Exchange
		want bool
	}{
		{Filter{}, e, true},
		{Filter{Run: "r", Stage: "collect", Family: "chain", Model: "m-1", Status: "ok", MinCost: 7, MaxCost: 7, Since: 1, Until: 2, ID: e.ID}, e, true},
		{Filter{ID: exchange.ID{1}}, e, false},
		{Filter{Run: "x"}, e, false},
		{Filter{Stage: "x"}, e, false},
		{Filter{Family: "x"}, e, false},
		{Filter{Model: "x"}, e, false},
		{Filter{MinCost: 8}, e, false},
		{Filter{MaxCost: 6}, e, false},
		{Filter{Since: 2}, e, false},
		{Filter{Until: 1}, e, false},
		{Filter{Status: "failed"}, e, false},
		{Filter{Status: "200"}, e, true},
		{Filter{Status: "2xx"}, e, true},
		{Filter{Status: "ok"}, failed, false},
		{Filter{Status: "failed"}, failed, true},
		{Filter{Status: "429"}, failed, true},
		{Filter{Status: "4xx"}, failed, true},
		{Filter{Status: "5xx"}, failed, false},
		{Filter{Status: "rate_limited"}, failed, true},
		{Filter{Status: "server"}, failed, false},
	} {
		if err := c.f.Validate(); err != nil {
			t.Errorf("%+v is refused: %v", c.f, err)
		}
		if got := c.f.Match(c.e); got != c.want {
			t.Errorf("%+v matches a status %d: %v, want %v", c.f, c.e.Status, got, c.want)
		}
	}
	for _, bad := range []Filter{{Status: "bad"}, {Status: "9xx"}, {Status: "42"}, {MinCost: 2, MaxCost: 1}, {MinCost: -1}, {Since: 2, Until: 2}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
		if _, err := WriteJSONL(context.Background(), &bytes.Buffer{}, memory{}, bad); err == nil {
			t.Errorf("%+v was accepted by an export", bad)
		}
	}
}

func TestExportsHoldTheSelectedExchanges(t *testing.T) {
	a, b := sample(), sample()
	b.ID, b.Family, b.ResponseBody = exchange.NewID(time.UnixMilli(9)), "list", []byte{0xff, 0xfe}
	m := memory(append(records(t, a), records(t, b)...))
	var jsonl bytes.Buffer
	if n, err := WriteJSONL(context.Background(), &jsonl, m, Filter{}); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	dec := json.NewDecoder(&jsonl)
	for _, e := range []*exchange.Exchange{a, b} {
		var got Line
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(NewLine(e), got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if !bytes.Equal([]byte(got.ResponseBody+string(got.ResponseBytes)), e.ResponseBody) {
			t.Errorf("body %q, %q", got.ResponseBody, got.ResponseBytes)
		}
	}
	var file bytes.Buffer
	if n, err := WriteParquet(context.Background(), &file, m, Filter{Family: "list"}); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	rows, err := parquet.Read[table](bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want, err := newTable(&opened{exchange: b})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, rows[0]); diff != "" || !bytes.Equal(rows[0].ResponseBody, b.ResponseBody) || rows[0].CostPico != 7 {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestExportsReportAFailedWrite(t *testing.T) {
	m := memory(records(t, sample()))
	if _, err := WriteJSONL(context.Background(), failingWriter{}, m, Filter{}); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("JSON lines: %v", err)
	}
	if _, err := WriteParquet(context.Background(), failingWriter{}, m, Filter{}); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("Parquet: %v", err)
	}
}

// TestAnswersAreExchangesWithoutResponseBodies, whole ones and cut off ones.
func TestAnswersAreExchangesWithoutResponseBodies(t *testing.T) {
	done, cut := sample(), sample()
	done.ID, cut.ID = idAt(1), idAt(2)
	recs := append(records(t, done), records(t, cut)[:2]...)
	var want, got []*exchange.Exchange
	read := func(from func(context.Context, Reader, func(*exchange.Exchange) error) error, into *[]*exchange.Exchange) {
		if err := from(t.Context(), memory(recs), func(e *exchange.Exchange) error {
			*into = append(*into, e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	read(Exchanges, &want)
	read(Answers, &got)
	for _, e := range want {
		if len(e.ResponseBody) == 0 {
			t.Fatalf("exchange %s has no response body to leave out", e.ID)
		}
		e.ResponseBody = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-exchanges +answers):\n%s", diff)
	}
}
