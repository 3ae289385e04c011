// Command evidence makes evidence packs of simulated cases, flips bits in them, and
// has both verifiers judge them; see README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"retort/prove/evidence"
	"retort/prove/evidence/evidencetest"
)

// index is a line about a pack for the Python verifier.
type index struct {
	File string `json:"file"`
	Key  string `json:"key"`
	Good bool   `json:"good"`
}

func main() {
	packs := flag.Int("packs", 1000, "packs")
	flips := flag.Int("flips", 10000, "flipped bits")
	dir := flag.String("dir", "", "where packs are written")
	flag.Parse()
	if err := run(context.Background(), *packs, *flips, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "evidence:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, packs, flips int, dir string) error {
	list, err := os.Create(filepath.Join(dir, "index.jsonl"))
	if err != nil {
		return err
	}
	defer list.Close()
	out := json.NewEncoder(list)
	rng := rand.New(rand.NewPCG(1, 0xe71d))
	noticed, named, verified := 0, map[string]int{}, 0
	var spent time.Duration
	for i := range packs {
		o := evidencetest.Options{Seed: uint64(i), Coins: 20 + rng.IntN(120), Accounts: 1 + rng.IntN(5), Effect: rng.Float64() * 1.5,
			Text: i%5 == 4, Rotated: i%3 == 1, Campaigns: i%4 == 2, Others: i % 3, After: i % 7}
		if i%6 == 5 {
			o.Disclosure = evidence.DiscloseHashed
		}
		w, err := evidencetest.Make(ctx, o)
		if err != nil {
			return err
		}
		file, err := evidence.Build(w.Case)
		if err != nil {
			return fmt.Errorf("pack %d: %w", i, err)
		}
		key := w.Case.Keys.Public
		if o.Rotated && i%2 == 0 {
			key = w.First
		}
		began := time.Now()
		if _, err := evidence.Verify(file, key, nil); err != nil {
			return fmt.Errorf("pack %d: %w", i, err)
		}
		spent += time.Since(began)
		verified++
		if err := write(dir, fmt.Sprintf("%d.pack", i), file, key, true, out); err != nil {
			return err
		}
		for n := range flips/packs + 1 {
			if noticed == flips {
				break
			}
			bit := rng.IntN(len(file) * 8)
			file[bit/8] ^= 1 << (bit % 8)
			_, err := evidence.Verify(file, key, nil)
			var f *evidence.Failure
			if !errors.As(err, &f) || f.Part == "" {
				return fmt.Errorf("pack %d verifies with bit %d flipped: %v", i, bit, err)
			}
			noticed++
			named[f.Part]++
			if n == 0 {
				if err := write(dir, fmt.Sprintf("%d.flipped", i), file, key, false, out); err != nil {
					return err
				}
			}
			file[bit/8] ^= 1 << (bit % 8)
		}
	}
	fmt.Fprintf(os.Stderr, "parts named for flipped bits: %v\n", named)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"packs": verified, "flips": noticed, "verify_ms": float64(spent.Milliseconds()) / float64(verified)})
}

func write(dir, name string, file []byte, key string, good bool, out *json.Encoder) error {
	if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
		return err
	}
	return out.Encode(index{name, key, good})
}
