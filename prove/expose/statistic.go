package expose

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"retort/internal/stat"
)

// Grid are the scores of coins on the integer grid: positive where the suspect prefers
// the first arm. They are made without a look at a coin, and swapping a pair's arms
// changes its sign and nothing else.
func Grid(s Score, lines []Line, suspect, reference string) ([]int, error) {
	exact, err := scores(s, lines, suspect, reference)
	if err != nil {
		return nil, err
	}
	grid := make([]int, len(exact))
	for i, v := range exact {
		grid[i] = int(math.Round(v)) // half away from zero: odd
	}
	return grid, nil
}

// CheckGrid checks recorded scores against lines. Another machine's arithmetic may
// round to the other side of a half.
func CheckGrid(s Score, lines []Line, suspect, reference string, grid []int) error {
	exact, err := scores(s, lines, suspect, reference)
	if err != nil {
		return err
	}
	if len(grid) != len(exact) {
		return fmt.Errorf("%d scores on the grid for %d coins", len(grid), len(exact))
	}
	for i, v := range exact {
		if math.Abs(v-float64(grid[i])) > 0.5+1e-6 {
			return fmt.Errorf("coin %d: its score is %.6f steps, not %d", lines[i].Counter, v, grid[i])
		}
	}
	return nil
}

// Grids are the grid's scores of each model that is tested by log-probabilities.
func Grids(f *Frame, lines []Line) (map[string][]int, error) {
	all := map[string][]int{}
	for _, m := range f.tested() {
		if m.Kind == KindText {
			continue
		}
		grid, err := Grid(f.Score, lines, m.Name, f.referenceName())
		if err != nil {
			return nil, err
		}
		all[m.Name] = grid
	}
	return all, nil
}

