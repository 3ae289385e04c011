package gateway

import (
	"os"
	"sync"
	"time"

	"retort/exchange"
	"retort/meter"
)

// keyring is the key table as the gateway uses it: by hash, with what each key has
// used.
type keyring struct {
	keys *Keys

	mu    sync.RWMutex
	stamp time.Time // of the file that was read
	size  int64
	bySum map[string]*keyState
	byID  map[string]*keyState
	held  map[string]Account     // by hash
	caps  map[capOf]*meter.Quota // of rules that cap
	used  map[string][]pastUse   // before the gateway started, by key; nil once restored
}

type capOf struct{ account, rule string }

// pastUse is a request that was answered before the gateway started.
type pastUse struct {
	at     time.Time
	tokens int64
	cost   exchange.Pico
}

// keyState is a key and what it has used.
type keyState struct {
	quota *meter.Quota

	mu     sync.Mutex
	key    Key
	budget *meter.Budget
	period string // that the budget is of
	limit  exchange.Pico
}

func newKeyring(keys *Keys) *keyring {
	return &keyring{keys: keys, byID: map[string]*keyState{}, caps: map[capOf]*meter.Quota{}, used: map[string][]pastUse{}}
}

// note remembers what a key used before the gateway started.
func (k *keyring) note(e *exchange.Exchange) {
	k.used[e.KeyID] = append(k.used[e.KeyID], pastUse{time.Unix(0, e.Times.Queued), e.Usage.Input + e.Usage.Output, e.Cost})
}

// refresh reads the table again if its file has changed.
func (k *keyring) refresh(now time.Time) error {
	info, err := os.Stat(k.keys.path())
	var stamp time.Time
	var size int64
	switch {
	case err == nil:
		stamp, size = info.ModTime(), info.Size()
	case !os.IsNotExist(err):
		return err
	}
	k.mu.RLock()
	same := k.bySum != nil && stamp.Equal(k.stamp) && size == k.size
	k.mu.RUnlock()
	if same {
		return nil
	}
	t, err := k.keys.read()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stamp, k.size = stamp, size
	k.bySum, k.held = map[string]*keyState{}, map[string]Account{}
	for _, a := range t.Accounts {
		k.held[a.Hash] = a
	}
	for _, key := range t.Keys {
		s := k.byID[key.ID]
		if s == nil {
			s = &keyState{quota: meter.NewQuota(key.Rates)}
			for _, u := range k.used[key.ID] {
				s.quota.Note(u.at, now, u.tokens)
			}
			k.byID[key.ID] = s
		}
		s.quota.SetRates(key.Rates)
		s.mu.Lock()
		s.key = key
		s.mu.Unlock()
		k.bySum[key.Sum] = s
		if key.OldSum != "" {
			k.bySum[key.OldSum] = s
		}
	}
	return nil
}

// find returns the state of the key that a secret is of, whose it is, and why it
// does not hold, or nil if there is none.
func (k *keyring) find(secret string, now time.Time) (s *keyState, key Key, holder Account, why string) {
	sum := sumOf(secret)
	k.mu.RLock()
	defer k.mu.RUnlock()
	if s = k.bySum[sum]; s == nil {
		return nil, Key{}, Account{}, ""
	}
	s.mu.Lock()
	key = s.key
	s.mu.Unlock()
	switch t := now.UnixNano(); {
	case key.Revoked != 0:
		why = "it is revoked"
	case key.Expires != 0 && t >= key.Expires:
		why = "it has expired"
	case sum != key.Sum && t >= key.OldUntil:
		why = "it was rotated: use the new one"
	}
	return s, key, k.held[key.Account], why
}

// capped returns the quota of an account under a rule that caps.
func (k *keyring) capped(account string, r *Rule) *meter.Quota {
	k.mu.Lock()
	defer k.mu.Unlock()
	rates := meter.Rates{RequestsPerMinute: r.RPM, TokensPerMinute: r.TPM}
	q := k.caps[capOf{account, r.Name}]
	if q == nil {
		q = meter.NewQuota(rates)
		k.caps[capOf{account, r.Name}] = q
	}
	q.SetRates(rates)
	return q
}

// spend returns the budget of the key's present period, nil if it has no cap.
func (k *keyring) spend(s *keyState, key *Key, now time.Time) *meter.Budget {
	if key.Spend == nil {
		return nil
	}
	period := periodOf(key.Spend.Per, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget == nil || s.period != period || s.limit != key.Spend.Limit {
		spent := exchange.PicoSum{}
		switch {
		case s.budget != nil && s.period == period: // another limit
			spent = s.budget.Spent()
			spent.AddSum(s.budget.Reserved())
		default:
			for _, u := range k.used[key.ID] {
				if periodOf(key.Spend.Per, u.at) == period {
					spent.Add(u.cost)
				}
			}
		}
		s.budget, s.period, s.limit = meter.NewBudget(key.Spend.Limit), period, key.Spend.Limit
		s.budget.ChargeSum(spent)
	}
	return s.budget
}

// periodOf names the period that a time is in.
func periodOf(per string, t time.Time) string {
	switch per {
	case "day":
		return t.UTC().Format(time.DateOnly)
	case "month":
		return t.UTC().Format("2006-01")
	}
	return per
}
