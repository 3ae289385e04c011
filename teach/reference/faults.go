package reference

import (
	"crypto/sha256"
	"encoding/binary"
)

// fault is what goes wrong with one request; its text is the option's name.
type fault string

const (
	faultNone         fault = ""
	faultRateLimit    fault = "rate_limit"
	faultServerError  fault = "server_error"
	faultCut          fault = "cut"
	faultSlowStart    fault = "slow_start"
	faultStall        fault = "stall"
	faultTruncate     fault = "truncate"
	faultMalformed    fault = "malformed"
	faultMissingUsage fault = "missing_usage"
	faultEmptyThink   fault = "empty_think"
)

type faultRate struct {
	fault fault
	rate  float64
}

// rates lists the faults in a fixed order.
func (f *Faults) rates() []faultRate {
	return []faultRate{
		{faultRateLimit, f.RateLimit}, {faultServerError, f.ServerError}, {faultCut, f.Cut}, {faultSlowStart, f.SlowStart},
		{faultStall, f.Stall}, {faultTruncate, f.Truncate}, {faultMalformed, f.Malformed}, {faultMissingUsage, f.MissingUsage},
		{faultEmptyThink, f.EmptyThink},
	}
}

// draw returns what goes wrong with an attempt.
func (f *Faults) draw(attempt string) fault {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], f.Seed)
	sum := sha256.Sum256(append(seed[:], attempt...))
	u := float64(binary.LittleEndian.Uint64(sum[:])>>11) / (1 << 53)
	for _, r := range f.rates() {
		if u < r.rate {
			return r.fault
		}
		u -= r.rate
	}
	return faultNone
}
