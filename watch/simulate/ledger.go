package simulate

import (
	"context"
	"fmt"

	"retort/ledger"
)

// batch is how many records are appended at a time.
const batch = 512

// Write appends the population's calls to a ledger, as a gateway would have
// recorded them: accounts as hashes under key. It returns how many there were.
func (p *Population) Write(ctx context.Context, to ledger.Appender, until Until, key []byte) (int64, error) {
	var recs []ledger.Record
	n := int64(0)
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		err := to.Append(ctx, recs...)
		recs = recs[:0]
		return err
	}
	err := p.Stream(until, func(c *Call) error {
		e, err := c.Exchange(key)
		if err != nil {
			return err
		}
		e.ResponseBody, err = c.Response()
		if err != nil {
			return fmt.Errorf("simulate: call %d of %s: %w", c.Seq, c.Account.Name, err)
		}
		of, err := ledger.Records(e)
		if err != nil {
			return err
		}
		n++
		if recs = append(recs, of...); len(recs) >= batch {
			return flush()
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	return n, flush()
}
