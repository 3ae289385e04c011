package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"retort/exchange"
	"retort/meter"
	"retort/workspace"
)

// secretPrefix begins every key, so that one that got out is recognised.
const secretPrefix = "rk_"

// tableVersion is the format of the key table that this program reads.
const tableVersion = 1

// Key is a key of the gateway's, as the key table holds it: its secret is there as
// a hash alone. A secret has 130 random bits, so that a plain SHA-256 is enough.
type Key struct {
	ID      string      `json:"id"`
	Account string      `json:"account"` // keyed hash
	Sum     string      `json:"sha256"`  // of the secret, in hexadecimal
	Created int64       `json:"created"` // UTC nanoseconds, as all times here
	Expires int64       `json:"expires,omitempty"`
	Revoked int64       `json:"revoked,omitempty"`
	Models  []string    `json:"models,omitempty"` // patterns; none: all
	Routes  []string    `json:"routes,omitempty"` // names; none: all
	Rates   meter.Rates `json:"rates,omitzero"`
	Spend   *Spend      `json:"spend,omitempty"`

	// The secret before the last rotation, and until when it holds.
	OldSum   string `json:"old_sha256,omitempty"`
	OldUntil int64  `json:"old_until,omitempty"`
}

// Spend is a wall: what a key's requests cost never exceeds it.
type Spend struct {
	Limit exchange.Pico `json:"limit_pico"`
	Per   string        `json:"per"` // one of Periods
}

// Periods are what a spend cap can hold for, in UTC.
var Periods = []string{"day", "month", "total"}

// Account is somebody who has keys. The name is sealed: it is read with the
// workspace's account key alone, by Reveal.
type Account struct {
	Hash string `json:"account"`
	Name []byte `json:"sealed_name"`
	Mark string `json:"mark,omitempty"` // of the last mark record

	// Until when the last attestation holds: UTC nanoseconds, 0 if there is none.
	Attested int64 `json:"attested_until,omitempty"`
}

type table struct {
	Version  int       `json:"version"`
	Keys     []Key     `json:"keys"`
	Accounts []Account `json:"accounts"`
}

// Keys is the key table of a workspace.
type Keys struct {
	ws      *workspace.Workspace
	account []byte
}

// OpenKeys opens a workspace's key table. Nothing is written before the first
// change.
func OpenKeys(ws *workspace.Workspace) (*Keys, error) {
	key, err := ws.AccountKey()
	if err != nil {
		return nil, err
	}
	return &Keys{ws: ws, account: key}, nil
}

func (k *Keys) path() string { return k.ws.Path("gateway", "keys.json") }

func (k *Keys) read() (*table, error) {
	t := &table{Version: tableVersion}
	raw, err := os.ReadFile(k.path())
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the key table: %w", err)
	}
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, fmt.Errorf("read the key table %s: %w; restore it from a backup", k.path(), err)
	}
	if t.Version != tableVersion {
		return nil, fmt.Errorf("the key table %s has version %d, this program reads version %d: use a newer one", k.path(), t.Version, tableVersion)
	}
	return t, nil
}

// change reads the table, lets fn change it and writes it whole. A gateway that is
// running sees it within a second.
func (k *Keys) change(fn func(*table) error) error {
	lock, err := k.ws.Lock("gateway-keys")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	t, err := k.read()
	if err != nil {
		return err
	}
	if err := fn(t); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("write the key table: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(k.path()), 0o755); err != nil {
		return fmt.Errorf("write the key table: %w", err)
	}
	return workspace.WriteFileAtomic(k.path(), append(raw, '\n'), 0o600)
}

// Create makes a key for an account and returns its secret, which is shown once
// and stored nowhere. Of the given key its id, account, hash and time are set here.
func (k *Keys) Create(account string, key Key, now time.Time) (Key, string, error) {
	made, secrets, err := k.CreateAll([]string{account}, key, now)
	if err != nil {
		return Key{}, "", err
	}
	return made[0], secrets[0], nil
}

// CreateAll makes a like key for each of some accounts, all of them or none.
func (k *Keys) CreateAll(accounts []string, like Key, now time.Time) (made []Key, secrets []string, err error) {
	if err := like.check(); err != nil {
		return nil, nil, err
	}
	for _, account := range accounts {
		if account == "" {
			return nil, nil, errors.New("create a key: whose? Name the account")
		}
		key, secret := like, secretPrefix+rand.Text()
		key.ID = "key_" + strings.ToLower(rand.Text()[:12])
		key.Account, key.Sum, key.Created = exchange.HashAccount(k.account, account), sumOf(secret), now.UnixNano()
		made, secrets = append(made, key), append(secrets, secret)
	}
	err = k.change(func(t *table) error {
		known := make(map[string]bool, len(t.Accounts))
		for _, a := range t.Accounts {
			known[a.Hash] = true
		}
		for i, key := range made {
			if !known[key.Account] {
				known[key.Account] = true
				name, err := k.seal(key.Account, accounts[i])
				if err != nil {
					return err
				}
				t.Accounts = append(t.Accounts, Account{Hash: key.Account, Name: name})
			}
			t.Keys = append(t.Keys, key)
		}
		return nil
	})
	return made, secrets, err
}

