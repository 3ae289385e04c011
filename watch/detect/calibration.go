package detect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"retort/internal/stat"
	"retort/workspace"
)

// Looks are the ages, in exchanges, at which an account is judged: at these and at
// no others.
var Looks = [...]int{25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800}

// lookWeights are what the looks are meant to have of the level, and lookOrder
// which come first where the calibration does not suffice for all of them.
var (
	lookWeights = [len(Looks)]float64{0.10, 0.20, 0.40, 0.10, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01}
	lookOrder   = [len(Looks)]int{2, 1, 0, 3, 4, 5, 6, 7, 8, 9}
)

// Confidence with which the realised rate of a level has to hold.
const Confidence = 0.95

// CalibrationVersion is the format that this version writes and reads.
const CalibrationVersion = "retort detection calibration 1"

// Calibration is what detection knows of ordinary use: a score, and how it is
// distributed among accounts that are known to be innocent. docs/formats/detect.md
// describes its file.
type Calibration struct {
	Version  string    `json:"version"`
	Made     time.Time `json:"made"`
	Source   string    `json:"source"` // in words
	Accounts int       `json:"accounts"`
	Trained  int       `json:"trained"` // accounts that the score learned from, none of which is among Accounts
	// Simulated says that its innocent accounts are simulated, not merely the
	// harvesting ones that the score learned from.
	Simulated bool  `json:"simulated"`
	Model     Model `json:"model"`
	// Segments has, of each segment and look, the scores in ascending order.
	Segments [][len(Looks)][]float32 `json:"segments"`
	// Took has, of each segment, how many seconds after its first exchange each
	// account came to the first look, in the order of Segments' scores of that look.
	Took [][]float32 `json:"took"`

	sorted [][len(Looks)][]float64
}

// Role says what an account is for in a calibration.
type Role int

// The roles.
const (
	RoleTrain     Role = iota // known to be innocent: the score learns from it
	RoleCalibrate             // known to be innocent: its score is a calibration score
	RoleHarvest               // an example of harvesting: the score learns from it
)

// RoleOf shares innocent accounts out by their organisation, so that no
// organisation is on both sides: share is how much of them the score learns from.
// Without an organisation, the account is one.
func RoleOf(organisation string, share float64) Role {
	h := fnv.New64a()
	h.Write([]byte("retort detection split\x00" + organisation))
	v := h.Sum64()
	v ^= v >> 32
	v *= 0x9e3779b97f4a7c15
	if float64(v>>11)/(1<<53) < share {
		return RoleTrain
	}
	return RoleCalibrate
}

// Source calls fn with every exchange of every account of the roles that are wanted,
// those of one account in the order of time. It is called more than once, and must
// say the same each time.
type Source func(want func(Role) bool, fn func(Role, *Event) error) error

// CalibrateOptions say how a calibration is made.
type CalibrateOptions struct {
	Segments          int     // at most so many segments of like use; 0 is mostSegments
	Source            string  // in words, for people
	Simulated         bool    // the innocent accounts are simulated
	SimulatedHarvests bool    // those that harvest are
	Level             float64 // each segment gets as many accounts as this level needs; 0 is 10⁻³
	Now               time.Time
}

// mostSegments is how many segments there are at most.
const mostSegments = 10

// Calibrate learns a score from the accounts of RoleTrain and RoleHarvest and takes
// the scores of those of RoleCalibrate.
func Calibrate(src Source, opt CalibrateOptions) (*Calibration, error) {
	m, err := Gather(src)
	if err != nil {
		return nil, err
	}
	return m.Calibrate(opt, nil)
}

// Material is what calibrations are made of: accounts at their looks. Several can be
// made of it, each of some of the accounts.
type Material struct {
	model  Model
	points []point
}

type point struct {
	role     Role
	account  string
	look     int
	took     float64 // seconds since its first exchange
	features [featureCount]float64
}

// Gather reads a source.
func Gather(src Source) (*Material, error) {
	m := &Material{}
	if err := m.model.measure(src); err != nil {
		return nil, err
	}
	profiles := make(map[string]*profile)
	err := src(func(Role) bool { return true }, func(role Role, ev *Event) error {
		p := profiles[ev.Account]
		if p == nil {
			p = newProfile()
			profiles[ev.Account] = p
		}
		s := look(ev)
		p.add(&s, &m.model)
		if at := slices.Index(Looks[:], int(p.n)); at >= 0 {
			m.points = append(m.points, point{role, ev.Account, at, float64(s.sent-p.first) / 1e9, p.features(&m.model)})
		}
		return nil
	})
	return m, err
}