// CheckGrids checks recorded grids as CheckGrid does, and that there are no others.
func CheckGrids(f *Frame, lines []Line, grids map[string][]int) error {
	n := 0
	for _, m := range f.tested() {
		if m.Kind == KindText {
			continue
		}
		n++
		if err := CheckGrid(f.Score, lines, m.Name, f.referenceName(), grids[m.Name]); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	if n != len(grids) {
		return fmt.Errorf("there are scores of %d models, not of %d", len(grids), n)
	}
	return nil
}

// tested are the suspect and the controls.
func (f *Frame) tested() []Model { return append([]Model{f.Suspect}, f.Controls...) }

func (f *Frame) referenceName() string {
	if f.Reference == nil {
		return ""
	}
	return f.Reference.Name
}

// scores are the grid's scores before they are rounded.
func scores(s Score, lines []Line, suspect, reference string) ([]float64, error) {
	residual := make([]float64, len(lines))
	scale := make([]float64, len(lines)) // of its family
	for _, family := range families(lines, s.Least) {
		y, x := make([]float64, len(family)), make([][]float64, len(family))
		for i, at := range family {
			l := &lines[at]
			lp, ok := l.LogProb[suspect]
			if !ok {
				return nil, fmt.Errorf("scores: coin %d has none of %s", l.Counter, suspect)
			}
			y[i] = lp[0] - lp[1]
			x[i] = []float64{0, float64(l.Length[0] - l.Length[1]), float64(l.Tokens[0] - l.Tokens[1])}
			if reference != "" {
				r, ok := l.LogProb[reference]
				if !ok {
					return nil, fmt.Errorf("scores: coin %d has none of %s", l.Counter, reference)
				}
				x[i][0] = r[0] - r[1]
			}
		}
		e, sd := residuals(y, x, s.Rounds)
		for i, at := range family {
			residual[at], scale[at] = e[i], sd
		}
	}
	most := 0.0
	for i, sd := range scale {
		if sd > 0 {
			residual[i] = math.Max(-s.Clip*sd, math.Min(s.Clip*sd, residual[i])) * math.Pow(sd, -2*s.Power)
			most = math.Max(most, s.Clip*math.Pow(sd, 1-2*s.Power))
		}
	}
	for i := range residual {
		if most > 0 {
			residual[i] *= float64(s.Grid) / most
		}
	}
	return residual, nil
}

// families are the indices of lines by family, those of small ones together.
func families(lines []Line, least int) [][]int {
	by := map[string][]int{}
	var names []string
	for i, l := range lines {
		if by[l.Family] == nil {
			names = append(names, l.Family)
		}
		by[l.Family] = append(by[l.Family], i)
	}
	slices.Sort(names)
	var out [][]int
	var rest []int
	for _, n := range names {
		if len(by[n]) < least {
			rest = append(rest, by[n]...)
		} else {
			out = append(out, by[n])
		}
	}
	if len(rest) > 0 {
		slices.Sort(rest)
		out = append(out, rest)
	}
	return out
}

// ridge is added to the mean squares of the columns, each scaled to 1, so that columns
// that say the same have coefficients.
const ridge = 1e-6

// huber is where Huber's weights begin to fall, in scales (Huber, Robust Statistics,
// 1981, section 7.8: 95% efficiency for a normal distribution), and madNormal what the
// median of absolute values of a normal distribution is multiplied with to be its
// standard deviation.
const (
	huber     = 1.345
	madNormal = 1.4826
)

// residuals are what is left of y after regression through the origin on the columns
// of x, and their scale. After the first fit by least squares come so many rounds in
// which a row counts as its residual allows. Changing the signs of any rows of y and x
// together changes the signs of those residuals and nothing else.
func residuals(y []float64, x [][]float64, rounds int) (e []float64, scale float64) {
	var columns [][]float64
	for c := range x[0] {
		column, square := make([]float64, len(y)), 0.0
		for i := range x {
			column[i] = x[i][c]
			square += column[i] * column[i]
		}
		if square == 0 {
			continue
		}
		rms := math.Sqrt(square / float64(len(y)))
		for i := range column {
			column[i] /= rms
		}
		columns = append(columns, column)
	}
	weight := make([]float64, len(y))
	for i := range weight {
		weight[i] = 1
	}
	for round := 0; ; round++ {
		e = slices.Clone(y)
		for i, beta := range coefficients(y, columns, weight) {
			for r, v := range columns[i] {
				e[r] -= beta * v
			}
		}
		scale = spread(e, rounds > 0)
		if round == rounds || scale == 0 {
			return e, scale
		}
		for i, v := range e {
			weight[i] = 1
			if v != 0 {
				weight[i] = math.Min(1, huber*scale/math.Abs(v))
			}
		}
	}
}

// spread is the scale of residuals: by the median of their absolute values if it is to
// be robust and more than half of them are not 0, else their root mean square.
func spread(e []float64, robust bool) float64 {
	size, square := make([]float64, len(e)), 0.0
	for i, v := range e {
		size[i] = math.Abs(v)
		square += v * v
	}
	if robust {
		slices.Sort(size)
		n := len(size)
		if median := (size[(n-1)/2] + size[n/2]) / 2; median > 0 {
			return madNormal * median
		}
	}
	return math.Sqrt(square / float64(len(e)))
}

// coefficients solve the weighted normal equations.
func coefficients(y []float64, columns [][]float64, weight []float64) []float64 {
	k := len(columns)
	a := make([][]float64, k) // [k, k+1]
	for i := range a {
		a[i] = make([]float64, k+1)
		for j := range k {
			a[i][j] = dot(columns[i], columns[j], weight) / float64(len(y))
		}
		a[i][i] += ridge
		a[i][k] = dot(columns[i], y, weight) / float64(len(y))
	}
	for i := range k { // positive definite: no pivots are needed
		for j := i + 1; j < k; j++ {
			f := a[j][i] / a[i][i]
			for c := i; c <= k; c++ {
				a[j][c] -= f * a[i][c]
			}
		}
	}
	beta := make([]float64, k)
	for i := k - 1; i >= 0; i-- {
		beta[i] = a[i][k]
		for j := i + 1; j < k; j++ {
			beta[i] -= a[i][j] * beta[j]
		}
		beta[i] /= a[i][i]
	}
	return beta
}

func dot(a, b, weight []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i] * weight[i]
	}
	return sum
}

// Outcome is what one test found.
type Outcome struct {
	Model   string `json:"model"`
	Subject string `json:"subject"`         // whose coins: "all", or an account, a campaign, a window
	Scope   string `json:"scope"`           // one of the Scope constants
	Coins   int    `json:"coins"`           // that counted
	Sum     int    `json:"sum,omitempty"`   // of the grid's scores, signed by what was served
	Total   int    `json:"total,omitempty"` // the most that the sum could have been
	// LogP is the natural logarithm of the exact one-sided p-value; of a text-only test
	// LogE and LogBest are what its e-process has come to, and came to at best.
	LogP    float64 `json:"log_p"`
	LogE    float64 `json:"log_e,omitempty"`
	LogBest float64 `json:"log_best,omitempty"`
	// Adjusted is LogP after Holm over all that was examined beside it: 0 where that
	// does not apply. Named says whether the account is among those that are named at
	// the frame's false discovery rate.
	Adjusted float64 `json:"log_p_adjusted"`
	Named    bool    `json:"named,omitempty"`
}

// Whose coins a test looks at.
const (
	ScopeAll      = "all"
	ScopeAccount  = "account"
	ScopeCampaign = "campaign"
	ScopeWindow   = "window"
)

// Coin is an opened coin of the frame.
type Coin struct {
	Account string
	Time    int64
	Live    int // which arm was served
}

