package constrain

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

// Regex allows what the expression matches as a whole, in the syntax of Go's
// regexp (RE2). Anchors may stand at its ends; boundaries of words and lines are
// refused.
func Regex(pattern string) (*Grammar, error) {
	alts, err := parseRegex(pattern, false)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	g, err := compile([]rule{{"regular expression", regexExpr(alts, func(r runes) expr { return r })}}, 0)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	return g, nil
}

// maxAlternatives bounds what an expression with anchors is spread out to.
const maxAlternatives = 256

// alternative is a sequence of expressions without anchors.
type alternative []*syntax.Regexp

// anything is any characters.
var anything = &syntax.Regexp{Op: syntax.OpStar, Sub: []*syntax.Regexp{{Op: syntax.OpAnyChar}}}

// parseRegex reads an expression as alternatives that describe the whole text.
// With search it may match anywhere in it, where its anchors do not say
// otherwise.
func parseRegex(pattern string, search bool) ([]alternative, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if bad := (*syntax.Error)(nil); errors.As(err, &bad) { // its own text holds the expression at any length
		return nil, fmt.Errorf("%s at %s", bad.Code, quoted(bad.Expr))
	} else if err != nil {
		return nil, err
	}
	if err := supported(re); err != nil {
		return nil, fmt.Errorf("%s: %w", quoted(pattern), err)
	}
	alts, err := spread(re)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", quoted(pattern), err)
	}
	for i, alt := range alts {
		first, last := 0, len(alt)
		for first < last && alt[first].Op == syntax.OpBeginText {
			first++
		}
		for last > first && alt[last-1].Op == syntax.OpEndText {
			last--
		}
		inner := slices.Clone(alt[first:last])
		if slices.ContainsFunc(inner, anchored) {
			return nil, fmt.Errorf("%s: an anchor stands inside of it: ^ may only begin, and $ only end, what is matched", quoted(pattern))
		}
		if search && first == 0 {
			inner = append(alternative{anything}, inner...)
		}
		if search && last == len(alt) {
			inner = append(inner, anything)
		}
		alts[i] = inner
	}
	return alts, nil
}

// supported refuses what a pattern cannot ask for.
func supported(re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine:
		return errors.New("the flag m (anchors at lines) is not supported")
	case syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return errors.New(`\b and \B are not supported`)
	}
	for _, sub := range re.Sub {
		if err := supported(sub); err != nil {
			return err
		}
	}
	return nil
}

func anchored(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginText || re.Op == syntax.OpEndText || slices.ContainsFunc(re.Sub, anchored)
}

// spread multiplies out what has anchors in it, so that they stand in sequence
// with the rest.
func spread(re *syntax.Regexp) ([]alternative, error) {
	if !anchored(re) {
		return []alternative{{re}}, nil
	}
	switch re.Op {
	case syntax.OpBeginText, syntax.OpEndText:
		return []alternative{{re}}, nil
	case syntax.OpCapture:
		return spread(re.Sub[0])
	case syntax.OpQuest:
		alts, err := spread(re.Sub[0])
		return append(alts, alternative{}), err
	case syntax.OpAlternate:
		var all []alternative
		for _, sub := range re.Sub {
			alts, err := spread(sub)
			if err != nil {
				return nil, err
			}
			if all = append(all, alts...); len(all) > maxAlternatives {
				return nil, errors.New("it has too many alternatives with anchors")
			}
		}
		return all, nil
	case syntax.OpConcat:
		all := []alternative{{}}
		for _, sub := range re.Sub {
			alts, err := spread(sub)
			if err != nil {
				return nil, err
			}
			if len(all)*len(alts) > maxAlternatives {
				return nil, errors.New("it has too many alternatives with anchors")
			}
			var longer []alternative
			for _, a := range all {
				for _, b := range alts {
					longer = append(longer, append(slices.Clone(a), b...))
				}
			}
			all = longer
		}
		return all, nil
	}
	return nil, errors.New("an anchor is repeated")
}

// regexExpr makes an expression of alternatives; write says how a character of
// some is written in the output.
func regexExpr(alts []alternative, write func(runes) expr) expr {
	var all choice
	for _, alt := range alts {
		var s sequence
		for _, re := range alt {
			s = append(s, regexPart(re, write))
		}
		all = append(all, s)
	}
	return all
}

