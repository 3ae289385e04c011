package evidence

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"retort/prove/expose"
)

// Finding is one line of the verdict.
type Finding struct {
	What      string  `json:"what"`              // was tested, about whom
	Subject   string  `json:"subject,omitempty"` // the account, campaign or window
	Null      string  `json:"null"`              // hypothesis
	Statistic string  `json:"statistic"`
	Coins     int     `json:"coins,omitempty"`
	LogP      float64 `json:"log_p,omitempty"` // adjusted for all that was examined beside it
	LogE      float64 `json:"log_e,omitempty"`
	Ratio     float64 `json:"likelihood_ratio,omitempty"`
	Found     bool    `json:"found"` // it falls below the level that the frame fixed; of an account, it is named
	Innocent  string  `json:"innocent"`
}

// strength is by what findings are ranked: the logarithm of an e-value. Of a p-value
// that is 1/(2√p), which is one (Vovk and Wang, Ann. Statist. 49, 2021).
func (f *Finding) strength() float64 {
	switch {
	case f.Ratio > 0:
		return math.Log(f.Ratio)
	case f.LogE != 0:
		return f.LogE
	case f.LogP == 0:
		return math.Inf(-1)
	}
	return -f.LogP/2 - math.Ln2
}

const (
	nullExposure = "the suspect, the reference and the queries are independent of the coins, given the prompts, the pairs of answers and other accounts' coins"
	innocentPath = "it depends on what was served, and not necessarily by this route: the answers may have been resold or published, or come by way of a teacher that was itself trained on logs. It assumes an honest coin: see the controls"
	nullIdentity = "the suspect is of an innocent lineage"
	innocentSays = "public data is full of other models' answers, so that models that nobody distilled claim it too; this ratio is not multiplied with others"
)

// findings makes the verdict of the figures, the strongest first.
func findings(f *expose.Frame, r *Results) []Finding {
	out := []Finding{}
	examined := math.Log(float64(max(1, r.Examined)))
	for _, o := range r.Outcomes {
		if o.Model != f.Suspect.Name {
			continue
		}
		x := Finding{Subject: o.Subject, Null: nullExposure, Coins: o.Coins, Innocent: innocentPath}
		x.Statistic = "sum of odd scores on an integer grid, exact by sign flips"
		if f.Suspect.Kind == expose.KindText {
			x.Statistic = "e-process of bets on which arm is followed further"
			x.LogE = o.LogE - examined
		} else if o.Scope == expose.ScopeCampaign || o.Scope == expose.ScopeWindow {
			x.Statistic += "; Holm over the campaigns and windows examined"
			x.LogP = math.Min(0, o.Adjusted+examined)
		} else {
			x.LogP = math.Min(0, o.LogP+examined)
		}
		x.Found = f.Suspect.Kind == expose.KindText && x.LogE >= -math.Log(f.Level) || f.Suspect.Kind != expose.KindText && x.LogP <= math.Log(f.Level)
		if r.Examined > 1 && o.Scope != expose.ScopeAccount {
			x.Statistic += fmt.Sprintf("; adjusted for %d suspects or frames examined", r.Examined)
		}
		switch o.Scope {
		case expose.ScopeAll:
			x.What, x.Subject = "answers served to the accounts of the frame reached the training", ""
		case expose.ScopeAccount:
			if !o.Named {
				continue
			}
			x.What, x.Found = "answers served to this account reached the training", true
			x.LogP, x.LogE = o.LogP, o.LogE
			x.Statistic += fmt.Sprintf("; named at a false discovery rate of %g over the accounts of this suspect", f.FDR)
		default:
			x.What = "answers served to this " + o.Scope + " reached the training"
		}
		out = append(out, x)
	}
	for _, s := range r.Identity {
		out = append(out, Finding{
			What: "the model says that it is of " + s.Maker, Null: nullIdentity, Statistic: "likelihood ratio of bounds, capped; " + s.Why,
			Ratio: s.LikelihoodRatio, Innocent: innocentSays,
		})
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(b.strength(), a.strength()) })
	return out
}

// Controls are the outcomes of models that are known to be unrelated.
func (r *Results) Controls(f *expose.Frame) []expose.Outcome {
	var out []expose.Outcome
	for _, o := range r.Outcomes {
		if o.Model != f.Suspect.Name {
			out = append(out, o)
		}
	}
	return out
}

// Accounts are the outcomes of single accounts.
func (r *Results) Accounts() []expose.Outcome {
	var out []expose.Outcome
	for _, o := range r.Outcomes {
		if o.Scope == expose.ScopeAccount {
			out = append(out, o)
		}
	}
	return out
}

// FormatP writes a probability that is given by its logarithm.
func FormatP(logP float64) string {
	if logP >= math.Log(1e-3) {
		return fmt.Sprintf("%.3g", math.Exp(logP))
	}
	ten := logP / math.Ln10
	exp := math.Floor(ten)
	return fmt.Sprintf("%.1fe%d", math.Pow(10, ten-exp), int(exp))
}

// FormatE writes an e-value that is given by its logarithm.
func FormatE(logE float64) string {
	if math.Abs(logE) < math.Log(1e4) {
		return fmt.Sprintf("%.3g", math.Exp(logE))
	}
	ten := logE / math.Ln10
	exp := math.Floor(ten)
	return fmt.Sprintf("%.1fe%d", math.Pow(10, ten-exp), int(exp))
}

// Figure is a finding's figure in words.
func (f *Finding) Figure() string {
	switch {
	case f.Ratio > 0:
		return fmt.Sprintf("likelihood ratio %.3g", f.Ratio)
	case f.LogE != 0:
		return "e = " + FormatE(f.LogE)
	}
	return "p = " + FormatP(f.LogP)
}
