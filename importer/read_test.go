package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"retort/exchange"
)

// many is a log of n rows, long enough for several batches, every tenth broken.
func many(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		if i%10 == 0 {
			b.WriteString("{broken\n")
			continue
		}
		fmt.Fprintf(&b, "{\"id\":%d,\"prompt\":\"q%d\",\"response\":%q}\n", i, i, strings.Repeat("word ", 20+i%80))
	}
	return b.String()
}

func TestItemsComeInTheFilesOrderWhateverTheWorkers(t *testing.T) {
	defer goleak.VerifyNone(t)
	const n = 30_000
	for _, workers := range []int{1, 3, 8} {
		next := int64(0)
		rep, err := Read(context.Background(), strings.NewReader(many(n)), Options{Workers: workers}, func(it *Item) error {
			if next++; next%10 == 0 {
				next++
			}
			if it.Row != next || it.Line != next || it.ID != fmt.Sprint(next) || !bytes.Contains(it.Raw, []byte(it.Messages[0].Content)) {
				return fmt.Errorf("row %d line %d id %s, want %d", it.Row, it.Line, it.ID, next)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		counted(t, rep)
		if rep.Rows != n || rep.Kept != n*9/10 || rep.Refused[ReasonBadJSON] != n/10 || len(rep.Samples[ReasonBadJSON]) != samples || rep.Bytes != int64(len(many(n))) {
			t.Errorf("%d workers: %+v", workers, rep)
		}
	}
}

func TestTheCallbacksErrorEndsTheReading(t *testing.T) {
	defer goleak.VerifyNone(t)
	stop := errors.New("enough")
	n := 0
	rep, err := Read(context.Background(), strings.NewReader(many(30_000)), Options{Name: "a.jsonl"}, func(it *Item) error {
		if n++; n == 500 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || err.Error() != "import a.jsonl: row 555 on line 555: enough" || n != 500 || rep.Items != 500 {
		t.Errorf("%v after %d items: %+v", err, n, rep)
	}
}

func TestCancellingEndsTheReading(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	rep, err := Read(ctx, strings.NewReader(many(30_000)), Options{}, func(it *Item) error {
		if it.Row == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || rep.Kept == 0 || rep.Rows == 30_000 {
		t.Errorf("%v: %d rows", err, rep.Rows)
	}
	if _, err := Read(ctx, strings.NewReader(many(3)), Options{}, func(*Item) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("read under a context that is over: %v", err)
	}
}

func TestRowsBeforeAReadErrorAreDelivered(t *testing.T) {
	defer goleak.VerifyNone(t)
	broken := errors.New("disk on fire")
	for _, n := range []int{5, 30_000} {
		rows := int64(0)
		_, err := Read(context.Background(), io.MultiReader(strings.NewReader(many(n)), iotest.ErrReader(broken)), Options{Name: "a"}, func(*Item) error {
			rows++
			return nil
		})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), fmt.Sprintf("behind row %d", n)) || rows != int64(n-n/10) {
			t.Errorf("%d rows were delivered of %d: %v", rows, n, err)
		}
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, opt := range map[string]Options{
		`format "csv"`:   {Format: "csv"},
		`turns "some"`:   {Turns: "some"},
		"longest row":    {MaxRow: -1},
		"a file of requ": {Format: Log, Requests: strings.NewReader("")},
	} {
		if _, _, err := tryRead(`{"prompt":"q","response":"a"}`, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

// The splitter finds the rows of valid JSON as encoding/json does, and their
// lines, however the bytes arrive and wherever white space stands.
func TestTheSplitterFindsTheRowsThatAParserFinds(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return rapid.StringOf(rapid.SampledFrom([]rune("a\"\\\n{}[],:é\u2028 \t"))).Draw(t, "s")
		case 1:
			return map[string]any{rapid.StringOf(rapid.SampledFrom([]rune("k\"\\{}],"))).Draw(t, "k"): []any{"x", 1.5, nil}}
		case 2:
			return []any{[]any{}, map[string]any{}, "]"}
		case 3:
			return rapid.Float64Range(-1e9, 1e9).Draw(t, "n")
		case 4:
			return rapid.Bool().Draw(t, "b")
		}
		return nil
	})
	space := rapid.SampledFrom([]string{"", " ", "\n", "\r\n\t", "\n\n  "})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value, 0, 12).Draw(t, "values")
		array := rapid.Bool().Draw(t, "array")
		var file strings.Builder
		var want []string
		var lines []int64
		if array {
			file.WriteString(space.Draw(t, "space") + "[")
		}
		for i, v := range values {
			row, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if array {
				if i > 0 {
					file.WriteString(",")
				}
				file.WriteString(space.Draw(t, "space"))
			} else if row[0] == '[' && i == 0 { // a file that begins like this is an array
				row = []byte("0")
			}
			want, lines = append(want, string(row)), append(lines, 1+int64(strings.Count(file.String(), "\n")))
			file.Write(row)
			if array {
				file.WriteString(space.Draw(t, "space"))
			} else {
				file.WriteString(rapid.SampledFrom([]string{"\n", "\r\n", "\n \n"}).Draw(t, "end"))
			}
		}
		if array {
			file.WriteString("]\n")
		}
		var r io.Reader = strings.NewReader(file.String())
		if rapid.Bool().Draw(t, "slow") {
			r = iotest.OneByteReader(r)
		}
		s := newSplitter(r, 1<<20)
		if err := s.begin(); err != nil {
			t.Fatal(err)
		}
		var got []string
		var at []int64
		for {
			b, err := s.next(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				break
			}
			for _, sp := range b.rows {
				if sp.fault != nil {
					t.Fatalf("row %d: %v", sp.row, sp.fault)
				}
				got, at = append(got, strings.TrimSpace(string(b.data[sp.start:sp.end]))), append(at, sp.line)
			}
		}
		if !slices.Equal(got, want) || !slices.Equal(at, lines) || s.damage != "" {
			t.Fatalf("%q:\nrows %q on %v\nwant %q on %v (%s)", file.String(), got, at, want, lines, s.damage)
		}
	})
}

func TestDetectNeedsOneWholeRow(t *testing.T) {
	for head, want := range map[string]Format{
		`[{"instruction":"a","output":"b"},{"instr`:                               Alpaca,
		`{"conversations":[{"from":"human","value":"a"}]}` + "\n" + `{"conv`:      ShareGPT,
		"\xef\xbb\xbf{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n{\"": Messages,
		`{"prompt":"a","response":"b"}`:                                           Log,
	} {
		if f, why, err := Detect([]byte(head)); f != want || why == "" || err != nil {
			t.Errorf("%q: %s, %q, %v", head, f, why, err)
		}
	}
	if _, _, err := Detect([]byte(`{"prompt":"a","resp`)); err == nil {
		t.Error("half a row has a format")
	}
}

// A batch's requests are read where they stand, from a file as from a stream.
func TestRequestsAreFoundInAFile(t *testing.T) {
	const n = 5000
	var in, out strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "{\"custom_id\":\"r-%d\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"question %d %s\"}]}}\n\n", i, i, strings.Repeat("x", 300))
		if i%2 == 0 {
			fmt.Fprintf(&out, "{\"custom_id\":\"r-%d\",\"response\":{\"status_code\":200,\"body\":{\"choices\":[{\"message\":{\"content\":\"answer %d\"},\"finish_reason\":\"stop\"}]}}}\n", n-1-i, n-1-i)
		}
	}
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte(in.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, requests := range map[string]io.Reader{"file": file, "stream": iotest.HalfReader(strings.NewReader(in.String()))} {
		rep, err := Read(context.Background(), strings.NewReader(out.String()), Options{Requests: requests}, func(it *Item) error {
			asked, answered := strings.Fields(it.Messages[0].Content)[1], strings.Fields(it.Answer.Content)[1]
			if asked != answered {
				return fmt.Errorf("question %s has answer %s", asked, answered)
			}
			return nil
		})
		if err != nil || rep.Kept != n/2 || rep.Notes[NoteUnsentRequests] != n/2 {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
	}
}

func TestAnItemComesBackFromItsExchange(t *testing.T) {
	_, items := read(t, `{"id":"a","conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"<think>r</think>a"},{"from":"human","value":"p"},{"from":"gpt","value":"b"}],"tools":"[{\"name\":\"f\"}]","lang":"en"}`, Options{Turns: TurnsAll})
	keys := map[exchange.Key]bool{}
	for _, it := range items {
		opt := RecordOptions{Run: "run", Stage: "import", Name: "chats.json", Family: "chats", TermsID: "own", TermsBasis: "mine", Account: "h"}
		e, err := Exchange(it, opt)
		if err != nil {
			t.Fatal(err)
		}
		if e.Origin != exchange.OriginImport || e.Endpoint != "import:chats.json" || e.Run != "run" || e.TermsID != "own" || e.TermsBasis != "mine" || e.Account != "h" ||
			e.Family != "chats" || !e.OK() || e.Cost != 0 || !bytes.Equal(e.RequestBody, it.Raw) || e.Answer.Content != it.Answer.Content || e.Times.LastByte == 0 {
			t.Errorf("%+v", e)
		}
		back, err := FromExchange(context.Background(), e)
		if err != nil {
			t.Fatal(err)
		}
		if back.Turn != it.Turn || back.Answer.Content != it.Answer.Content || string(back.Extra) != `{"lang":"en"}` || string(back.Tools) != string(it.Tools) || len(back.Messages) != len(it.Messages) {
			t.Errorf("%+v came back as %+v", it, back)
		}
		again, err := Exchange(back, opt)
		if err != nil || again.Key != e.Key || again.ID == e.ID {
			t.Errorf("recorded again: %v, keys %s and %s", err, e.Key, again.Key)
		}
		keys[e.Key] = true
		e.RequestHeader[HeaderTurn] = "9"
		if _, err := FromExchange(context.Background(), e); err == nil {
			t.Error("an answer that is not there came back")
		}
		e.Origin = exchange.OriginAPI
		if _, err := FromExchange(context.Background(), e); err == nil {
			t.Error("an exchange that was not imported came back")
		}
	}
	if len(items) != 2 || len(keys) != 2 {
		t.Errorf("%d items have %d keys", len(items), len(keys))
	}
	if _, err := Exchange(items[0], RecordOptions{}); err == nil {
		t.Error("a source without a name was recorded")
	}
}

// Two answers to one prompt are two keys, and the same row of a file that is
// written otherwise is one.
func TestKeysAreOfTheRowAndItsPrompt(t *testing.T) {
	key := func(row string) exchange.Key {
		t.Helper()
		_, items := read(t, row, Options{})
		e, err := Exchange(items[0], RecordOptions{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return e.Key
	}
	a := key(`{"prompt":"q","response":"a"}`)
	if key(`[ {"response": "\u0061", "prompt": "q"} ]`) != a {
		t.Error("white space and order make another key")
	}
	if key(`{"prompt":"q","response":"b"}`) == a || key(`{"prompt":"p","response":"a"}`) == a {
		t.Error("another answer or prompt has the same key")
	}
}
