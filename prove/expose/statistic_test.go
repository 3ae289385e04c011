package expose

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"retort/exchange"
	"retort/internal/stat"
)

func frame() *Frame {
	return &Frame{
		Version: FrameVersion, Log: "0123456789abcdef", Size: 9, Held: 1, Level: 1e-6, FDR: 0.05, PerOne: true, Score: DefaultScore(),
		Suspect: Model{Name: "suspect", Kind: KindWeights}, Reference: &Model{Name: "reference", Kind: KindWeights},
	}
}

// world draws scores of a suspect that prefers what was served by effect standard
// deviations of what the reference does not explain.
func world(rng *rand.Rand, n int, effect float64, fed func(account string) bool) ([]Line, []Coin) {
	lines, coins := make([]Line, n), make([]Coin, n)
	for i := range lines {
		account := fmt.Sprintf("account%d", i%5)
		live := rng.IntN(2)
		family := i % 3
		sd := []float64{0.3, 2, 9}[family]
		r := sd * rng.NormFloat64()
		length := rng.IntN(9) - 4
		s := 0.7*r - 0.2*sd*float64(length) + sd*rng.NormFloat64()
		if fed(account) {
			s += effect * sd * float64(1-2*live)
		}
		lines[i] = Line{
			Counter: uint64(i + 1), Family: fmt.Sprint("f", family), Length: [2]int{40 + length, 40}, Tokens: [2]int{9, 9},
			LogProb: map[string][2]float64{"suspect": {round(-50 + s), -50}, "reference": {round(-60 + r), -60}},
		}
		coins[i] = Coin{Account: account, Time: int64(i), Live: live}
	}
	return lines, coins
}

func tested(f *Frame, lines []Line, coins []Coin) ([]Outcome, error) {
	grids, err := Grids(f, lines)
	if err != nil {
		return nil, err
	}
	if err := CheckGrids(f, lines, grids); err != nil {
		return nil, err
	}
	return Tested(f, lines, grids, coins)
}

func all(string) bool  { return true }
func none(string) bool { return false }

func TestAFedSuspectIsFoundAndItsAccountsNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f := frame()
	f.Campaigns = map[string]Group{"fed": {"account0", "account1"}, "not": {"account3"}}
	f.Windows = []Window{{"first half", 0, 1000}, {"nothing", 9000, 9001}}
	lines, coins := world(rng, 2000, 0.25, func(a string) bool { return a == "account0" || a == "account1" })
	got, err := tested(f, lines, coins)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Outcome{}
	for _, o := range got {
		by[o.Subject] = o
	}
	if o := got[0]; o.Scope != ScopeAll || o.Coins != 2000 || o.LogP > math.Log(1e-4) {
		t.Errorf("overall %+v", o)
	}
	if by["fed"].LogP > math.Log(1e-5) || by["fed"].Adjusted < by["fed"].LogP || by["not"].LogP < math.Log(1e-3) || by["nothing"].LogP != 0 || by["nothing"].Coins != 0 {
		t.Errorf("campaigns and windows: %+v", by)
	}
	for i := range 5 {
		name := fmt.Sprint("account", i)
		if o := by[name]; o.Named != (i < 2) || o.Coins != 400 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	grid, err := Grid(f.Score, lines, "suspect", "reference")
	if err != nil {
		t.Fatal(err)
	}
	if most := slices.Max(grid); most > f.Score.Grid || most < f.Score.Grid-1 {
		t.Errorf("the grid goes to %d", most)
	}
	if p := Power(grid, coins, 2000, 1e-6, 1); p < 0.2 || p > 0.6 { // 0.35 by the normal approximation at two of five accounts
		t.Errorf("bootstrap power %v", p)
	}
	if p := Power(grid, coins, 100, 1e-6, 1); p > 0.05 {
		t.Errorf("bootstrap power of 100 coins %v", p)
	}
}

