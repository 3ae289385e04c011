package constrain

import (
	"maps"
	"slices"
	"strings"
)

// Parts of the formats below.
const (
	leapYear = `(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)`
	fullDate = `(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|` + leapYear + `-02-29)`
	fullTime = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])`
	octet    = `(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	label    = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?`
	atom     = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
	group    = `[0-9A-Fa-f]{1,4}`
)

// formats are the formats that can be written as expressions. What each lets
// through is valid; leap seconds, quoted local parts and names of more than four
// labels are not let through.
var formats = map[string]string{
	"date":      fullDate,
	"time":      fullTime,
	"date-time": fullDate + `T` + fullTime,
	"duration":  `P(?:[0-9]{1,6}W|[0-9]{1,6}D(?:T[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?)?|T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S))`,
	"uuid":      `[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}`,
	"email":     atom + `(?:\.` + atom + `){0,2}@` + label + `(?:\.` + label + `){1,3}`,
	"hostname":  label + `(?:\.` + label + `){0,3}`,
	"ipv4":      octet + `(?:\.` + octet + `){3}`,
	"ipv6":      ipv6(),
}

var formatNames = strings.Join(slices.Sorted(maps.Keys(formats)), ", ")

// ipv6 is eight groups, or up to seven with one :: among them.
func ipv6() string {
	times := func(n int, what string) string { return strings.Repeat(what, n) }
	all := []string{group + times(7, ":"+group)}
	for before := range 8 {
		head := ""
		if before > 0 {
			head = group + times(before-1, ":"+group)
		}
		all = append(all, head+"::")
		for after := 1; before+after <= 7; after++ {
			all = append(all, head+"::"+group+times(after-1, ":"+group))
		}
	}
	return "(?:" + strings.Join(all, "|") + ")"
}
