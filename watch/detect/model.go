package detect

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/optimize"
)

// The features of an account: the means of what is measured of its exchanges, and
// what only shows over many.
const (
	fPromptSpread = xCount + iota
	fOutputSpread
	fPauseSpread
	fNovel       // distinct prompts over prompts
	fFresh       // exchanges in which a user speaks
	fVocabulary  // log of its distinct words
	fGrowth      // how fast they grow
	fPrefixShare // share of its most frequent beginning
	fSuffixShare // of its most frequent end
	fSystemShare // of its most frequent system prompt
	fHours       // entropy of the hours of the day: which hours they are does not matter
	fActive      // log of exchanges in an hour in which there were any
	fPace        // log of seconds per exchange, over all
	fAge         // log of its exchanges
	fKernel      // how far it is from ordinary use by the kernel
	fNovelAlone
	fNovelYield
	fNovelUnread
	fNovelGrowth
	fAlone      // how nearly nothing was ever said before: −log of the share, for these four
	fNeverShort // how nearly it never says something short
	fNeverBrief // how nearly no answer is short
	fNeverAgain // how nearly it never repeats a prompt
	featureCount
)

// Model turns an account's features into one score. It is trained on a split of
// its own; nothing of it depends on the accounts that it is used on.
type Model struct {
	Mean    []float64 `json:"mean"` // of ordinary use
	Scale   []float64 `json:"scale"`
	Weights []float64 `json:"weights"`
	Bias    float64   `json:"bias"`
	// WaveMean is the mean of the kernel's features over ordinary use.
	WaveMean []float64 `json:"wave_mean"`
	// XMean and XScale standardise what the kernel compares.
	XMean  []float64 `json:"x_mean"`
	XScale []float64 `json:"x_scale"`
	// Scaffolds says of how many of Accounts training accounts a beginning or an
	// end of prompts was; those of one account alone are left out.
	Scaffolds map[uint64]uint16 `json:"scaffolds,omitempty"`
	Accounts  int               `json:"accounts"`
	// Centres are where segments of like use lie, in standardised features.
	Centres [][]float64 `json:"centres"`
	// Simulated says that the examples of harvesting that it learned from are.
	Simulated bool `json:"simulated"`

	frequency [waves][xCount]float32
	phase     [waves]float32
}

// rarity of a beginning or an end of prompts: 1 where no other account has it. It
// decides which accounts are compared as a group, and is no part of the score: among
// accounts of one language most of what is said in another is rare.
func (m *Model) rarity(key uint64) float32 {
	df := m.Scaffolds[key]
	if df == 0 || m.Accounts == 0 {
		return 1
	}
	return float32(1 - math.Log(1+float64(df))/math.Log(1+float64(m.Accounts)))
}

// kernelWidth is in standard deviations of all that is measured together.
const kernelWidth = 5

// prepare draws the kernel's random features (Rahimi and Recht 2007): cos(ω·x + b)
// with Gaussian ω estimates a Gaussian kernel. They are the same in every model.
func (m *Model) prepare() error {
	for _, v := range []struct {
		name string
		have int
		want int
	}{
		{"mean", len(m.Mean), featureCount}, {"scale", len(m.Scale), featureCount}, {"weights", len(m.Weights), featureCount},
		{"wave_mean", len(m.WaveMean), waves}, {"x_mean", len(m.XMean), xCount}, {"x_scale", len(m.XScale), xCount},
	} {
		if v.have != v.want {
			return fmt.Errorf("its %s has %d values and this version reads %d: calibrate again", v.name, v.have, v.want)
		}
	}
	for _, c := range m.Centres {
		if len(c) != len(segmentFeatures) {
			return fmt.Errorf("a centre has %d values and this version reads %d: calibrate again", len(c), len(segmentFeatures))
		}
	}
	rng := rand.New(rand.NewPCG(0x5eed, 48))
	for j := range m.phase {
		m.phase[j] = float32(2 * math.Pi * rng.Float64())
		for i := range xCount {
			w := rng.NormFloat64() / kernelWidth / m.XScale[i]
			m.frequency[j][i] = float32(w)
			m.phase[j] -= float32(w * m.XMean[i])
		}
	}
	return nil
}

