package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"retort/internal/text"
	"retort/teach/task"
)

// exactJudge compares texts up to white space.
type exactJudge struct {
	spec    ExactSpec
	extract *regexp.Regexp
}

func newExact(s ExactSpec) (judge, error) {
	re, err := pattern("extract", s.Extract)
	return &exactJudge{s, re}, err
}

func (j *exactJudge) gold() bool { return true }

func (j *exactJudge) check(_ context.Context, a *answer) finding {
	got, f := extracted(j.extract, a.Answer.Content)
	if f != nil {
		return *f
	}
	gold, f := a.goldText(j.spec.Gold)
	if got = squeeze(got); got == "" {
		if f != nil {
			return *f
		}
		return failed(task.ReasonNoAnswer, "the answer is empty")
	}
	if f != nil {
		return f.reading(rankText, got)
	}
	x, y := got, squeeze(gold)
	if j.spec.IgnoreCase {
		x, y = text.Normalize(x), text.Normalize(y)
	}
	if x != y {
		return failed(task.ReasonWrong, "it says %s, right is %s", quote(got), quote(y)).reading(rankText, got)
	}
	return passed().reading(rankText, got)
}

// numericJudge compares numbers by value, within a tolerance.
type numericJudge struct {
	spec                NumericSpec
	extract             *regexp.Regexp
	tolerance, relative *big.Rat
}

func newNumeric(s NumericSpec) (judge, error) {
	j := &numericJudge{spec: s, tolerance: new(big.Rat), relative: new(big.Rat)}
	for _, t := range []struct {
		key   string
		value float64
		to    *big.Rat
	}{{"tolerance", s.Tolerance, j.tolerance}, {"relative", s.Relative, j.relative}} {
		if t.value < 0 || math.IsInf(t.value, 0) || math.IsNaN(t.value) {
			return nil, &SpecError{Path: t.key, Msg: fmt.Sprintf("%v is no tolerance; it must be 0 or more", t.value)}
		}
		// As written: 0.1 is a tenth, not the binary fraction next to it.
		t.to.SetString(strconv.FormatFloat(t.value, 'g', -1, 64))
	}
	re, err := pattern("extract", s.Extract)
	j.extract = re
	return j, err
}

func (j *numericJudge) gold() bool { return true }

func (j *numericJudge) check(_ context.Context, a *answer) finding {
	content, f := extracted(j.extract, a.Answer.Content)
	if f != nil {
		return *f
	}
	number := findNumber(content)
	written, f := a.goldText(j.spec.Gold)
	if number == "" && f == nil {
		return failed(task.ReasonNoAnswer, "the answer has no number")
	}
	if f != nil {
		return f.reading(rankText, number)
	}
	gold, ok := rational(json.Number(findNumber(written)))
	if !ok {
		return broken(ReasonBadGold, "the gold answer %s is no number", quote(written))
	}
	got, ok := rational(json.Number(number))
	if !ok {
		return failed(task.ReasonUnparsable, "%s is beyond what is compared", quote(number))
	}
	read := plain(got)
	within := new(big.Rat).Mul(j.relative, new(big.Rat).Abs(gold))
	if within.Cmp(j.tolerance) < 0 {
		within = j.tolerance
	}
	if difference := new(big.Rat).Sub(got, gold); difference.Abs(difference).Cmp(within) > 0 {
		return failed(task.ReasonWrong, "it says %s, right is %s", read, plain(gold)).reading(rankText, read)
	}
	return passed().reading(rankText, read)
}

