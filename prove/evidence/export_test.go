package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"retort/prove/commit"
	"retort/prove/expose"
)

// Forge edits the parts of a pack and signs what comes out with the operator's own
// key, as a dishonest operator could. restate has the statements of frame and scores
// made anew, and heads those of the log, with stamps of a witness that runs at a time.
func Forge(file []byte, signer note.Signer, restate bool, heads *time.Time, edit func(data map[string][]byte)) ([]byte, error) {
	parts, err := unarchive(file)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for _, p := range parts[2:] {
		data[p.name] = p.data
	}
	var m Manifest
	if err := decode(parts[0].data, &m); err != nil {
		return nil, err
	}
	edit(data)
	if heads != nil {
		if err := repath(data); err != nil {
			return nil, err
		}
	}
	if restate || heads != nil {
		if err := reheads(data, signer, restate, heads); err != nil {
			return nil, err
		}
	}
	return seal(m, data, signer)
}

// repath gives coins the proofs of the log as it stands, if it can be read.
func repath(data map[string][]byte) error {
	var f expose.Frame
	if err := json.Unmarshal(data[partFrame], &f); err != nil {
		return err
	}
	raw, err := splitLines(data[partLog])
	if err != nil {
		return err
	}
	leaves, tree, err := commit.Replay(raw)
	if err != nil {
		return nil // it is refused in any case
	}
	coins, err := readCoins(data[partCoins])
	if err != nil {
		return err
	}
	entries, _ := f.Select(commit.Entries(leaves, f.Size))
	var lines [][]byte
	for i, e := range entries {
		c := &coins[i]
		c.Counter, c.CoinIndex, c.ArmsIndex = e.Counter, e.CoinIndex, e.ArmsIndex
		a, err := tree.Inclusion(e.CoinIndex, f.Size)
		if err != nil {
			return err
		}
		b, err := tree.Inclusion(e.ArmsIndex, f.Size)
		if err != nil {
			return err
		}
		c.CoinPath, c.ArmsPath = encodePath(a), encodePath(b)
		lines = append(lines, commit.JSON(c))
	}
	data[partCoins] = joinLines(lines)
	scored, err := expose.ParseLines(data[partScores])
	if err != nil {
		return err
	}
	for i := range scored {
		scored[i].Counter = entries[i].Counter
	}
	data[partScores] = expose.EncodeLines(scored)
	return nil
}

func reheads(data map[string][]byte, signer note.Signer, restate bool, at *time.Time) error {
	var all []head
	if err := decode(data[partHeads], &all); err != nil {
		return err
	}
	var f expose.Frame
	if err := json.Unmarshal(data[partFrame], &f); err != nil {
		return err
	}
	raw, err := splitLines(data[partLog])
	if err != nil {
		return err
	}
	var tree commit.Tree
	for _, l := range raw {
		tree.Append(l)
	}
	for i := range all {
		h := &all[i]
		text := ""
		switch {
		case h.What == expose.StateFrame && restate:
			text = expose.FrameText(&f)
		case h.What == expose.StateScores && restate:
			text = expose.ScoresText(&f, data[partScores])
		case h.What == commit.WhatHead && at != nil:
			root, err := tree.Root(tree.Size())
			if err != nil {
				return err
			}
			text = commit.Checkpoint{Log: f.Log, Size: tree.Size(), Root: root}.Text()
			h.Consistency = nil
		default:
			continue
		}
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			return err
		}
		h.Note = string(signed)
		if h.Stamp != nil {
			w, err := commit.NewWitness(func() time.Time { return *at })
			if err != nil {
				return err
			}
			if h.Stamp, err = w.Stamp(context.Background(), [32]byte(digestOf(signed))); err != nil {
				return err
			}
		}
	}
	data[partHeads] = commit.JSON(all)
	return nil
}

// Lines edits one line of a part.
func Lines(part []byte, edit func(lines []string) []string) []byte {
	lines := edit(strings.Split(strings.TrimSuffix(string(part), "\n"), "\n"))
	return []byte(strings.Join(lines, "\n") + "\n")
}

func digestOf(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}
