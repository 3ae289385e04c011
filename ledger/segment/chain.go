package segment

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Damage is one place in the ledger at which something is not as it was
// written. Everything else is still read.
type Damage struct {
	File   string // name of the file within the ledger's directory
	Offset int64  // in a log: of the broken place in bytes; in an archive: the row
	First  uint64 // number in its segment of the first record that is lost or in doubt; 0 if none is
	Last   uint64 // the last such record; 0 if it is not known how many follow First
	What   string
	// Unsynced says that a crash explains it: the place lies in the last
	// write of a process that never learned whether that write was durable,
	// so that nothing acknowledged need be lost.
	Unsynced bool
}

// String names place, records and finding.
func (d Damage) String() string {
	place := fmt.Sprintf("%s offset %d", d.File, d.Offset)
	if strings.HasSuffix(d.File, archiveSuffix) {
		place = fmt.Sprintf("%s row %d", d.File, d.Offset)
	}
	switch {
	case d.First == 0:
		return fmt.Sprintf("%s: %s", place, d.What)
	case d.Last == 0:
		return fmt.Sprintf("%s: %s (records from %d)", place, d.What, d.First)
	case d.First == d.Last:
		return fmt.Sprintf("%s: %s (record %d)", place, d.What, d.First)
	}
	return fmt.Sprintf("%s: %s (records %d to %d)", place, d.What, d.First, d.Last)
}

// DamageError is returned by readers that were given no other way to tell of
// damage, after everything that could be read was delivered.
type DamageError struct{ Damage []Damage }

// Error implements error.
func (e *DamageError) Error() string {
	s := "the ledger is damaged: " + e.Damage[0].String()
	if n := len(e.Damage) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more; ledger verify lists them)", n)
	}
	return s
}

// checker follows the chain of one segment. Records come to it in the order in
// which they lie in the file; those that belong to the chain it delivers.
//
// A record that follows from the last good one is good. One that leaves a gap
// is held until the next tells what it was: if the next follows from it, the
// records of the gap are missing; if the next follows from the last good one,
// it did not belong there.
type checker struct {
	file    string
	report  func(Damage)
	deliver func(*entry, int64) error

	anchored bool   // the hash before the first record is known
	number   uint64 // of the last good record
	hash     hash   // of the last good record

	held      *entry // the record in question, if any
	heldAt    int64
	heldDoubt bool    // its own content is in doubt: it is not to be delivered
	broken    *Damage // a broken place since the last good record
}

// breakAt notes a place at which no record could be read. Of several in a row
// the first is reported.
func (c *checker) breakAt(offset int64, what string, unsynced bool) {
	if c.broken == nil {
		c.broken = &Damage{File: c.file, Offset: offset, What: what, Unsynced: unsynced}
	}
}

// unknown is the last of the missing records where it cannot be known.
const unknown = math.MaxUint64

// missing reports that records first to last are not there, with any broken
// place as the reason. If none is missing it reports the broken place alone.
func (c *checker) missing(first, last uint64, at int64) {
	d := Damage{File: c.file, Offset: at, What: "missing"}
	if c.broken != nil {
		d = *c.broken
	}
	if first <= last {
		d.First, d.Last = first, last
	}
	if last == unknown {
		d.Last = 0
	}
	c.report(d)
	c.broken = nil
}

func (c *checker) add(e *entry, at int64) error {
	if c.anchored && e.follows(c.hash, c.number) {
		if c.held != nil && !c.heldDoubt {
			c.misplaced(c.held, c.heldAt)
		}
		c.held = nil
		return c.good(e, at)
	}
	if c.held != nil && e.follows(c.held.hash, c.held.number) {
		if err := c.release(); err != nil {
			return err
		}
		return c.good(e, at)
	}
	if c.held != nil && e.number > c.held.number {
		if err := c.release(); err != nil {
			return err
		}
	}
	switch {
	case e.number <= c.number:
		c.misplaced(e, at)
		return nil
	case c.held != nil && !c.heldDoubt:
		c.misplaced(e, at)
		return nil
	case c.anchored && e.number == c.number+1:
		c.report(Damage{File: c.file, Offset: at, First: e.number, Last: e.number,
			What: "does not follow from the record before it: one of the two was altered, or it was inserted"})
		c.hold(e, at, true)
	default:
		c.hold(e, at, false)
	}
	return nil
}

func (c *checker) misplaced(e *entry, at int64) {
	c.report(Damage{File: c.file, Offset: at, First: e.number, Last: e.number,
		What: "is out of its place in the chain: moved, repeated or inserted"})
}

// hold keeps e, whose slices belong to the reader, until the next record.
func (c *checker) hold(e *entry, at int64, doubt bool) {
	held := *e
	held.rec.Head = slices.Clone(e.rec.Head)
	held.rec.Body = slices.Clone(e.rec.Body)
	c.held, c.heldAt, c.heldDoubt = &held, at, doubt
}

// release accepts the held record.
func (c *checker) release() error {
	e, at, doubt := c.held, c.heldAt, c.heldDoubt
	c.held = nil
	if doubt { // reported when it was held; the chain goes on behind it
		c.anchored, c.number, c.hash = true, e.number, e.hash
		return nil
	}
	return c.good(e, at)
}

// good delivers e, and reports what is missing before it.
func (c *checker) good(e *entry, at int64) error {
	if e.number > c.number+1 || c.broken != nil {
		c.missing(c.number+1, e.number-1, at)
	}
	c.anchored, c.number, c.hash = true, e.number, e.hash
	return c.deliver(e, at)
}

// finish ends the segment. If it was closed, records and last are what the
// closing says.
func (c *checker) finish(closed bool, records uint64, last hash, at int64) error {
	if c.held != nil {
		if err := c.release(); err != nil {
			return err
		}
	}
	switch {
	case !closed:
		if c.broken != nil {
			c.missing(c.number+1, unknown, at)
		}
	case c.number < records:
		c.missing(c.number+1, records, at)
	case c.number > records, c.anchored && !bytes.Equal(c.hash[:], last[:]):
		c.report(Damage{File: c.file, Offset: at, What: fmt.Sprintf("the segment was closed after %d records with another hash", records)})
	case c.broken != nil:
		c.missing(c.number+1, records, at)
	}
	return nil
}
