package detect

import _ "embed"

// The score that ranks before anything is calibrated: trained on simulated accounts
// by `bench/detect/run --train`.
//
//go:embed builtin.json
var builtinModel []byte

func builtin() (*Calibration, error) { return parseCalibration("of the program", builtinModel) }
