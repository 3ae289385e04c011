package evidence_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"retort/prove/commit"
	"retort/prove/evidence"
	"retort/prove/evidence/evidencetest"
	"retort/prove/expose"
)

// The operator holds the signing key and could sign anything: what the log and its
// stamps bind must hold against them too.
func TestADishonestOperatorIsFoundOut(t *testing.T) {
	file, w := pack(t, evidencetest.Options{Seed: 10, Coins: 40, After: 6})
	verify := func(file []byte) error {
		_, err := evidence.Verify(file, w.Case.Keys.Public, nil)
		return err
	}
	if err := verify(file); err != nil {
		t.Fatal(err)
	}
	drop := func(i int) func([]string) []string {
		return func(l []string) []string { return slices.Delete(l, i, i+1) }
	}
	coinEdit := func(data map[string][]byte, i int, edit func(c map[string]json.RawMessage)) {
		data["coins.jsonl"] = evidence.Lines(data["coins.jsonl"], func(l []string) []string {
			// Fields keep their order: only values are replaced.
			var c map[string]json.RawMessage
			if err := json.Unmarshal([]byte(l[i]), &c); err != nil {
				t.Fatal(err)
			}
			before := map[string]string{}
			for k, v := range c {
				before[k] = string(v)
			}
			edit(c)
			for k, v := range c {
				l[i] = strings.Replace(l[i], `"`+k+`":`+before[k], `"`+k+`":`+string(v), 1)
			}
			return l
		})
	}
	live := func(i int) int { return w.Case.Pairs[i].Seed.Live() }
	arms := func(c map[string]json.RawMessage) (a [2]json.RawMessage) {
		if err := json.Unmarshal(c["arms"], &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	now := time.Now()
	early := now.Add(-time.Minute)
	for name, c := range map[string]struct {
		restate bool
		heads   *time.Time
		edit    func(data map[string][]byte)
		part    string
		what    string
	}{
		"an unfavourable exchange is dropped": {true, nil, func(d map[string][]byte) {
			d["coins.jsonl"] = evidence.Lines(d["coins.jsonl"], drop(5))
			d["scores.jsonl"] = evidence.Lines(d["scores.jsonl"], drop(5))
		}, "coins.jsonl", "the frame holds"},
		"one coin stands twice in another's place": {true, nil, func(d map[string][]byte) {
			twice := func(l []string) []string { l[5] = l[6]; return l }
			d["coins.jsonl"], d["scores.jsonl"] = evidence.Lines(d["coins.jsonl"], twice), evidence.Lines(d["scores.jsonl"], twice)
		}, "coins.jsonl", "stands where"},
		"a swapped arm": {false, nil, func(d map[string][]byte) {
			coinEdit(d, 3, func(c map[string]json.RawMessage) {
				a := arms(c)
				c["arms"] = json.RawMessage("[" + string(a[1]) + "," + string(a[0]) + "]")
			})
		}, "coins.jsonl", "answer 1"},
		"a forged withheld arm": {false, nil, func(d map[string][]byte) {
			coinEdit(d, 3, func(c map[string]json.RawMessage) {
				a := arms(c)
				a[1-live(3)] = json.RawMessage(`{"content":"It never said that."}`)
				c["arms"] = json.RawMessage("[" + string(a[0]) + "," + string(a[1]) + "]")
			})
		}, "coins.jsonl", "is not the one that was committed"},
		"another prompt": {false, nil, func(d map[string][]byte) {
			coinEdit(d, 3, func(c map[string]json.RawMessage) {
				c["messages"] = json.RawMessage(`[{"role":"user","content":"else"}]`)
			})
		}, "coins.jsonl", "the prompt"},
		"another seed": {false, nil, func(d map[string][]byte) {
			coinEdit(d, 3, func(c map[string]json.RawMessage) {
				c["seed"] = json.RawMessage(`"` + strings.Repeat("ab", 32) + `"`)
			})
		}, "coins.jsonl", "its seed"},
		"a gap in the counters": {true, &early, func(d map[string][]byte) {
			d["log.jsonl"] = evidence.Lines(d["log.jsonl"], func(l []string) []string { return slices.Delete(l, 7, 9) })
		}, "log.jsonl", "gap"},
		"a gap that is closed again": {true, &early, func(d map[string][]byte) {
			d["log.jsonl"] = evidence.Lines(d["log.jsonl"], func(l []string) []string {
				l = slices.Delete(l, 7, 9)
				return renumber(t, l)
			})
			d["frame.json"] = []byte(strings.Replace(string(d["frame.json"]), `"size":81`, `"size":79`, 1))
			d["coins.jsonl"] = evidence.Lines(d["coins.jsonl"], drop(3))
			d["scores.jsonl"] = evidence.Lines(d["scores.jsonl"], drop(3))
		}, "coins.jsonl", "its seed"},
		"a leaf is changed": {false, nil, func(d map[string][]byte) {
			d["log.jsonl"] = evidence.Lines(d["log.jsonl"], func(l []string) []string {
				l[2] = strings.Replace(l[2], `"arms":["`, `"arms":["0`, 1)
				return l
			})
		}, "heads.json", "not those that were signed"},
		"a coin that came late": {true, nil, func(d map[string][]byte) {
			d["frame.json"] = []byte(strings.Replace(string(d["frame.json"]), `"size":81`, `"size":93`, 1))
		}, "heads.json", "before the suspect was held"},
		"a leaf made after its stamp": {true, at(now.Add(-time.Hour)), func(map[string][]byte) {}, "heads.json", "after the stamp"},
		"the suspect was held before the stamp": {true, nil, func(d map[string][]byte) {
			var f expose.Frame
			if err := json.Unmarshal(d["frame.json"], &f); err != nil {
				t.Fatal(err)
			}
			f.Held = 5
			d["frame.json"] = f.Encode()
		}, "heads.json", "before the suspect was held"},
		"scores of another day": {false, nil, func(d map[string][]byte) {
			d["scores.jsonl"] = []byte(strings.Replace(string(d["scores.jsonl"]), `"suspect":[-`, `"suspect":[-1`, 1))
		}, "heads.json", "something else"},
		"no statement of the frame": {false, nil, func(d map[string][]byte) {
			var all []json.RawMessage
			if err := json.Unmarshal(d["heads.json"], &all); err != nil {
				t.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(h json.RawMessage) bool { return strings.Contains(string(h), `"what":"frame"`) })
			raw, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			d["heads.json"] = raw
		}, "heads.json", "before the frame"},
		"a better p": {false, nil, func(d map[string][]byte) {
			d["results.json"] = regexp.MustCompile(`"log_p":-[0-9.e-]+`).ReplaceAll(d["results.json"], []byte(`"log_p":-33.5`))
		}, "results.json", "states"},
		"better scores on the grid": {false, nil, func(d map[string][]byte) {
			d["results.json"] = []byte(strings.Replace(string(d["results.json"]), `"suspect":[`, `"suspect":[6`, 1))
		}, "results.json", ""},
		"a finding in other words": {false, nil, func(d map[string][]byte) {
			d["results.json"] = []byte(strings.Replace(string(d["results.json"]), `"found":false`, `"found":true`, 1))
		}, "results.json", "finding"},
	} {
		t.Run(name, func(t *testing.T) {
			forged, err := evidence.Forge(file, w.Signer, c.restate, c.heads, c.edit)
			if err != nil {
				t.Fatal(err)
			}
			var f *evidence.Failure
			if err := verify(forged); !errors.As(err, &f) || f.Part != c.part || !strings.Contains(f.What, c.what) {
				t.Errorf("%v, want %s to be named, and %q", err, c.part, c.what)
			}
		})
	}
}

func at(t time.Time) *time.Time { return &t }

// renumber closes the gaps in a log's counters.
func renumber(t *testing.T, lines []string) []string {
	t.Helper()
	counter, of, now := uint64(0), map[string]uint64{}, map[uint64]uint64{}
	for i, s := range lines {
		l, err := commit.ParseLeaf([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		switch l.Kind {
		case commit.LeafCoin:
			counter++
			of[l.Account]++
			now[l.Counter] = counter
			l.Counter, l.Of = counter, of[l.Account]
		case commit.LeafArms:
			l.Counter = now[l.Counter]
		}
		lines[i] = string(l.Encode())
	}
	return lines
}
