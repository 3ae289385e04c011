package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// FormatCount prints a count with thin grouping: 12,345.
func FormatCount(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// FormatUSD prints an amount for reading: cents from a dollar up, more digits
// below.
func FormatUSD(usd float64) string {
	switch {
	case usd == 0:
		return "$0"
	case usd > 0 && usd < 0.01: // three digits that say something
		digits := 2 - int(math.Floor(math.Log10(usd)))
		return "$" + strings.TrimRight(strconv.FormatFloat(usd, 'f', digits, 64), "0")
	case usd < 1:
		return fmt.Sprintf("$%.4f", usd)
	}
	return fmt.Sprintf("$%.2f", usd)
}

// FormatDuration prints a duration for reading: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min.
func FormatDuration(d time.Duration) string {
	switch s := int64(d.Round(time.Second) / time.Second); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	default:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
}

// FormatPercent prints a share as a percentage with one decimal.
func FormatPercent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

// FormatPoints prints a difference of shares in percentage points.
func FormatPoints(v float64) string {
	return strings.Replace(fmt.Sprintf("%+.1f", 100*v), "-", "−", 1)
}

// FormatInterval prints an interval of a difference of shares.
func FormatInterval(v [2]float64) string {
	return FormatPoints(v[0]) + " to " + FormatPoints(v[1])
}

// FormatP prints a p-value with two digits.
func FormatP(p float64) string {
	if p < 1e-4 {
		return "< 0.0001"
	}
	return fmt.Sprintf("%.2g", p)
}
