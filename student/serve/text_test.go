package serve

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retort/openai"
)

// feed splits whole into pieces at the given cuts and returns what comes out.
func feed(t *text, whole string, cut func(rest int) int) (reasoning, content string) {
	add := func(p piece) {
		reasoning += p.reasoning
		content += p.content
	}
	for whole != "" && !t.stopped() {
		n := cut(len(whole))
		add(t.add(whole[:n]))
		whole = whole[n:]
	}
	add(t.end(""))
	return reasoning, content
}

func TestTextInPiecesIsTheTextSplitWhole(t *testing.T) {
	parts := []string{"<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a", "12", "é", "🙂", "x = 3"}
	rapid.Check(t, func(t *rapid.T) {
		whole := strings.Join(rapid.SliceOf(rapid.SampledFrom(parts)).Draw(t, "parts"), "")
		if rapid.Bool().Draw(t, "opened") {
			whole = "<think>" + whole
		}
		body := strings.TrimLeft(whole, " \t\r\n")
		if strings.Contains(body, "</think>") && !strings.HasPrefix(body, "<think>") {
			t.Skip("a closing tag alone is content here")
		}
		reasoning, content := feed(newText(false, textStart, nil), whole, func(rest int) int { return rapid.IntRange(1, min(rest, 5)).Draw(t, "cut") })
		if r, c := openai.SplitThink(whole); reasoning != r || content != c {
			t.Fatalf("%q came out as %q and %q, want %q and %q", whole, reasoning, content, r, c)
		}
		if _, inline := feed(newText(true, textStart, nil), whole, func(rest int) int { return min(rest, 3) }); inline != whole {
			t.Fatalf("%q came out inline as %q", whole, inline)
		}
	})
}

func TestTextComesOutAsSoonAsItIsKnown(t *testing.T) {
	x := newText(false, textStart, []string{"STOP"})
	for _, c := range []struct {
		in   string
		want piece
	}{
		{"<thi", piece{}},
		{"nk>\n", piece{}},
		{"3+4", piece{reasoning: "3+4"}},
		{" ", piece{}},
		{"=7 </thi", piece{reasoning: " =7"}},
		{"nk>", piece{}},
		{"\n\nThe", piece{content: "The"}},
		{" answer ST", piece{content: " answer "}},
		{"AR", piece{content: "STAR"}},
		{"STOP and more", piece{}},
	} {
		if got := x.add(c.in); got != c.want {
			t.Errorf("after %q came %+v, want %+v", c.in, got, c.want)
		}
	}
	if !x.stopped() {
		t.Error("the stop string did not stop it")
	}
}

func TestStopStringsEndTheContentOnly(t *testing.T) {
	for _, cut := range []int{1, 2, 3, 100} {
		x := newText(false, textStart, []string{"\n", "zz", ""})
		r, c := feed(x, "<think>a\nzz b</think>one z two zz three\nfour", func(rest int) int { return min(rest, cut) })
		if r != "a\nzz b" || c != "one z two " || !x.stopped() {
			t.Errorf("cut at %d: %q and %q, stopped %v", cut, r, c, x.stopped())
		}
		x = newText(false, textStart, []string{"zz"})
		if _, c := feed(x, "ends in z", func(rest int) int { return min(rest, cut) }); c != "ends in z" || x.stopped() {
			t.Errorf("cut at %d: %q, stopped %v, want all of it", cut, c, x.stopped())
		}
	}
}