func regexPart(re *syntax.Regexp, write func(runes) expr) expr {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return sequence{}
	case syntax.OpLiteral:
		var s sequence
		for _, r := range re.Rune {
			class := runes{{r, r}}
			if re.Flags&syntax.FoldCase != 0 {
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					class = append(class, span{f, f})
				}
			}
			s = append(s, write(class.normal()))
		}
		return s
	case syntax.OpCharClass:
		var class runes
		for i := 0; i+1 < len(re.Rune); i += 2 {
			class = append(class, span{re.Rune[i], re.Rune[i+1]})
		}
		return write(class.normal())
	case syntax.OpAnyCharNotNL:
		return write(anyRune.minus(runes{{'\n', '\n'}}))
	case syntax.OpAnyChar:
		return write(anyRune)
	case syntax.OpCapture:
		return regexPart(re.Sub[0], write)
	case syntax.OpStar:
		return repeat{regexPart(re.Sub[0], write), 0, -1}
	case syntax.OpPlus:
		return repeat{regexPart(re.Sub[0], write), 1, -1}
	case syntax.OpQuest:
		return optional(regexPart(re.Sub[0], write))
	case syntax.OpRepeat:
		return repeat{regexPart(re.Sub[0], write), re.Min, re.Max}
	case syntax.OpConcat:
		var s sequence
		for _, sub := range re.Sub {
			s = append(s, regexPart(sub, write))
		}
		return s
	case syntax.OpAlternate:
		var c choice
		for _, sub := range re.Sub {
			c = append(c, regexPart(sub, write))
		}
		return c
	}
	return choice{} // OpNoMatch; what is not supported has been refused
}

// lengths is how many characters an expression without anchors can match; most
// is -1 where there is no end to it.
func lengths(re *syntax.Regexp) (least, most int) {
	times := func(n, by int) int {
		if n > 0 && by > maxStates/n { // more than any text of a bounded grammar
			return maxStates
		}
		return n * by
	}
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune), len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1, 1
	case syntax.OpCapture:
		return lengths(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		from, to := repetitions(re)
		least, most = lengths(re.Sub[0])
		least = times(least, from)
		switch {
		case most == 0 || to == 0:
			most = 0
		case most < 0 || to < 0:
			most = -1
		default:
			most = times(most, to)
		}
		return least, most
	case syntax.OpConcat:
		return alternative(re.Sub).lengths()
	case syntax.OpAlternate:
		for i, sub := range re.Sub {
			l, m := lengths(sub)
			if i == 0 {
				least, most = l, m
				continue
			}
			least = min(least, l)
			if most = max(most, m); most < 0 || m < 0 {
				most = -1
			}
		}
		return least, most
	}
	return 0, 0
}

func (alt alternative) lengths() (least, most int) {
	for _, re := range alt {
		l, m := lengths(re)
		least += l
		if most < 0 || m < 0 {
			most = -1
		} else {
			most += m
		}
	}
	return least, most
}

// repetitions are the bounds of a repetition, -1 for none.
func repetitions(re *syntax.Regexp) (from, to int) {
	switch re.Op {
	case syntax.OpStar:
		return 0, -1
	case syntax.OpPlus:
		return 1, -1
	case syntax.OpQuest:
		return 0, 1
	}
	return re.Min, re.Max
}

// within bounds the length of alternatives, in characters (most -1: no bound).
// It can do so where the length is decided by the repetition of one class of
// characters.
func within(alts []alternative, least, most int) ([]alternative, error) {
	var out []alternative
	for _, alt := range alts {
		l, m := alt.lengths()
		if l >= least && (most < 0 || m >= 0 && m <= most) {
			out = append(out, alt)
			continue
		}
		if most >= 0 && l > most || m >= 0 && m < least {
			continue // it never has such a length
		}
		alt = flat(alt)
		at, fixed := -1, 0
		for i, re := range alt {
			from, to := lengths(re)
			switch {
			case from == to:
				fixed += from
			case at < 0 && oneClass(re):
				at = i
			default:
				return nil, errors.New("a length cannot be combined with this pattern: say it in the pattern alone")
			}
		}
		from, to := repetitions(alt[at])
		from = max(from, least-fixed)
		if most >= 0 && (to < 0 || to > most-fixed) {
			to = most - fixed
		}
		alt[at] = &syntax.Regexp{Op: syntax.OpRepeat, Sub: alt[at].Sub, Min: from, Max: to}
		out = append(out, alt)
	}
	return out, nil
}

// flat takes sequences and groups in an alternative apart.
func flat(alt alternative) alternative {
	var out alternative
	for _, re := range alt {
		switch re.Op {
		case syntax.OpConcat:
			out = append(out, flat(re.Sub)...)
		case syntax.OpCapture:
			out = append(out, flat(re.Sub)...)
		default:
			out = append(out, re)
		}
	}
	return out
}

// oneClass reports whether re repeats one class of characters.
func oneClass(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		for re = re.Sub[0]; re.Op == syntax.OpCapture; re = re.Sub[0] {
		}
		l, m := lengths(re)
		return l == 1 && m == 1
	}
	return false
}

// quoted names something in an error, cut short.
func quoted(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:57], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
