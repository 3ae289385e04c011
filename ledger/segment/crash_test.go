package segment_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"retort/ledger/ledgertest"
	"retort/ledger/segment"
)

type store struct{ *segment.Store }

func (s store) Seal(ctx context.Context) error {
	_, err := s.Store.Seal(ctx)
	if errors.Is(err, segment.ErrSealing) {
		return nil
	}
	return err
}

func TestHarness(t *testing.T) { harness(t, false) }

// TestHarnessWithSpaceSetAside does the same where logs have free space behind them.
func TestHarnessWithSpaceSetAside(t *testing.T) { harness(t, true) }

func harness(t *testing.T, raw bool) {
	const dir = "work/ledger"
	ledgertest.Run(t, ledgertest.Subject{
		Open: func(fs vfs.FS) (ledgertest.Store, error) {
			s, err := segment.Open(dir, segment.Option{FS: fs, SegmentBytes: 24 << 10, Raw: raw})
			return store{s}, err
		},
		Verify: func(fs vfs.FS) error {
			rep, err := segment.Verify(context.Background(), dir, segment.Option{FS: fs})
			if err == nil && !rep.OK() {
				err = &segment.DamageError{Damage: rep.Damage}
			}
			return err
		},
	})
}