// waves adds the kernel's features of one exchange.
func (m *Model) waves(x *[xCount]float32, into *[waves]float64) {
	for j := range into {
		dot := m.phase[j]
		for i, v := range x {
			dot += m.frequency[j][i] * v
		}
		into[j] += float64(cosine(dot))
	}
}

// cosine is cos to about 10⁻⁴, which the sketch does not notice.
func cosine(v float32) float32 {
	const turn = 2 * math.Pi
	v -= turn * float32(math.Floor(float64(v/turn)+0.5)) // into ±π
	if v < 0 {
		v = -v
	}
	sign := float32(1)
	if v > math.Pi/2 {
		v, sign = math.Pi-v, -1
	}
	q := v * v
	return sign * (1 - q*(0.5-q*(1.0/24-q*(1.0/720-q/40320))))
}

// distance is the squared maximum mean discrepancy (Gretton et al. 2012) between
// an account and ordinary use, less what chance gives n exchanges.
func (m *Model) distance(wave *[waves]float64, n float64) float64 {
	d := 0.0
	for j, v := range wave {
		diff := v/n - m.WaveMean[j]
		d += 2 * diff * diff / waves
	}
	return max(0, d-1/n)
}

// limit is how many standard deviations from ordinary use still count, so that no
// single feature decides.
const limit = 4.0

// standard are features in standard deviations from ordinary use.
func (m *Model) standard(f *[featureCount]float64) [featureCount]float64 {
	var z [featureCount]float64
	for i := range z {
		z[i] = min(limit, max(-limit, (f[i]-m.Mean[i])/m.Scale[i]))
	}
	return z
}

// score is the log-odds that the training split gives an account of such features.
func (m *Model) score(z *[featureCount]float64) float64 {
	s := m.Bias
	for i, v := range z {
		s += m.Weights[i] * v
	}
	return s
}

// segmentFeatures say what use a segment is of: not whose, nor how suspicious.
var segmentFeatures = []int{xPrompt, xInput, xOutput, xSingle, xTurns, xTool, xSystem, xSchema, xSymbols, xUnread, xOverlap, xPause, xTemplated, xLimit, xGreedy, fNovel, fFresh, fPace}

// segment is the index of the nearest centre.
func (m *Model) segment(z *[featureCount]float64) int {
	p := make([]float64, len(segmentFeatures))
	for j, f := range segmentFeatures {
		p[j] = z[f]
	}
	return closest(m.Centres, p)
}

// sample is an account of the training split at one look.
type sample struct {
	features [featureCount]float64
	harvests bool
}

// penalty of the squared weights, per account, and of those of the wrong sign.
const (
	penalty = 2e-3
	wrong   = 10
)

// suspicious are features more of which may not speak for an account, and ordinary
// those more of which may not speak against it, whatever the training split says:
// a family that it lacks shows by what the others merely do not.
var (
	suspicious = []int{xOutput, xYield, xSingle, xSamples, xLogprobs, xReasoned, xAskedReason, xSteps, xEquations, xAnswerLines, xRubric, xUnread,
		fNovel, fVocabulary, fGrowth, fPrefixShare, fSuffixShare, fNovelAlone, fNovelYield, fNovelUnread, fNovelGrowth, fKernel, fAlone, fNeverShort, fNeverBrief, fNeverAgain}
	ordinary = []int{xTurns, xTool}
)