// plain writes a number in one way only: as an integer, or with the digits
// that it has.
func plain(r *big.Rat) string {
	if r.IsInt() {
		return cut(r.Num().String(), maxNumber)
	}
	if digits, exact := r.FloatPrec(); exact && digits <= maxNumber {
		return r.FloatString(digits)
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

var (
	numbers = regexp.MustCompile(`(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3}\b)?|\.\d+(?:[eE][-+]?\d{1,3}\b)?`)
	marked  = regexp.MustCompile(`(?i)####|answer\s+is|answer:|\\boxed\{`)
)

// findNumber returns the number that a text gives as its answer, without
// separators, or "": the first after the last mark ("####", "answer is",
// "answer:", \boxed{), or failing that the last of the text.
func findNumber(s string) string {
	if at := marked.FindAllStringIndex(s, -1); at != nil {
		rest := s[at[len(at)-1][1]:]
		if n := numbers.FindStringIndex(rest); n != nil {
			return signed(rest, n)
		}
	}
	at := numbers.FindAllStringIndex(s, -1)
	if at == nil {
		return ""
	}
	return signed(s, at[len(at)-1])
}

// signed is the number at that place with its sign. A minus is one unless
// something that can be subtracted from stands before it.
func signed(s string, at []int) string {
	n := strings.ReplaceAll(s[at[0]:at[1]], ",", "")
	before := strings.TrimRight(s[:at[0]], " $€£")
	for _, minus := range []string{"-", "−"} {
		if head, ok := strings.CutSuffix(before, minus); ok {
			head = strings.TrimRight(head, " ")
			if head == "" || !strings.ContainsRune("0123456789)]%", rune(head[len(head)-1])) && !letter(head[len(head)-1]) {
				return "-" + n
			}
		}
	}
	return n
}

func letter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// regexJudge looks for a pattern. Go's regular expressions take time linear in
// the text, whatever the pattern.
type regexJudge struct {
	spec  RegexSpec
	re    *regexp.Regexp
	group int // of the name "answer"; -1 if the pattern has none
}

func newRegex(s RegexSpec) (judge, error) {
	if s.Pattern == "" {
		return nil, &SpecError{Path: "pattern", Msg: "there is no pattern to look for"}
	}
	re, err := pattern("pattern", s.Pattern)
	if err != nil {
		return nil, err
	}
	return &regexJudge{s, re, re.SubexpIndex("answer")}, nil
}

func (j *regexJudge) gold() bool { return false }

func (j *regexJudge) check(_ context.Context, a *answer) finding {
	in := a.Answer.Content
	if j.spec.Field != "" {
		v, err := a.value(readAny)
		if err != nil {
			return err.finding()
		}
		f, ok := lookup(v, j.spec.Field)
		if in, ok = scalar(f, ok); !ok {
			return failed(ReasonNoField, "the answer has no text in the field %s", j.spec.Field)
		}
	}
	match := j.re.FindStringSubmatchIndex(in)
	switch {
	case j.spec.Not && match != nil:
		return failed(ReasonMatch, "%s is found: %s", j.spec.Pattern, quote(in[match[0]:match[1]]))
	case !j.spec.Not && match == nil:
		return failed(ReasonNoMatch, "%s is not found", j.spec.Pattern)
	}
	f := passed()
	if j.group >= 0 && match != nil && match[2*j.group] >= 0 {
		f = f.reading(rankGroup, squeeze(in[match[2*j.group]:match[2*j.group+1]]))
	}
	return f
}

// pattern compiles a regular expression that a spec holds under key.
func pattern(key, s string) (*regexp.Regexp, error) {
	if s == "" {
		return nil, nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, &SpecError{Path: key, Msg: fmt.Sprintf("%v (RE2's syntax: no backreferences and no lookaround)", err)}
	}
	return re, nil
}

// extracted returns what the last match of re gives: its first group, or all
// of it; the whole text without re.
func extracted(re *regexp.Regexp, content string) (string, *finding) {
	if re == nil {
		return content, nil
	}
	all := re.FindAllStringSubmatchIndex(content, -1)
	if all == nil {
		f := failed(task.ReasonNoAnswer, "%s is not found", re)
		return "", &f
	}
	m := all[len(all)-1]
	if len(m) > 2 && m[2] >= 0 {
		m = m[2:]
	}
	return content[m[0]:m[1]], nil
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// goldText returns the right answer as text: the problem's own, or what a
// field of its row holds. Without one it returns a finding that says so.
func (a *answer) goldText(field string) (string, *finding) {
	v, f := a.goldValue(field)
	if f != nil {
		return "", f
	}
	if s, ok := scalar(v, true); ok {
		return s, nil
	}
	s, err := canonical(v)
	if err != nil {
		b := broken(ReasonBadGold, "the gold answer: %v", err)
		return "", &b
	}
	return s, nil
}

// goldValue returns the right answer: the problem's own, what a field of its
// row holds, or with "." the row itself.
func (a *answer) goldValue(field string) (any, *finding) {
	none := skipped()
	raw := a.Problem.Gold
	if field != "" {
		raw = a.Problem.Fields
	}
	if raw == nil {
		if field == "" && a.Problem.Answer != "" {
			return a.Problem.Answer, nil
		}
		return nil, &none
	}
	budget := maxValues
	v, err := parseJSON(string(raw), &budget)
	if err != nil {
		b := broken(ReasonBadGold, "the gold answer: %s", err.detail)
		return nil, &b
	}
	if field != "" && field != "." {
		v, _ = lookup(v, field)
	}
	if v == nil || v == "" {
		return nil, &none
	}
	return v, nil
}

// scalar writes a string, number or boolean as text.
func scalar(v any, ok bool) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, ok
	case json.Number:
		return v.String(), ok
	case bool:
		return strconv.FormatBool(v), ok
	}
	return "", false
}

// mode checks where JSON may stand and fills in the default.
func mode(read, def string) (string, error) {
	if read == "" {
		return def, nil
	}
	if modes := []string{readWhole, readBlock, readAny}; !slices.Contains(modes, read) {
		return "", &SpecError{Path: "read", Msg: fmt.Sprintf("%q is no place for JSON; there are %s", read, list(modes, "and"))}
	}
	return read, nil
}