// Tested are all outcomes of a frame: the suspect's overall one first, then those of
// its windows, campaigns and accounts, then the controls'. grids are those that Grids
// gives.
func Tested(f *Frame, lines []Line, grids map[string][]int, coins []Coin) ([]Outcome, error) {
	if len(lines) != len(coins) {
		return nil, fmt.Errorf("%d scores for %d coins", len(lines), len(coins))
	}
	var all []Outcome
	for i, m := range f.tested() {
		if m.Kind != KindText && len(grids[m.Name]) != len(coins) {
			return nil, fmt.Errorf("%d scores of %s on the grid for %d coins", len(grids[m.Name]), m.Name, len(coins))
		}
		test := tester(f, lines, coins, m, grids[m.Name])
		o, err := test(ScopeAll, ScopeAll, func(Coin) bool { return true })
		if err != nil {
			return nil, err
		}
		all = append(all, o)
		if i > 0 {
			continue
		}
		parts, err := f.parts(test, coins)
		if err != nil {
			return nil, err
		}
		all = append(all, parts...)
	}
	return all, nil
}

// test tests the coins that belong.
type test func(scope, subject string, belongs func(Coin) bool) (Outcome, error)

func tester(f *Frame, lines []Line, coins []Coin, m Model, grid []int) test {
	if m.Kind == KindText {
		return func(scope, subject string, belongs func(Coin) bool) (Outcome, error) {
			o, err := bets(f, lines, coins, m, belongs)
			o.Model, o.Scope, o.Subject = m.Name, scope, subject
			return o, err
		}
	}
	return func(scope, subject string, belongs func(Coin) bool) (Outcome, error) {
		o := Outcome{Model: m.Name, Scope: scope, Subject: subject}
		var sizes []int
		for i, c := range coins {
			if !belongs(c) {
				continue
			}
			o.Coins++
			sizes = append(sizes, grid[i])
			o.Total += max(grid[i], -grid[i])
			o.Sum += grid[i] * (1 - 2*c.Live)
		}
		var err error
		o.LogP, err = stat.SignFlip(sizes, o.Sum)
		return o, err
	}
}

// parts tests windows, campaigns and accounts, and adjusts for their number.
func (f *Frame) parts(test test, coins []Coin) ([]Outcome, error) {
	var fixed, accounts []Outcome
	for _, w := range f.Windows {
		o, err := test(ScopeWindow, w.Name, func(c Coin) bool { return c.Time >= w.From && c.Time < w.To })
		if err != nil {
			return nil, err
		}
		fixed = append(fixed, o)
	}
	names := make([]string, 0, len(f.Campaigns))
	for name := range f.Campaigns {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		o, err := test(ScopeCampaign, name, func(c Coin) bool { return slices.Contains(f.Campaigns[name], c.Account) })
		if err != nil {
			return nil, err
		}
		fixed = append(fixed, o)
	}
	for i, a := range holmLog(fixed) {
		fixed[i].Adjusted = a
	}
	if !f.PerOne {
		return fixed, nil
	}
	seen := map[string]bool{}
	for _, c := range coins {
		seen[c.Account] = true
	}
	names = names[:0]
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		o, err := test(ScopeAccount, name, func(c Coin) bool { return c.Account == name })
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, o)
	}
	for i, named := range f.named(accounts) {
		accounts[i].Named = named
	}
	return append(fixed, accounts...), nil
}

// named are the accounts that are named at the frame's false discovery rate: by
// Benjamini–Hochberg where each has an exact p-value from its own coins alone, by
// e-BH where the test could stop early.
func (f *Frame) named(accounts []Outcome) []bool {
	p, e := make([]float64, len(accounts)), make([]float64, len(accounts))
	for i, o := range accounts {
		p[i], e[i] = math.Exp(o.LogP), math.Exp(o.LogE)
	}
	if f.Suspect.Kind == KindText {
		return stat.EBH(e, f.FDR)
	}
	return stat.BenjaminiHochberg(p, f.FDR)
}

// holmLog is stat.Holm on logarithms, so that p-values too small for a float stay
// apart.
func holmLog(all []Outcome) []float64 {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(all[i].LogP, all[j].LogP) })
	out := make([]float64, len(all))
	least := math.Inf(-1)
	for k, i := range order {
		least = math.Max(least, math.Min(0, all[i].LogP+math.Log(float64(len(all)-k))))
		out[i] = least
	}
	return out
}

// Power is the share of bootstrap samples of coins, drawn with replacement, in which
// the overall test would have fallen below a level: by the normal tail, which for
// bounded scores errs on the safe side.
func Power(grid []int, coins []Coin, coinsPerSample int, level float64, seed uint64) float64 {
	rng := rand.New(rand.NewPCG(seed, 0xc0125))
	const samples = 2000
	z := quantile(level)
	hit := 0
	for range samples {
		sum, square := 0.0, 0.0
		for range coinsPerSample {
			i := rng.IntN(len(grid))
			v := float64(grid[i])
			sum += v * float64(1-2*coins[i].Live)
			square += v * v
		}
		if sum > z*math.Sqrt(square) {
			hit++
		}
	}
	return float64(hit) / samples
}