// fit trains the weights: logistic regression with both sides of equal weight and
// an L2 penalty.
func (m *Model) fit(samples []sample) error {
	var count [2]float64
	z := make([][featureCount]float64, len(samples))
	for i := range samples {
		z[i] = m.standard(&samples[i].features)
		if samples[i].harvests {
			count[1]++
		} else {
			count[0]++
		}
	}
	if count[0] < 20 || count[1] < 20 {
		return fmt.Errorf("train the score: %v ordinary accounts and %v that harvest; it needs 20 of both", count[0], count[1])
	}
	var sign [featureCount]float64
	for _, j := range suspicious {
		sign[j] = 1
	}
	for _, j := range ordinary {
		sign[j] = -1
	}
	value := func(w, grad []float64) float64 {
		loss := 0.0
		for i := range grad {
			grad[i] = 0
		}
		for i := range z {
			s := w[featureCount]
			for j, v := range z[i] {
				s += w[j] * v
			}
			y, c := 0.0, 0.5/count[0]
			if samples[i].harvests {
				y, c = 1, 0.5/count[1]
			}
			loss += c * (math.Max(s, 0) + math.Log1p(math.Exp(-math.Abs(s))) - s*y)
			if len(grad) > 0 {
				d := c * (1/(1+math.Exp(-s)) - y)
				for j, v := range z[i] {
					grad[j] += d * v
				}
				grad[featureCount] += d
			}
		}
		for j := range featureCount {
			p := penalty
			if w[j]*sign[j] < 0 {
				p += wrong
			}
			loss += p / 2 * w[j] * w[j]
			if len(grad) > 0 {
				grad[j] += p * w[j]
			}
		}
		return loss
	}
	res, err := optimize.Minimize(optimize.Problem{
		Func: func(w []float64) float64 { return value(w, nil) },
		Grad: func(grad, w []float64) { value(w, grad) },
	}, make([]float64, featureCount+1), &optimize.Settings{MajorIterations: 300, GradientThreshold: 1e-5}, &optimize.LBFGS{})
	if res == nil || err != nil && !errors.Is(err, optimize.ErrNoProgress) && !errors.Is(err, optimize.ErrLinesearcherFailure) {
		return fmt.Errorf("train the score: %w", err)
	}
	m.Weights, m.Bias = slices.Clone(res.X[:featureCount]), res.X[featureCount]
	return nil
}

// centre finds at most k segments: k-means from a seeding that spreads (Arthur and
// Vassilvitskii 2007), with a fixed seed. A segment that would have less than the
// given share of the accounts is given up, and its accounts go to the next nearest.
// Only the training split decides, so that calibration and test accounts are
// treated alike.
func (m *Model) centre(samples []sample, k int, least float64) {
	var points [][]float64
	for i := range samples {
		if samples[i].harvests {
			continue
		}
		z := m.standard(&samples[i].features)
		p := make([]float64, len(segmentFeatures))
		for j, f := range segmentFeatures {
			p[j] = z[f]
		}
		points = append(points, p)
	}
	rng := rand.New(rand.NewPCG(0xce, 1))
	m.Centres = nil
	near := make([]float64, len(points))
	for i := range near {
		near[i] = math.Inf(1)
	}
	next := rng.IntN(len(points))
	for len(m.Centres) < k {
		c := slices.Clone(points[next])
		m.Centres = append(m.Centres, c)
		total := 0.0
		for i, p := range points {
			near[i] = math.Min(near[i], squared(p, c))
			total += near[i]
		}
		if total == 0 {
			break
		}
		u := rng.Float64() * total
		for i, d := range near {
			if u -= d; u <= 0 {
				next = i
				break
			}
		}
	}
	for range 30 {
		sums := make([][]float64, len(m.Centres))
		counts := make([]float64, len(m.Centres))
		for _, p := range points {
			best := closest(m.Centres, p)
			if sums[best] == nil {
				sums[best] = make([]float64, len(p))
			}
			counts[best]++
			for j, v := range p {
				sums[best][j] += v
			}
		}
		for c := range sums {
			for j := range sums[c] {
				m.Centres[c][j] = sums[c][j] / counts[c]
			}
		}
	}
	for len(m.Centres) > 1 {
		counts := make([]float64, len(m.Centres))
		for _, p := range points {
			counts[closest(m.Centres, p)]++
		}
		small := 0
		for c, n := range counts {
			if n < counts[small] {
				small = c
			}
		}
		if counts[small] >= least*float64(len(points)) {
			break
		}
		m.Centres = slices.Delete(m.Centres, small, small+1)
	}
}

func closest(centres [][]float64, p []float64) int {
	best := 0
	for c := range centres {
		if squared(p, centres[c]) < squared(p, centres[best]) {
			best = c
		}
	}
	return best
}

func squared(a, b []float64) float64 {
	d := 0.0
	for i := range a {
		d += (a[i] - b[i]) * (a[i] - b[i])
	}
	return d
}
