package task

import (
	"math/big"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// A number without its sign: digits with or without thousands separators,
	// decimals.
	numbers = regexp.MustCompile(`(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+`)
	// What follows these words is meant as the answer.
	marked = regexp.MustCompile(`(?i)####|\banswer\b\s*(?:\*{1,2}\s*)?(?:is\b|:|=)|\\boxed\{`)
	// The left sides of an equation such as "3 + 4 = 7".
	leftSides = regexp.MustCompile(`^(?:[-+*/×÷−()0-9.,$ \t]*[0-9][-+*/×÷−()0-9.,$ \t]*=)+`)
)

// verifyNumber compares the number that content gives as its answer with want.
func verifyNumber(content, want string) Verdict {
	got := extractNumber(content)
	switch {
	case got == "":
		return Verdict{Reason: ReasonNoAnswer}
	case !equalNumbers(got, want):
		return Verdict{Reason: ReasonWrong, Answer: got}
	}
	return Verdict{Correct: true, Reason: ReasonCorrect, Answer: got}
}

// verifyPlainNumber is verifyNumber for families whose answers are bare numbers:
// one that is glued to other signs ("x_6y"), or stands among broken characters,
// is no answer but noise that holds a digit.
func verifyPlainNumber(content, want string) Verdict {
	if strings.ContainsRune(content, utf8.RuneError) {
		return Verdict{Reason: ReasonUnparsable}
	}
	v := verifyNumber(content, want)
	if v.Correct && !standsAlone(content, v.Answer) {
		return Verdict{Reason: ReasonUnparsable, Answer: v.Answer}
	}
	return v
}

// standsAlone reports whether the last place in content at which the number is
// written has neither letter, digit, underscore nor control character beside it.
func standsAlone(content, number string) bool {
	digits := strings.TrimLeft(number, "-")
	flat := strings.ReplaceAll(content, ",", "")
	at := strings.LastIndex(flat, digits)
	if at < 0 {
		return true // written in a form that was normalised
	}
	before, _ := utf8.DecodeLastRuneInString(flat[:at])
	after, _ := utf8.DecodeRuneInString(flat[at+len(digits):])
	glued := func(r rune) bool {
		return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsControl(r) && !unicode.IsSpace(r)
	}
	return !(at > 0 && glued(before)) && !(at+len(digits) < len(flat) && glued(after))
}

// extractNumber returns the number that content gives as its answer, without
// separators, or "". That is the first number after the last mark ("####",
// "answer is", "answer:", \boxed{), or failing that the last number.
func extractNumber(content string) string {
	if at := marked.FindAllStringIndex(content, -1); at != nil {
		rest := content[at[len(at)-1][1]:]
		// After a mark the answer may be the result of an equation.
		line, _, _ := strings.Cut(strings.TrimLeft(rest, " \t\r\n*$"), "\n")
		line = line[len(leftSides.FindString(line)):]
		if n := firstNumber(line); n != "" {
			return n
		}
		if n := firstNumber(rest); n != "" {
			return n
		}
	}
	return lastNumber(content)
}

func firstNumber(s string) string {
	at := numbers.FindStringIndex(s)
	if at == nil {
		return ""
	}
	return clean(s, at)
}

func lastNumber(s string) string {
	at := numbers.FindAllStringIndex(s, -1)
	if at == nil {
		return ""
	}
	return clean(s, at[len(at)-1])
}

// clean returns the number at that place with its sign and without thousands
// separators. A minus is a sign unless something that can be subtracted from
// stands before it.
func clean(s string, at []int) string {
	n := strings.ReplaceAll(s[at[0]:at[1]], ",", "")
	before := strings.TrimRight(s[:at[0]], " $€£")
	for _, minus := range []string{"-", "−"} {
		if head, ok := strings.CutSuffix(before, minus); ok {
			head = strings.TrimRight(head, " ")
			if head == "" || !subtractable(head[len(head)-1]) {
				return "-" + n
			}
		}
	}
	return n
}

func subtractable(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == ')' || b == ']' || b == '%'
}

// maxNumber bounds what is read as a number: longer ones are equal to nothing.
const maxNumber = 64

// equalNumbers compares two decimal numbers by value: 18 and 18.00 are equal.
func equalNumbers(a, b string) bool {
	if len(a) > maxNumber || len(b) > maxNumber {
		return false
	}
	x, ok := new(big.Rat).SetString(a)
	if !ok {
		return false
	}
	y, ok := new(big.Rat).SetString(b)
	return ok && x.Cmp(y) == 0
}
