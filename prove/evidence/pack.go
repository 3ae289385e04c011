package evidence

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/mod/sumdb/note"

	"retort/exchange"
	"retort/prove/commit"
	"retort/prove/expose"
	"retort/prove/identity"
)

// Version is the version of packs that this program writes and reads.
const Version = 1

// The parts of a pack, in their order.
const (
	partManifest = "manifest.json"
	partNote     = "manifest.note"
	partKeys     = "keys.json"
	partTerms    = "terms.json"
	partFrame    = "frame.json"
	partLog      = "log.jsonl"
	partHeads    = "heads.json"
	partCoins    = "coins.jsonl"
	partScores   = "scores.jsonl"
	partIdentity = "identity.json"
	partResults  = "results.json"
	partReport   = "report.html"
)

var partNames = []string{partKeys, partTerms, partFrame, partLog, partHeads, partCoins, partScores, partIdentity, partResults, partReport}

// How much of the exchanges a pack discloses.
const (
	DiscloseFull   = "full"   // prompts and answers
	DiscloseHashed = "hashed" // their salted hashes alone, which stand in the log
)

// Manifest says what is in a pack.
type Manifest struct {
	Version    int    `json:"retort_evidence"`
	Made       int64  `json:"made"` // UTC nanoseconds
	Code       string `json:"code"` // version of the program that made it
	Title      string `json:"title"`
	Signer     string `json:"signer"` // public key
	Disclosure string `json:"disclosure"`
	Files      []File `json:"files"`
	Subject    []File `json:"subject,omitempty"` // the suspect's files, as they were scored; not in the pack
}

// File is a file's name, length and SHA-256.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// head is a signed head or statement with the proof that it goes on from the head
// before it.
type head struct {
	commit.Head
	Consistency []string `json:"consistency,omitempty"` // of heads: base64
}

// coin is one opened coin of the frame.
type coin struct {
	Counter   uint64      `json:"counter"`
	Seed      commit.Seed `json:"seed"`
	CoinIndex uint64      `json:"coin_index"` // of its leaves
	ArmsIndex uint64      `json:"arms_index"`
	CoinPath  []string    `json:"coin_path"` // inclusion in the frame's leaves, base64
	ArmsPath  []string    `json:"arms_path"`

	Messages []exchange.Message `json:"messages,omitempty"`
	Arms     []commit.Answer    `json:"arms,omitempty"`
}

// Case is what a pack is made of.
type Case struct {
	Title      string
	Code       string
	Disclosure string
	Made       time.Time

	Keys    *Keys
	View    *commit.View
	Frame   *expose.Frame
	Pairs   []expose.Pair // of the frame's coins, with their seeds: opened
	Lines   []expose.Line // their scores
	Terms   json.RawMessage
	Said    []identity.Result
	Roots   *x509.CertPool // of time-stamping authorities; nil: certificates are not traced
	Subject []File
}

// Build makes a pack. Everything that Verify checks is checked on the way: a case that
// would not verify is not packed.
func Build(c Case) ([]byte, error) {
	terms, err := exchange.CanonicalJSON(c.Terms)
	if err != nil {
		return nil, fmt.Errorf("evidence: the terms: %w", err)
	}
	heads, err := c.heads()
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	coins, err := c.coins()
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	x := &contents{
		manifest: Manifest{Version: Version, Made: c.Made.UnixNano(), Code: c.Code, Title: c.Title, Signer: c.Keys.Public, Disclosure: c.Disclosure, Subject: c.Subject},
		keys:     c.Keys.Rotations, frame: c.Frame, raw: c.View.Raw, heads: heads, coins: coins, lines: c.Lines, said: c.Said,
		scores: expose.EncodeLines(c.Lines),
	}
	if x.keys == nil {
		x.keys = []string{}
	}
	if x.said == nil {
		x.said = []identity.Result{}
	}
	x.trusted, err = trusted(c.Keys.Public, x.keys)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	x.roots = c.Roots
	results, err := x.compute(nil)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	page, err := render(&x.manifest, c.Frame, results)
	if err != nil {
		return nil, fmt.Errorf("evidence: the report: %w", err)
	}
	data := map[string][]byte{
		partKeys: commit.JSON(x.keys), partTerms: terms, partFrame: c.Frame.Encode(), partLog: joinLines(c.View.Raw), partHeads: commit.JSON(heads),
		partScores: x.scores, partIdentity: commit.JSON(x.said), partResults: commit.JSON(results), partReport: page,
	}
	var lines [][]byte
	for i := range coins {
		lines = append(lines, commit.JSON(&coins[i]))
	}
	data[partCoins] = joinLines(lines)
	return seal(x.manifest, data, c.Keys.Signer)
}

