//go:build !linux

package recipe

import "runtime"

// cpuName is what is known of the processor.
func cpuName() string { return "a " + runtime.GOARCH + " CPU" }

// peakRSS is not known here.
func peakRSS() int64 { return 0 }