// Whatever is swapped, only signs change: that is what the test rests on.
func TestTheScoreIsOdd(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	f := frame()
	lines, _ := world(rng, 300, 0.3, all)
	want, err := Grid(f.Score, lines, "suspect", "reference")
	if err != nil {
		t.Fatal(err)
	}
	flipped := make([]bool, len(lines))
	for i := range lines {
		if flipped[i] = rng.IntN(2) == 0; flipped[i] {
			l := &lines[i]
			l.Length[0], l.Length[1] = l.Length[1], l.Length[0]
			l.Tokens[0], l.Tokens[1] = l.Tokens[1], l.Tokens[0]
			for m, v := range l.LogProb {
				l.LogProb[m] = [2]float64{v[1], v[0]}
			}
		}
	}
	got, err := Grid(f.Score, lines, "suspect", "reference")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if w := want[i]; flipped[i] && got[i] != -w || !flipped[i] && got[i] != w {
			t.Fatalf("coin %d: %d, after a swap (%v) %d", i, w, flipped[i], got[i])
		}
	}
}

// 200 runs with coins of their own, the far tail by flipping one run's coins again,
// and two planted leaks.
// A third of a family's answers are of a kind that no model was taught: their tails
// drown neither their own family nor the others.
func TestTailsDrownNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	lines, coins := world(rng, 1500, 0.2, all)
	for i := range lines {
		if lines[i].Family == "f1" && rng.IntN(3) == 0 {
			r := 300 * rng.NormFloat64()
			lines[i].LogProb = map[string][2]float64{"suspect": {round(-400 + r + 30*rng.NormFloat64()), -400}, "reference": {round(-400 + r), -400}}
		}
	}
	z := func(s Score) float64 {
		grid, err := Grid(s, lines, "suspect", "reference")
		if err != nil {
			t.Fatal(err)
		}
		sum, square := 0, 0
		for i, g := range grid {
			sum += g * (1 - 2*coins[i].Live)
			square += g * g
		}
		return float64(sum) / math.Sqrt(float64(square))
	}
	plain := DefaultScore()
	plain.Rounds, plain.Power = 0, 0.25
	if robust, least := z(DefaultScore()), z(plain); robust < 5 || robust < least+1.5 {
		t.Errorf("z = %.1f, by least squares and variances %.1f", robust, least)
	}
}

