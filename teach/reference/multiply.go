package reference

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"retort/teach/task"
)

// Multiplication digit by digit, everything at a fixed width. 47*36:
//
//	47*6:
//	7*6=42 4*6=24 24+4=28 0282
//	47*30:
//	7*3=21 4*3=12 12+2=14 1410
//	0282+1410:
//	2+0+0=02 8+1+0=09 2+4+0=06 0+1+0=01
//
// A line multiplies the first factor by one digit of the second, which its
// heading names with its place: products of two digits from the right, each
// plus the carry (the left digit of what came before), then the partial product,
// shifted and at full width. Naming the place there and shifting at once took a
// student from 0.95 to 1.00. Then the partial products are added: digits from
// the right, plus the carry. The answer reads the right digits backwards.
func solveMultiply(p task.Problem, v voice) (solution, error) {
	var m task.Multiply
	if err := json.Unmarshal(p.Data, &m); err != nil {
		return solution{}, fmt.Errorf("read a multiplication: %w", err)
	}
	a, b := digitsOf(m.A), digitsOf(m.B)
	width := len(a) + len(b)
	places := make([]int, len(b)) // of b's digits, 0 is the units
	for i := range places {
		places[i] = i
	}
	if v.choose(3, 1) == 1 { // from the left
		for i := range places {
			places[i] = len(b) - 1 - i
		}
	}
	var lines []string
	sum := strings.Repeat("0", width)
	for i, place := range places {
		worked, partial := timesDigit(a, b[place])
		zeros := strings.Repeat("0", place)
		shifted := strings.Repeat("0", width-len(partial)-place) + partial + zeros
		lines = append(lines, fmt.Sprintf("%d*%d%s:\n%s %s", m.A, b[place], zeros, worked, shifted))
		if i == 0 {
			sum = shifted
			continue
		}
		added, next := addColumns(sum, shifted)
		lines = append(lines, sum+"+"+shifted+":\n"+added)
		sum = next
	}
	return solution{reasoning: v.lines(lines), answer: strconv.Itoa(m.A * m.B)}, nil
}

// digitsOf returns the decimal digits of n, units first.
func digitsOf(n int) []int {
	s := strconv.Itoa(n)
	out := make([]int, len(s))
	for i := range s {
		out[len(s)-1-i] = int(s[i] - '0')
	}
	return out
}

// timesDigit multiplies a number, units first, by one digit and returns the
// steps and the product, which has one digit more.
func timesDigit(a []int, d int) (worked, product string) {
	var steps []string
	carry := 0
	for i, x := range a {
		n := x * d
		steps = append(steps, fmt.Sprintf("%d*%d=%02d", x, d, n))
		if i > 0 {
			steps = append(steps, fmt.Sprintf("%02d+%d=%02d", n, carry, n+carry))
			n += carry
		}
		product = strconv.Itoa(n%10) + product
		carry = n / 10
	}
	product = strconv.Itoa(carry) + product
	return strings.Join(steps, " "), product
}

// addColumns adds two numbers of the same width and returns the steps and the
// sum, which fits in that width.
func addColumns(x, y string) (worked, sum string) {
	var steps []string
	carry := 0
	for i := len(x) - 1; i >= 0; i-- {
		n := int(x[i]-'0') + int(y[i]-'0') + carry
		steps = append(steps, fmt.Sprintf("%c+%c+%d=%02d", x[i], y[i], carry, n))
		sum = strconv.Itoa(n%10) + sum
		carry = n / 10
	}
	return strings.Join(steps, " "), sum
}