// seal writes the manifest, signs it, and puts everything into one file.
func seal(m Manifest, data map[string][]byte, signer note.Signer) ([]byte, error) {
	m.Files = nil
	var parts []part
	for _, name := range partNames {
		m.Files = append(m.Files, File{name, int64(len(data[name])), sha(data[name])})
		parts = append(parts, part{name, data[name]})
	}
	manifest := commit.JSON(&m)
	signed, err := note.Sign(&note.Note{Text: manifestText(manifest)}, signer)
	if err != nil {
		return nil, fmt.Errorf("evidence: sign the manifest: %w", err)
	}
	return archive(append([]part{{partManifest, manifest}, {partNote, signed}}, parts...)), nil
}

func manifestText(manifest []byte) string { return "retort/evidence\n" + sha(manifest) + "\n" }

// heads are the log's heads with proofs of consistency, and the case's statements.
func (c *Case) heads() ([]head, error) {
	out := []head{}
	before, stated := uint64(0), map[string]bool{}
	for _, h := range c.View.Heads {
		x := head{Head: h}
		x.Body = nil // the frame is a part of its own
		switch h.What {
		case commit.WhatHead:
			text, err := openByAnySigner(h.Note)
			if err != nil {
				return nil, err
			}
			cp, err := commit.ParseCheckpoint(text)
			if err != nil {
				return nil, err
			}
			if cp.Size < before { // it was signed while a later one was
				continue
			}
			if before > 0 {
				path, err := c.View.Tree.Consistency(before, cp.Size)
				if err != nil {
					return nil, err
				}
				x.Consistency = encodePath(path)
			}
			before = cp.Size
		default:
			text := textOf(h.Note)
			if h.What == expose.StateScores && text != expose.ScoresText(c.Frame, expose.EncodeLines(c.Lines)) {
				continue // another case's
			}
			if stated[text] { // whoever was cut off stated it again
				continue
			}
			stated[text] = true
		}
		out = append(out, x)
	}
	return out, nil
}

// textOf is what a note says, signed by whomever: signatures are checked by compute.
func textOf(signed string) string {
	text, _, _ := bytes.Cut([]byte(signed), []byte("\n\n"))
	return string(text) + "\n"
}

func openByAnySigner(signed string) (string, error) {
	if text := textOf(signed); text != signed {
		return text, nil
	}
	return "", errors.New("a head is no signed note")
}

func (c *Case) coins() ([]coin, error) {
	entries, _ := c.Frame.Select(c.View.Entries(c.Frame.Size))
	if len(entries) != len(c.Pairs) {
		return nil, fmt.Errorf("%d pairs for the frame's %d coins", len(c.Pairs), len(entries))
	}
	out := make([]coin, len(entries))
	for i, e := range entries {
		p := &c.Pairs[i]
		if p.Counter != e.Counter {
			return nil, fmt.Errorf("pair %d is that of coin %d, not of coin %d", i+1, p.Counter, e.Counter)
		}
		x := coin{Counter: e.Counter, Seed: p.Seed, CoinIndex: e.CoinIndex, ArmsIndex: e.ArmsIndex}
		for _, leaf := range []struct {
			index uint64
			to    *[]string
		}{{e.CoinIndex, &x.CoinPath}, {e.ArmsIndex, &x.ArmsPath}} {
			path, err := c.View.Tree.Inclusion(leaf.index, c.Frame.Size)
			if err != nil {
				return nil, err
			}
			*leaf.to = encodePath(path)
		}
		if c.Disclosure == DiscloseFull {
			x.Messages, x.Arms = p.Messages, p.Arms[:]
		}
		out[i] = x
	}
	return out, nil
}

func encodePath(path [][]byte) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = base64.StdEncoding.EncodeToString(h)
	}
	return out
}

func decodePath(path []string) ([][]byte, error) {
	out := make([][]byte, len(path))
	for i, s := range path {
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return nil, errors.New("a proof holds what is no hash")
		}
		out[i] = b
	}
	return out, nil
}

func joinLines(lines [][]byte) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.Write(l)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func splitLines(b []byte) ([][]byte, error) {
	var lines [][]byte
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !bytes.Equal(joinLines(lines), b) {
		return nil, errors.New("it is not one line after the other")
	}
	return lines, nil
}

func sha(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// decode reads a part into v, and refuses every form but commit.JSON's.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if !bytes.Equal(commit.JSON(v), b) {
		return errors.New("it is not in canonical form")
	}
	return nil
}

// near reports whether two logarithms are the same figure.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(a)) }
