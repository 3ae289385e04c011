package report

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// Data is all that a run has to show. It is written beside the page as
// report.json, so that a page can be made again from it alone.
type Data struct {
	Tool     string    `json:"tool"` // version of this program
	Run      string    `json:"run"`  // name of the run's directory
	Recipe   string    `json:"recipe"`
	Hash     string    `json:"recipe_hash"`
	Command  string    `json:"command"` // what to type to run it again
	Finished time.Time `json:"finished"`
	Machine  Machine   `json:"machine"`

	Teacher  Teacher   `json:"teacher"`
	Sources  []Source  `json:"sources"`
	Refusals []Refusal `json:"refusals"` // a few examples of each reason
	Leaks    []Leak    `json:"identity_leaks,omitempty"`
	// Verifiers is what each of the recipe's verifiers found, in its order.
	Verifiers []Verifier `json:"verifiers,omitempty"`
	// Heldout is what they found on the held-out problems.
	Heldout HeldoutVerifiers `json:"heldout_verifiers,omitzero"`
	// Corrections counts the examples whose answer a person wrote.
	Corrections int `json:"corrections,omitempty"`
	// Overrides are what let answers pass that their terms alone hold back.
	Overrides []Override `json:"overrides,omitempty"`
	Spend     Spend      `json:"spend"`
	Dataset   Dataset    `json:"dataset"`
	Training  Training   `json:"training"`
	// Reinforcement is nil where the student was taught alone.
	Reinforcement *Reinforcement     `json:"reinforcement,omitempty"`
	Model         Model              `json:"model"`
	Eval          []EvalRow          `json:"eval"`                // per source, then overall
	Beside        []Beside           `json:"beside"`              // other contestants on the same problems
	Taught        []BaseRow          `json:"taught,omitempty"`    // of a student with a base: the answers that it was taught to give
	Forgotten     []BaseRow          `json:"forgotten,omitempty"` // and what it was not taught
	Samples       []Sample           `json:"samples"`
	Seconds       map[string]float64 `json:"seconds"`
	Stages        []string           `json:"stages"`          // keys of Seconds in the order of the run
	Notes         []string           `json:"notes,omitempty"` // what a reader must know to judge the figures
	Page          string             `json:"page"`            // path of report.html
}

// Machine is what the run was made on.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Kernels string `json:"kernels"`
	PeakRSS int64  `json:"peak_rss_bytes"` // largest resident memory of the process; 0 if the system does not tell
}

// Teacher is the model that was asked, and under which terms.
type Teacher struct {
	Name        string   `json:"name"` // how people call it
	Endpoint    string   `json:"endpoint"`
	Model       string   `json:"model"`
	Price       string   `json:"price"`
	TermsID     string   `json:"terms_id"`
	Terms       string   `json:"terms"` // the document
	TermsSays   string   `json:"terms_says"`
	Basis       string   `json:"basis"`
	Decision    string   `json:"decision"`
	Obligations []string `json:"obligations,omitempty"`
}

// Source is the funnel of one of the recipe's prompt sources. Asked = Kept +
// the sum of Refused.
type Source struct {
	Name    string         `json:"name"`
	Want    int            `json:"want"`  // -1: all that there are
	Asked   int            `json:"asked"` // prompts that were put to the teacher
	Kept    int            `json:"kept"`
	Heldout int            `json:"heldout"`
	Refused map[string]int `json:"refused,omitempty"` // by reason
}

// Refusal is one refused answer, to look at.
type Refusal struct {
	Source, Reason, Prompt, Answer string
}

// Verifier is what one verifier found over all answers that were judged.
type Verifier struct {
	Name    string    `json:"name"`
	Pass    int       `json:"pass"`
	Fail    int       `json:"fail"`
	Skip    int       `json:"skip,omitempty"`    // it could not judge, such as without a right answer
	Error   int       `json:"error,omitempty"`   // it broke down
	Samples []Refusal `json:"samples,omitempty"` // the first answers that it failed
}

