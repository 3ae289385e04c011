package main

import (
	"time"

	"retort/watch/detect"
)

// trainBuiltin writes the score that the program has before anything is calibrated:
// weights alone, without a calibration.
func (s *study) trainBuiltin(path string) error {
	src := s.source("", "")
	c, err := detect.Calibrate(func(want func(detect.Role) bool, fn func(detect.Role, *detect.Event) error) error {
		return src(func(r detect.Role) bool { return r != detect.RoleCalibrate && want(r) }, fn)
	}, detect.CalibrateOptions{Source: "none", Simulated: true, SimulatedHarvests: true, Now: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	c.Model.Scaffolds, c.Model.Centres, c.Segments, c.Took, c.Simulated = nil, nil, nil, nil, false
	return c.WriteFile(path)
}