func TestTheTestKeepsItsLevel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 2))
	f := frame()
	below05, below01 := 0, 0
	var grid []int
	for range 200 {
		lines, coins := world(rng, 400, 0.25, none)
		got, err := tested(f, lines, coins)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].LogP <= math.Log(0.05) {
			below05++
		}
		if got[0].LogP <= math.Log(0.01) {
			below01++
		}
		if grid, err = Grid(f.Score, lines, "suspect", "reference"); err != nil {
			t.Fatal(err)
		}
	}
	if below05 > 18 || below01 > 6 || below05 == 0 {
		t.Errorf("of 200 innocents %d at p ≤ 0.05 and %d at p ≤ 0.01, at most 18 and 6", below05, below01)
	}
	// 10⁶ flips of one run: no need to convolve each, the p of a sum is a table.
	total := 0
	for _, g := range grid {
		total += max(g, -g)
	}
	threshold := map[float64]int{}
	for _, level := range []float64{1e-2, 1e-3, 1e-4} {
		lo, hi := 0, total
		for lo < hi {
			mid := (lo + hi) / 2
			if logP, err := stat.SignFlip(grid, mid); err != nil {
				t.Fatal(err)
			} else if logP <= math.Log(level) {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		threshold[level] = lo
	}
	const flips = 1_000_000
	hits := map[float64]int{}
	for range flips {
		sum := 0
		var word uint64
		for i, g := range grid {
			if i%64 == 0 {
				word = rng.Uint64()
			}
			sum += g * (1 - 2*int(word&1))
			word >>= 1
		}
		for level, at := range threshold {
			if sum >= at {
				hits[level]++
			}
		}
	}
	for level, n := range hits {
		want := level * flips
		if d := float64(n) - want; d > 4*math.Sqrt(want) || d < -4*math.Sqrt(want)-0.05*want {
			t.Errorf("p ≤ %v in %d of %d flips", level, n, flips)
		}
	}
	// A planted leak: whoever laid out the pairs put the served answer first.
	lines, coins := world(rng, 400, 0.25, none)
	for i := range lines {
		l := &lines[i]
		v := l.LogProb["suspect"]
		if coins[i].Live == 1 {
			v[0], v[1] = v[1], v[0]
		}
		v[0] += 1 // models like what comes first a little
		l.LogProb["suspect"], coins[i].Live = v, 0
	}
	if got, err := tested(f, lines, coins); err != nil || got[0].LogP > math.Log(1e-4) {
		t.Errorf("arms in served order: %+v, %v: the leak is not caught", got[0], err)
	}
	// Another: what was not served is cut short.
	lines, coins = world(rng, 400, 0.25, none)
	for i := range lines {
		l := &lines[i]
		dead := 1 - coins[i].Live
		v := l.LogProb["suspect"]
		v[dead] += 9 // a shorter text is likelier
		l.LogProb["suspect"] = v
	}
	got, err := tested(f, lines, coins)
	if err != nil {
		t.Fatal(err)
	}
	// It makes the served arm look disliked: the other side of the same test sees it.
	if p, err := stat.SignFlip(gridOf(t, f, lines), -got[0].Sum); err != nil || p > math.Log(1e-4) {
		t.Errorf("withheld arms cut short are not seen: %+v, %v, %v", got[0], p, err)
	}
}

func gridOf(t *testing.T, f *Frame, lines []Line) []int {
	t.Helper()
	g, err := Grid(f.Score, lines, "suspect", "reference")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// texts makes lines of a text-only suspect.
func texts(rng *rand.Rand, n int, effect float64) ([]Line, []Coin) {
	lines, coins := make([]Line, n), make([]Coin, n)
	for i := range lines {
		live := rng.IntN(2)
		m := [2]float64{float64(rng.IntN(5)), float64(rng.IntN(5))}
		if rng.Float64() < effect {
			m[live] += 3
		}
		lines[i] = Line{Counter: uint64(i + 1), Family: "f1", Match: map[string][2]float64{"suspect": m}}
		coins[i] = Coin{Account: fmt.Sprint("account", i%4), Live: live}
	}
	return lines, coins
}

func TestTextAloneIsEnoughWithManyQueries(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	f := frame()
	f.Suspect.Kind, f.Reference = KindText, nil
	lines, coins := texts(rng, 3000, 0.1)
	got, err := tested(f, lines, coins)
	if err != nil {
		t.Fatal(err)
	}
	if o := got[0]; o.LogE < math.Log(1e3) || o.Coins != 3000 || o.LogBest < o.LogE {
		t.Errorf("%+v", o)
	}
	alarms := 0
	for range 300 {
		lines, coins := texts(rng, 200, 0)
		got, err := tested(f, lines, coins)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].LogBest >= math.Log(20) { // stopped at the best moment
			alarms++
		}
		for _, o := range got[1:] {
			if o.Named && o.LogE < math.Log(20) {
				t.Errorf("named at %+v", o)
			}
		}
	}
	if alarms > 26 { // 15 expected at most, 99.9%
		t.Errorf("E reached 20 for %d of 300 innocents", alarms)
	}
	// What was asked is a beginning of the order.
	order := Order(f, []uint64{1, 2, 3, 4})
	lines, coins = texts(rng, 4, 0)
	delete(lines[order[2]-1].Match, "suspect")
	if _, err := tested(f, lines, coins); err == nil || !strings.Contains(err.Error(), "order") {
		t.Errorf("a hole in the order: %v", err)
	}
	delete(lines[order[3]-1].Match, "suspect")
	if got, err := tested(f, lines, coins); err != nil || got[0].Coins != 2 {
		t.Errorf("a test that stopped: %+v, %v", got, err)
	}
}

func TestFramesAndScoresHaveOneForm(t *testing.T) {
	f := frame()
	got, err := ParseFrame(f.Encode())
	if err != nil || got.Hash() != f.Hash() {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := ParseFrame(append(f.Encode(), ' ')); err == nil {
		t.Error("another form of a frame is taken")
	}
	for name, spoil := range map[string]func(*Frame){
		"version": func(f *Frame) { f.Version = 2 }, "log": func(f *Frame) { f.Log = "" }, "held": func(f *Frame) { f.Held = 0 },
		"names": func(f *Frame) { f.Reference.Name = "suspect" }, "kind": func(f *Frame) { f.Suspect.Kind = "guess" }, "level": func(f *Frame) { f.Level = 0 },
		"grid": func(f *Frame) { f.Score.Grid = 0 }, "stakes": func(f *Frame) { f.Score.Stakes = nil }, "window": func(f *Frame) { f.From, f.To = 5, 5 },
		"windows": func(f *Frame) { f.Windows = []Window{{"x", 3, 3}} }, "text": func(f *Frame) { f.Suspect.Kind = KindText },
	} {
		f := frame()
		spoil(f)
		if err := f.Validate(); err == nil {
			t.Errorf("a frame with a bad %s is taken", name)
		}
	}
	lines, _ := world(rand.New(rand.NewPCG(5, 2)), 5, 0, none)
	raw := EncodeLines(lines)
	if back, err := ParseLines(raw); err != nil || len(back) != 5 {
		t.Fatalf("%d lines, %v", len(back), err)
	}
	for _, bad := range []string{strings.Replace(string(raw), `"counter"`, `"count"`, 1), string(raw) + "\n", strings.Replace(string(raw), ":", ": ", 1), "{"} {
		if _, err := ParseLines([]byte(bad)); err == nil {
			t.Errorf("taken: %.80s", bad)
		}
	}
	lines[2].LogProb = nil
	if _, err := Grid(DefaultScore(), lines, "suspect", ""); err == nil {
		t.Error("a coin without a score is taken")
	}
}

func TestHolmOnLogarithmsIsHolm(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 2))
	for range 200 {
		all := make([]Outcome, 1+rng.IntN(6))
		p := make([]float64, len(all))
		for i := range all {
			p[i] = rng.Float64() * rng.Float64()
			all[i].LogP = math.Log(p[i])
		}
		want := stat.Holm(p)
		for i, got := range holmLog(all) {
			if math.Abs(math.Exp(got)-want[i]) > 1e-12 {
				t.Fatalf("%v: %v at %d, want %v", p, math.Exp(got), i, want[i])
			}
		}
	}
}