// HeldoutVerifiers is what each verifier found about answers to held-out
// problems.
type HeldoutVerifiers struct {
	Student []Verifier `json:"student,omitempty"`
	Teacher []Verifier `json:"teacher,omitempty"`
}

// Override is a decision of the terms gate that a person has set aside.
type Override struct {
	Row     string `json:"row"`
	Actions string `json:"actions"`
	Basis   string `json:"basis"`
	By      string `json:"by,omitempty"`
}

// Leak counts answers in which the teacher said what it is.
type Leak struct {
	Pattern string `json:"pattern"`
	Count   int    `json:"count"`
	Sample  string `json:"sample"`
}

// Spend is what the run cost.
type Spend struct {
	Exchanges  int64            `json:"exchanges"`        // attempts in the ledger made for this run
	Reused     int64            `json:"reused"`           // questions whose answer the ledger already held
	Errors     map[string]int64 `json:"errors,omitempty"` // attempts that failed, by class
	USD        float64          `json:"usd"`              // all that is charged
	Reported   string           `json:"reported"`         // exact sum over attempts whose usage the teacher reported
	UpperBound string           `json:"upper_bound"`      // exact sum over the others, charged their worst case
	Bill       string           `json:"bill,omitempty"`   // exact sum of the built-in teacher's own bill
	BillAgrees string           `json:"bill_agrees,omitempty"`
	Budget     float64          `json:"budget_usd"`
	Input      int64            `json:"input_tokens"`
	Output     int64            `json:"output_tokens"`
}

// Dataset is what was taught.
type Dataset struct {
	Hash     string `json:"hash"`
	Path     string `json:"path"`
	Examples int    `json:"examples"`
	Tokens   int64  `json:"tokens"`   // as the student reads them
	TooLong  int    `json:"too_long"` // examples longer than the student's context, left out of training
}

