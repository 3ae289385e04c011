package trial

import "golang.org/x/sys/windows"

// processorSeconds is the processor time that this process has used, over all its
// threads.
func processorSeconds() float64 {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user); err != nil {
		return 0
	}
	seconds := func(t windows.Filetime) float64 {
		return (float64(t.HighDateTime)*(1<<32) + float64(t.LowDateTime)) / 1e7
	}
	return seconds(kernel) + seconds(user)
}