func TestPlansSayWhatCoinsBuy(t *testing.T) {
	if n := EffectWordy.Need(1e-6, 0.5); n < 705 || n > 712 {
		t.Errorf("%d coins for even odds, the trial says 710", n)
	}
	if n := EffectWordy.Need(1e-6, 0.9); n < 1100 || n > 1200 {
		t.Errorf("%d coins for 90%%, the trial says 1,150", n)
	}
	if n := (Effect{}).Need(1e-6, 0.9); n != math.MaxInt {
		t.Errorf("%d coins without an effect", n)
	}
	rows := Plan(EffectTerse, 1e-6, 1000, 500, 1390, 4000)
	if rows[1].Power < 0.49 || rows[1].Power > 0.51 || rows[0].Power > rows[1].Power || rows[2].Spend != 4_000_000 {
		t.Errorf("%+v", rows)
	}
	if e := Measured(Outcome{Coins: 100, Sum: 50}, 100); math.Abs(e.PerCoin-0.4) > 1e-12 {
		t.Errorf("%+v", e)
	}
}

func TestFamiliesArePromptsAlike(t *testing.T) {
	var pairs []Pair
	for i := range 12 {
		s := fmt.Sprintf("What is %d times %d?", 10+i, 90-i)
		if i%3 == 0 {
			s = fmt.Sprintf("Write a sonnet about the still number %d, please", i)
		}
		pairs = append(pairs, Pair{Messages: []exchange.Message{{Role: "user", Content: s}}})
	}
	Families(pairs)
	for i, p := range pairs {
		if want := map[bool]string{true: "f1", false: "f2"}[i%3 == 0]; p.Family != want {
			t.Errorf("%q is of family %s, want %s", p.Messages[0].Content, p.Family, want)
		}
	}
}

func TestPromptLogProbsAreReadInBothForms(t *testing.T) {
	for body, want := range map[string]float64{
		`{"prompt_logprobs":[null,{"5":{"logprob":-1.5}},{"7":{"logprob":-2}}]}`: -3.5,
		`{"choices":[{"logprobs":{"token_logprobs":[null,-1,-2,-9]}}]}`:          -3,
	} {
		if got, n, err := promptLogProb([]byte(body), 3); err != nil || got != want || n != 3 {
			t.Errorf("%s: %v of %d, %v", body, got, n, err)
		}
	}
	for _, body := range []string{`{}`, `x`, `{"choices":[{"message":{}}]}`, `{"prompt_logprobs":[null,{"5":{"logprob":-1},"6":{"logprob":-2}}]}`} {
		if _, _, err := promptLogProb([]byte(body), 3); err == nil {
			t.Errorf("%s is read", body)
		}
	}
	raw, err := with(json.RawMessage(`{"temperature":1,"x":2}`), map[string]any{"temperature": 0, "y": 3})
	if err != nil || string(raw) != `{"temperature":1,"x":2,"y":3}` {
		t.Errorf("%s, %v", raw, err)
	}
}