// Calibrate is the Calibrate of the accounts that keep says yes to; nil keeps all.
// How rare a scaffold is and on which scales exchanges are measured comes from all
// training accounts in any case.
func (m *Material) Calibrate(opt CalibrateOptions, keep func(Role, string) bool) (*Calibration, error) {
	if opt.Level == 0 {
		opt.Level = 1e-3
	}
	if opt.Segments == 0 {
		opt.Segments = mostSegments
	}
	c := &Calibration{Version: CalibrationVersion, Made: opt.Now.UTC(), Source: opt.Source, Simulated: opt.Simulated, Model: m.model}
	c.Model.Simulated = opt.SimulatedHarvests
	c.Model.Mean, c.Model.Scale = make([]float64, featureCount), make([]float64, featureCount)
	var samples []sample
	trained, calibrates := make(map[string]bool), make(map[string]bool)
	for i := range m.points {
		p := &m.points[i]
		switch {
		case keep != nil && !keep(p.role, p.account):
		case p.role == RoleCalibrate:
			calibrates[p.account] = true
		default:
			trained[p.account] = true
			samples = append(samples, sample{p.features, p.role == RoleHarvest})
		}
	}
	c.Accounts, c.Trained = len(calibrates), len(trained)
	if err := c.Model.learn(samples); err != nil {
		return nil, err
	}
	// A fifth more than the level needs, since a share of a sample varies.
	c.Model.centre(samples, opt.Segments, 1.2*float64(stat.SizeToHold(opt.Level, Confidence))/float64(max(1, len(calibrates))))
	c.Segments = make([][len(Looks)][]float32, len(c.Model.Centres))
	early := make([][][2]float32, len(c.Model.Centres))
	for i := range m.points {
		p := &m.points[i]
		if p.role != RoleCalibrate || !calibrates[p.account] {
			continue
		}
		z := c.Model.standard(&p.features)
		score, in := c.Model.score(&z), c.Model.segment(&z)
		if p.look == 0 {
			early[in] = append(early[in], [2]float32{float32(score), float32(p.took)})
		}
		list := &c.Segments[in][p.look]
		*list = append(*list, float32(score))
	}
	for s := range c.Segments {
		for l := range c.Segments[s] {
			slices.Sort(c.Segments[s][l])
		}
	}
	c.Took = make([][]float32, len(early))
	for s, list := range early {
		slices.SortFunc(list, func(a, b [2]float32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
		for _, v := range list {
			c.Took[s] = append(c.Took[s], v[1])
		}
	}
	return c, c.prepare()
}

// measure finds what the model compares exchanges with: their means, and of how
// many accounts a scaffold is.
func (m *Model) measure(src Source) error {
	m.Mean, m.Scale, m.Weights = make([]float64, featureCount), make([]float64, featureCount), make([]float64, featureCount)
	m.XMean, m.XScale, m.WaveMean = make([]float64, xCount), make([]float64, xCount), make([]float64, waves)
	type pair struct {
		key     uint64
		account string
	}
	seen := make(map[pair]bool)
	df := make(map[uint64]int)
	accounts := make(map[string]*profile)
	for i := range m.XScale {
		m.XScale[i] = 1
	}
	if err := m.prepare(); err != nil {
		return err
	}
	n := 0.0
	square := make([]float64, xCount)
	training := func(r Role) bool { return r == RoleTrain }
	err := src(training, func(_ Role, ev *Event) error {
		p := accounts[ev.Account]
		if p == nil {
			p = newProfile()
			accounts[ev.Account] = p
		}
		s := look(ev)
		before := p.sum
		p.add(&s, m)
		n++
		for i := range before {
			v := p.sum[i] - before[i]
			m.XMean[i] += v
			square[i] += v * v
		}
		for _, key := range []uint64{s.prefix, s.suffix, s.system} {
			if k := (pair{key, ev.Account}); key != 0 && !seen[k] {
				seen[k] = true
				df[key]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("calibrate: there is no innocent account to learn from: mark some as benign, or name them with --accounts")
	}
	for i := range square {
		m.XMean[i] /= n
		m.XScale[i] = math.Max(0.05, math.Sqrt(math.Max(0, square[i]/n-m.XMean[i]*m.XMean[i])))
	}
	m.Accounts = len(accounts)
	m.Scaffolds = make(map[uint64]uint16)
	for key, count := range df {
		if count > 1 {
			m.Scaffolds[key] = uint16(min(count, math.MaxUint16))
		}
	}
	if err := m.prepare(); err != nil {
		return err
	}
	sum := [waves]float64{}
	total := 0.0
	clear(accounts)
	err = src(training, func(_ Role, ev *Event) error {
		p := accounts[ev.Account]
		if p == nil {
			p = newProfile()
			accounts[ev.Account] = p
		}
		s := look(ev)
		before := p.wave
		p.add(&s, m)
		for j := range sum {
			sum[j] += p.wave[j] - before[j]
		}
		total++
		return nil
	})
	for j := range sum {
		m.WaveMean[j] = sum[j] / total
	}
	return err
}

// learn standardises by the innocent samples and fits the weights.
func (m *Model) learn(samples []sample) error {
	n := 0.0
	square := make([]float64, featureCount)
	for i := range samples {
		if samples[i].harvests {
			continue
		}
		n++
		for j, v := range samples[i].features {
			m.Mean[j] += v
			square[j] += v * v
		}
	}
	for j := range m.Mean {
		m.Mean[j] /= max(1, n)
		m.Scale[j] = math.Max(1e-3, math.Sqrt(math.Max(0, square[j]/max(1, n)-m.Mean[j]*m.Mean[j])))
	}
	return m.fit(samples)
}

// prepare makes what is computed from what is stored, and checks that.
func (c *Calibration) prepare() error {
	if c.Version != CalibrationVersion {
		return fmt.Errorf("it is of version %q and this program reads %q: calibrate again", c.Version, CalibrationVersion)
	}
	if len(c.Segments) != len(c.Model.Centres) {
		return fmt.Errorf("it has %d segments and %d centres", len(c.Segments), len(c.Model.Centres))
	}
	if len(c.Took) != len(c.Segments) {
		return fmt.Errorf("it has %d segments and the times of %d", len(c.Segments), len(c.Took))
	}
	c.sorted = make([][len(Looks)][]float64, len(c.Segments))
	for s := range c.Segments {
		if len(c.Took[s]) != len(c.Segments[s][0]) {
			return fmt.Errorf("segment %d has %d scores at the first look and %d times", s, len(c.Segments[s][0]), len(c.Took[s]))
		}
		for l, list := range c.Segments[s] {
			if !slices.IsSorted(list) {
				return fmt.Errorf("the scores of segment %d at %d exchanges are not in order", s, Looks[l])
			}
			for _, v := range list {
				c.sorted[s][l] = append(c.sorted[s][l], float64(v))
			}
		}
	}
	return c.Model.prepare()
}

// WriteFile stores the calibration.
func (c *Calibration) WriteFile(path string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	return workspace.WriteFileAtomic(path, append(b, '\n'), 0o644)
}

// mostBytes is the largest calibration that is read.
const mostBytes = 1 << 30

// ReadCalibration reads a calibration's file.
func ReadCalibration(path string) (*Calibration, error) {
	b, err := workspace.ReadSmall(path, mostBytes)
	if err != nil {
		return nil, err
	}
	return parseCalibration(path, b)
}

func parseCalibration(path string, b []byte) (*Calibration, error) {
	c := &Calibration{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("calibration %s: %w", path, err)
	}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("calibration %s: %w", path, err)
	}
	return c, nil
}

// plan shares a level among the looks. A segment has a say where its calibration
// suffices for the level.
func (c *Calibration) plan(level float64) ([len(Looks)]stat.Look, error) {
	var plan [len(Looks)]stat.Look
	need := stat.SizeToHold(level, Confidence)
	sizes, meant := make([]int, len(Looks)), make([]float64, len(Looks))
	for i, l := range lookOrder {
		least := math.MaxInt
		for s := range c.sorted {
			if c.size(s) >= need {
				least = min(least, len(c.sorted[s][l]))
			}
		}
		if least == math.MaxInt {
			least = 0
		}
		sizes[i], meant[i] = least, lookWeights[l]
	}
	list, err := stat.PlanLooks(level, sizes, meant)
	if err != nil {
		return plan, err
	}
	for i, l := range lookOrder {
		plan[l] = list[i]
	}
	return plan, nil
}

// size is how many calibration accounts a segment has: at the look that has most.
func (c *Calibration) size(segment int) int {
	n := 0
	for _, list := range c.sorted[segment] {
		n = max(n, len(list))
	}
	return n
}

// Sizes returns how many calibration accounts each segment has.
func (c *Calibration) Sizes() []int {
	out := make([]int, len(c.sorted))
	for i := range out {
		out[i] = c.size(i)
	}
	return out
}

// within are a segment's scores at the first look of the accounts that came to it
// within so many seconds, in ascending order.
func (c *Calibration) within(segment int, seconds float64) []float64 {
	var out []float64
	for i, v := range c.sorted[segment][0] {
		if float64(c.Took[segment][i]) <= seconds {
			out = append(out, v)
		}
	}
	return out
}