// Training is how the student learned.
type Training struct {
	Preset          string  `json:"preset"`
	Vocabulary      int     `json:"vocabulary"`
	Optimizer       string  `json:"optimizer"`
	Precision       string  `json:"precision"` // of products with weights
	Steps           int64   `json:"steps"`
	Tokens          int64   `json:"tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Loss            []Point `json:"loss"`
	Heldout         []Point `json:"heldout"`
}

// Reinforcement is how the student learned from problems after it was taught.
type Reinforcement struct {
	Problems string   `json:"problems"` // of which family
	Watched  int      `json:"watched"`  // problems looked at while it learned
	Steps    int      `json:"steps"`
	Tokens   int64    `json:"tokens"` // drawn
	Seconds  float64  `json:"seconds"`
	Start    *float64 `json:"start"` // share of the watched problems solved before; nil where nobody looked
	Best     *float64 `json:"best"`  // and at the best look, whose weights it kept
	BestStep int      `json:"best_step"`
	Stopped  bool     `json:"stopped"` // before its last step, because it became no better
	Alarms   []string `json:"alarms"`
	Drawn    []Point  `json:"drawn"` // share of right answers among those drawn, over steps
	Looks    []Point  `json:"looks"` // share of the watched problems solved, over steps
}

// Point is one value of a curve over trained tokens, or over steps.
type Point struct {
	Tokens int64   `json:"tokens"`
	Value  float64 `json:"value"`
}

// Model is the student, as files.
type Model struct {
	Hash   string `json:"hash"`
	Path   string `json:"path"`
	Params int64  `json:"params"`
	Active int64  `json:"active_params"`
	Files  []File `json:"files"`
}

// File is one exported file.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// EvalRow compares the student with its teacher on the same held-out problems.
type EvalRow struct {
	Family        string     `json:"family"`
	N             int        `json:"n"`
	Excluded      int        `json:"excluded,omitempty"` // problems that one of the two gave no answer to, such as prompts longer than the student's context
	Measure       string     `json:"measure"`            // "accuracy", or "agreement with the teacher" where nothing is known to be right
	Student       float64    `json:"student"`
	StudentCI     [2]float64 `json:"student_ci95"`
	Teacher       float64    `json:"teacher"`
	TeacherCI     [2]float64 `json:"teacher_ci95"`
	Diff          float64    `json:"diff"` // student - teacher
	DiffCI        [2]float64 `json:"ci95"`
	P             float64    `json:"p"`     // exact McNemar test of no difference
	Ratio         float64    `json:"ratio"` // Student / Teacher; 0 where the teacher solved nothing
	RatioCI       [2]float64 `json:"ratio_ci95"`
	StudentTokens float64    `json:"student_tokens"` // per answer
	TeacherTokens float64    `json:"teacher_tokens"`
	TeacherUSD    float64    `json:"teacher_usd"` // per answer
}

// Beside is another contestant on the same problems: the untrained student, or
// the student of another run.
type Beside struct {
	Name string    `json:"name"`
	Rows []EvalRow `json:"rows"` // "teacher" fields hold the contestant
}

// BaseRow compares the student with its base.
type BaseRow struct {
	What     string     `json:"what"`
	N        int        `json:"n"`
	Measure  string     `json:"measure"` // Accuracy, or Perplexity of given answers
	Student  float64    `json:"student"`
	Base     float64    `json:"base"`
	Change   float64    `json:"change"` // Student - Base of an accuracy, Student / Base of a perplexity
	ChangeCI [2]float64 `json:"change_ci95"`
}

// String is the row in words.
func (f BaseRow) String() string {
	if f.Measure == Perplexity {
		return fmt.Sprintf("%s: perplexity of %s answers %.3g, the base's %.3g (%.3g times, %.3g to %.3g)",
			f.What, FormatCount(int64(f.N)), f.Student, f.Base, f.Change, f.ChangeCI[0], f.ChangeCI[1])
	}
	return fmt.Sprintf("%s: %s of %s right, the base %s (%s, %s)",
		f.What, FormatPercent(f.Student), FormatCount(int64(f.N)), FormatPercent(f.Base), FormatPoints(f.Change), FormatInterval(f.ChangeCI))
}

// Untaught is the student's base among the contestants, or nil.
func (d *Data) Untaught() *Beside {
	for i := range d.Beside {
		if d.Beside[i].Name == BaseName {
			return &d.Beside[i]
		}
	}
	return nil
}

// BaseName is what the student's base is called among the contestants.
const BaseName = "base"

// Sample is one held-out problem with both answers.
type Sample struct {
	Family           string
	Prompt           string
	StudentReasoning string
	StudentAnswer    string
	StudentRight     bool
	TeacherReasoning string
	TeacherAnswer    string
	TeacherRight     bool
}

// Total adds up the refusals of all sources by reason.
func (d *Data) Total() map[string]int {
	out := map[string]int{}
	for _, s := range d.Sources {
		for reason, n := range s.Refused {
			out[reason] += n
		}
	}
	return out
}

// FormatCounts prints counted buckets, the largest first: "wrong 3, length 1".
func FormatCounts(m map[string]int) string {
	if len(m) == 0 {
		return "none"
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if m[keys[i]] != m[keys[j]] {
			return m[keys[i]] > m[keys[j]]
		}
		return keys[i] < keys[j]
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %s", k, FormatCount(int64(m[k])))
	}
	return strings.Join(keys, ", ")
}

// SortRefusals puts refusals in the order in which they are shown.
func SortRefusals(list []Refusal) {
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].Reason != list[j].Reason {
			return list[i].Reason < list[j].Reason
		}
		return list[i].Source < list[j].Source
	})
}

// Counts is what the verifier found, in words.
func (v Verifier) Counts() string {
	parts := []string{FormatCount(int64(v.Pass)) + " pass", FormatCount(int64(v.Fail)) + " fail"}
	if v.Skip > 0 {
		parts = append(parts, FormatCount(int64(v.Skip))+" skipped")
	}
	if v.Error > 0 {
		parts = append(parts, FormatCount(int64(v.Error))+" broke down")
	}
	return strings.Join(parts, ", ")
}
