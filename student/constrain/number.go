package constrain

import (
	"strconv"
	"strings"
)

// mostInteger is the largest whole number that is written: 18 digits.
const mostInteger = 999_999_999_999_999_999

// wholeFrom is the whole numbers from low to high, both included and not
// negative, without leading zeros.
func wholeFrom(low, high int64) expr {
	var all choice
	for first, last := int64(0), int64(9); low <= high; first, last = last+1, last*10+9 {
		// Those with as many digits as last has.
		if lo, hi := max(low, first), min(high, last); lo <= hi {
			all = append(all, sameLength(strconv.FormatInt(lo, 10), strconv.FormatInt(hi, 10)))
		}
		if last >= high || last == mostInteger {
			break
		}
	}
	return all
}

// sameLength is the digits from low to high, which are as many.
func sameLength(low, high string) expr {
	if low == "" {
		return sequence{}
	}
	if low[0] == high[0] {
		return sequence{literal(low[:1]), sameLength(low[1:], high[1:])}
	}
	n := len(low) - 1
	zeros, nines := strings.Repeat("0", n), strings.Repeat("9", n)
	var all choice
	from, to := low[0], high[0] // first digits after which anything goes
	if low[1:] != zeros {
		all = append(all, sequence{literal(low[:1]), sameLength(low[1:], nines)})
		from++
	}
	if high[1:] != nines {
		all = append(all, sequence{literal(high[:1]), sameLength(zeros, high[1:])})
		to--
	}
	if from <= to {
		all = append(all, sequence{runes{{rune(from), rune(to)}}, repeat{digit, n, n}})
	}
	return all
}

// integersFrom is the integers from low to high, both included.
func integersFrom(low, high int64) expr {
	var all choice
	if low < 0 && low <= high {
		all = append(all, sequence{literal("-"), wholeFrom(max(1, -high), -low)})
	}
	if high >= 0 {
		all = append(all, wholeFrom(max(0, low), high))
	}
	return all
}

// numbersFrom is the numbers within two bounds, which are whole, written without
// an exponent.
func numbersFrom(low, high bound) expr {
	lo, hi, lowOpen, highOpen := int64(-mostInteger), int64(mostInteger), false, false
	if low.at != nil {
		lo, lowOpen = low.at.Num().Int64(), low.open
	}
	if high.at != nil {
		hi, highOpen = high.at.Num().Int64(), high.open
	}
	var all choice
	if hi >= 0 {
		from, open := lo, lowOpen
		if lo < 0 {
			from, open = 0, false
		}
		all = append(all, amounts(from, open, hi, highOpen))
	}
	if lo < 0 {
		from, open := -hi, highOpen
		if hi > 0 {
			from, open = 0, false
		}
		all = append(all, sequence{literal("-"), amounts(from, open, -lo, lowOpen)})
	}
	return all
}

// amounts is the numbers without a sign from low to high; open bounds are
// excluded.
func amounts(low int64, lowOpen bool, high int64, highOpen bool) expr {
	if low > high || low == high && (lowOpen || highOpen) {
		return choice{}
	}
	var all choice
	fraction := optional(sequence{literal("."), repeat{digit, 1, mostDigits}})
	from := low
	if lowOpen {
		above := sequence{literal("."), repeat{literal("0"), 0, mostDigits - 1}, runes{{'1', '9'}}, repeat{digit, 0, mostDigits}}
		all = append(all, sequence{literal(strconv.FormatInt(low, 10)), above})
		from++
	}
	if from < high {
		all = append(all, sequence{wholeFrom(from, high-1), fraction})
	}
	if !highOpen {
		all = append(all, sequence{literal(strconv.FormatInt(high, 10)), optional(sequence{literal("."), repeat{literal("0"), 1, mostDigits}})})
	}
	return all
}
