package expose

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"retort/exchange"
)

// quantile is the z that a standard normal exceeds with a probability.
func quantile(p float64) float64 { return -distuv.UnitNormal.Quantile(p) }

// PlanRow says what a number of coins buys.
type PlanRow struct {
	Coins int           `json:"coins"`
	Power float64       `json:"power"` // the chance to fall below the level
	Spend exchange.Pico `json:"spend_pico"`
}

// Effect is what a coin contributes on average, in standard deviations of its score.
// It is what power hangs on; it has to be measured on a like suspect.
type Effect struct {
	PerCoin float64 `json:"per_coin"`
	From    string  `json:"from"` // where the number comes from
}

// Effects that trials showed, for students of a million parameters that saw every
// answer in 4.7 epochs (STATISTICS: 710 and 1,390 coins for p < 10⁻⁶ at 50%). A larger
// model, fewer epochs, or an answer among a hundred others makes it smaller.
var (
	EffectWordy = Effect{4.7534 / math.Sqrt(710), "trial students, families with reasoning in many wordings"}
	EffectTerse = Effect{4.7534 / math.Sqrt(1390), "trial students, families with short reasoning"}
)

// Measured is the effect that an outcome shows: its z divided by the root of its
// coins, with what sampling alone could make of it taken off once (one standard error).
func Measured(o Outcome, square float64) Effect {
	if o.Coins == 0 || square == 0 {
		return Effect{From: "no coins"}
	}
	z := float64(o.Sum) / math.Sqrt(square)
	return Effect{math.Max(0, z-1) / math.Sqrt(float64(o.Coins)), "the outcome, less one standard error"}
}

// Need is how many coins reach a level with a power.
func (e Effect) Need(level, power float64) int {
	if !(e.PerCoin > 0) {
		return math.MaxInt
	}
	z := (quantile(level) - quantile(power)) / e.PerCoin
	return int(math.Ceil(z * z))
}

// Power is the chance that so many coins fall below a level: the normal approximation.
func (e Effect) Power(coins int, level float64) float64 {
	return distuv.UnitNormal.CDF(e.PerCoin*math.Sqrt(float64(coins)) - quantile(level))
}

// Plan says what numbers of coins buy at a level, where a second answer costs so much.
func Plan(e Effect, level float64, answer exchange.Pico, coins ...int) []PlanRow {
	rows := make([]PlanRow, len(coins))
	for i, n := range coins {
		rows[i] = PlanRow{n, e.Power(n, level), exchange.Pico(n) * answer}
	}
	return rows
}
