package recipe

import "retort/report"

// Summary is what `retort run --json` prints: the figures that a script wants.
type Summary struct {
	Run     string          `json:"run"`
	Dataset SummaryDataset  `json:"dataset"`
	Ledger  SummaryLedger   `json:"ledger"`
	Model   SummaryModel    `json:"model"`
	Eval    []SummaryEval   `json:"eval"`
	Beside  []SummaryBeside `json:"beside,omitempty"`

	// Of a student with a base: what it was taught, and what it was not.
	Taught    []report.BaseRow `json:"taught,omitempty"`
	Forgotten []report.BaseRow `json:"forgotten,omitempty"`

	Seconds map[string]float64 `json:"seconds"`
	Refused map[string]int     `json:"refused"`
	Report  string             `json:"report"` // path of the page

	// Verifiers is what each verifier found, in the recipe's order, and
	// Corrections how many examples hold a person's answer.
	Verifiers   []SummaryVerifier `json:"verifiers"`
	Heldout     SummaryHeldout    `json:"heldout_verifiers"`
	Corrections int               `json:"corrections,omitempty"`
}

// SummaryHeldout is what each verifier found on the held-out problems.
type SummaryHeldout struct {
	Student []SummaryVerifier `json:"student"`
	Teacher []SummaryVerifier `json:"teacher"`
}

// SummaryVerifier counts what one verifier found.
type SummaryVerifier struct {
	Name  string `json:"name"`
	Pass  int    `json:"pass"`
	Fail  int    `json:"fail"`
	Skip  int    `json:"skip"`
	Error int    `json:"error"`
}

// SummaryDataset is the dataset of a Summary.
type SummaryDataset struct {
	Hash     string `json:"hash"`
	Examples int    `json:"examples"`
}

// SummaryLedger is what the run's exchanges come to.
type SummaryLedger struct {
	Exchanges  int64   `json:"exchanges"`
	CostUSD    float64 `json:"cost_usd"`
	Reported   string  `json:"reported"`    // exact, where the teacher reported usage
	UpperBound string  `json:"upper_bound"` // exact, elsewhere
	Bill       string  `json:"bill,omitempty"`
}

// SummaryModel is the student of a Summary.
type SummaryModel struct {
	Hash         string `json:"hash"`
	Path         string `json:"path"`
	Params       int64  `json:"params"`
	ActiveParams int64  `json:"active_params"`
}

// SummaryEval is one row of the evaluation. Without right answers, Student is
// the share of agreement with the teacher and Measure says so.
type SummaryEval struct {
	Family string `json:"family"`
	N      int    `json:"n"`
	// Excluded problems are those that one of the two gave no answer to.
	Excluded int        `json:"excluded,omitempty"`
	Measure  string     `json:"measure"`
	Student  float64    `json:"student"`
	Teacher  float64    `json:"teacher"`
	Diff     float64    `json:"diff"`
	CI95     [2]float64 `json:"ci95"`
}

// SummaryBeside is another contestant's shares on the same problems, by family, and
// the student's less its own, paired.
type SummaryBeside struct {
	Name   string                `json:"name"`
	Shares map[string]float64    `json:"shares"`
	Diff   map[string]float64    `json:"diff"`
	CI95   map[string][2]float64 `json:"ci95"`
}

// Summary is the run in figures.
func (r *Result) Summary() Summary {
	d := r.Report
	s := Summary{
		Run:     d.Run,
		Dataset: SummaryDataset{Hash: d.Dataset.Hash, Examples: d.Dataset.Examples},
		Ledger:  SummaryLedger{Exchanges: d.Spend.Exchanges, CostUSD: d.Spend.USD, Reported: d.Spend.Reported, UpperBound: d.Spend.UpperBound, Bill: d.Spend.Bill},
		Model:   SummaryModel{Hash: d.Model.Hash, Path: d.Model.Path, Params: d.Model.Params, ActiveParams: d.Model.Active},
		Seconds: d.Seconds,
		Refused: d.Total(),
		Report:  d.Page,

		Corrections: d.Corrections,
	}
	s.Verifiers = summarize(d.Verifiers)
	s.Heldout = SummaryHeldout{Student: summarize(d.Heldout.Student), Teacher: summarize(d.Heldout.Teacher)}
	for _, e := range d.Eval {
		s.Eval = append(s.Eval, SummaryEval{Family: e.Family, N: e.N, Excluded: e.Excluded, Measure: e.Measure, Student: e.Student, Teacher: e.Teacher, Diff: e.Diff, CI95: e.DiffCI})
	}
	for _, b := range d.Beside {
		other := SummaryBeside{Name: b.Name, Shares: map[string]float64{}, Diff: map[string]float64{}, CI95: map[string][2]float64{}}
		for _, row := range b.Rows {
			other.Shares[row.Family], other.Diff[row.Family], other.CI95[row.Family] = row.Teacher, row.Diff, row.DiffCI
		}
		s.Beside = append(s.Beside, other)
	}
	s.Taught, s.Forgotten = d.Taught, d.Forgotten
	return s
}

func summarize(list []report.Verifier) []SummaryVerifier {
	out := []SummaryVerifier{}
	for _, v := range list {
		out = append(out, SummaryVerifier{Name: v.Name, Pass: v.Pass, Fail: v.Fail, Skip: v.Skip, Error: v.Error})
	}
	return out
}