func (k Key) check() error {
	for _, r := range k.Routes {
		if !slices.Contains(RouteNames(), r) {
			return fmt.Errorf("there is no route %q; there are %s", r, strings.Join(RouteNames(), ", "))
		}
	}
	for _, n := range []int64{k.Rates.RequestsPerMinute, k.Rates.TokensPerMinute, k.Rates.RequestsPerDay, k.Rates.TokensPerDay} {
		if n < 0 {
			return fmt.Errorf("a rate of %d: it cannot be negative", n)
		}
	}
	if k.Spend != nil && (k.Spend.Limit <= 0 || !slices.Contains(Periods, k.Spend.Per)) {
		return fmt.Errorf("a spend cap of %s per %s: it has to be above 0, per %s", k.Spend.Limit, k.Spend.Per, strings.Join(Periods, ", "))
	}
	return (&Config{}).patterns("", k.Models)
}

// Rotate gives a key a new secret. The old one holds for a while yet.
func (k *Keys) Rotate(id string, now time.Time, grace time.Duration) (Key, string, error) {
	secret := secretPrefix + rand.Text()
	key, err := k.edit(id, func(key *Key) error {
		if key.Revoked != 0 {
			return fmt.Errorf("key %s is revoked: create another", id)
		}
		key.OldSum, key.OldUntil, key.Sum = "", 0, sumOf(secret)
		return nil
	}, func(key *Key, was Key) {
		if grace > 0 {
			key.OldSum, key.OldUntil = was.Sum, now.Add(grace).UnixNano()
		}
	})
	return key, secret, err
}

// Revoke ends a key. It stays in the table, so that records about it can be read.
func (k *Keys) Revoke(id string, now time.Time) (Key, error) {
	return k.edit(id, func(key *Key) error {
		if key.Revoked == 0 {
			key.Revoked = now.UnixNano()
		}
		return nil
	}, func(*Key, Key) {})
}

func (k *Keys) edit(id string, fn func(*Key) error, then func(key *Key, was Key)) (Key, error) {
	var out Key
	err := k.change(func(t *table) error {
		i := slices.IndexFunc(t.Keys, func(key Key) bool { return key.ID == id })
		if i < 0 {
			return fmt.Errorf("there is no key %q; `retort keys list` shows them", id)
		}
		was := t.Keys[i]
		if err := fn(&t.Keys[i]); err != nil {
			return err
		}
		then(&t.Keys[i], was)
		out = t.Keys[i]
		return nil
	})
	return out, err
}

// List returns the keys in the order in which they were made, and the accounts.
func (k *Keys) List() ([]Key, []Account, error) {
	t, err := k.read()
	if err != nil {
		return nil, nil, err
	}
	return t.Keys, t.Accounts, nil
}

// Find returns the account that a word means: its name, its hash, or the beginning
// of it, at least 8 digits, that no other account's hash has.
func (k *Keys) Find(word string) (Account, error) {
	t, err := k.read()
	if err != nil {
		return Account{}, err
	}
	hash := exchange.HashAccount(k.account, word)
	var like []Account
	for _, a := range t.Accounts {
		if a.Hash == hash {
			return a, nil
		}
		if len(word) >= 8 && strings.HasPrefix(a.Hash, word) {
			like = append(like, a)
		}
	}
	switch len(like) {
	case 1:
		return like[0], nil
	case 0:
		return Account{}, fmt.Errorf("there is no account %q; `retort keys list` shows them", word)
	}
	return Account{}, fmt.Errorf("%q begins %d accounts' hashes: give more digits", word, len(like))
}

// SetMark notes what the last mark record says about an account, for the gateway.
func (k *Keys) SetMark(hash, mark string) error {
	return k.changeAccount(hash, func(a *Account) { a.Mark = mark })
}

// SetAttested notes until when the last attestation record of an account holds.
func (k *Keys) SetAttested(hash string, until time.Time) error {
	return k.changeAccount(hash, func(a *Account) { a.Attested = until.UnixNano() })
}

func (k *Keys) changeAccount(hash string, fn func(*Account)) error {
	return k.change(func(t *table) error {
		i := slices.IndexFunc(t.Accounts, func(a Account) bool { return a.Hash == hash })
		if i < 0 {
			return fmt.Errorf("there is no account %s", hash)
		}
		fn(&t.Accounts[i])
		return nil
	})
}

// Reveal opens the sealed name of an account. Who calls it leaves an audit record
// first.
func (k *Keys) Reveal(a Account) (string, error) {
	box, err := k.box()
	if err != nil {
		return "", err
	}
	n := box.NonceSize()
	if len(a.Name) < n {
		return "", fmt.Errorf("the name of account %s is not there whole", a.Hash)
	}
	name, err := box.Open(nil, a.Name[:n], a.Name[n:], []byte(a.Hash))
	if err != nil {
		return "", fmt.Errorf("open the name of account %s: %w: it was sealed with another workspace's key", a.Hash, err)
	}
	return string(name), nil
}

func (k *Keys) seal(hash, name string) ([]byte, error) {
	box, err := k.box()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	rand.Read(nonce) // never fails
	return box.Seal(nonce, nonce, []byte(name), []byte(hash)), nil
}

// box is AES-256-GCM under a key that is derived from the account key.
func (k *Keys) box() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.account, nil, "retort account names 1", 32)
	if err != nil {
		return nil, fmt.Errorf("key for account names: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key for account names: %w", err)
	}
	return cipher.NewGCM(block)
}

func sumOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Source names an account's exchanges where consent is recorded.
func Source(account string) string { return "served:" + account }
