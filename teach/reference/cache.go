package reference

import (
	"crypto/sha256"
	"sync"
	"time"
)

// promptCache remembers beginnings of prompts that clients asked to be cached,
// as real providers do: what is read from it costs less than other input, what
// is written to it more. It has no least size.
type promptCache struct {
	mu    sync.Mutex
	until map[[32]byte]time.Time
}

// cachePoint is an end of a beginning of a prompt that is to be cached.
type cachePoint struct {
	prefix [32]byte
	tokens int64 // of the beginning
	long   bool  // for an hour rather than five minutes
}

// point makes a cachePoint of the texts of a prompt up to it.
func point(texts []string, ttl string) cachePoint {
	h := sha256.New()
	hashTexts(h, texts)
	p := cachePoint{prefix: [32]byte(h.Sum(nil)), long: ttl == "1h"}
	for _, text := range texts {
		p.tokens += int64(1 + CountTokens(text))
	}
	return p
}

// serve finds the longest beginning that is known, and writes the rest up to
// the last point. It notes in u what was read and written.
func (c *promptCache) serve(points []cachePoint, u *BillUsage, now time.Time) {
	if len(points) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil {
		c.until = make(map[[32]byte]time.Time)
	}
	done := int64(0)
	for _, p := range points {
		n := min(p.tokens, u.Input)
		known := now.Before(c.until[p.prefix])
		switch {
		case n <= done:
		case known:
			u.CachedInput, u.CacheWrite, u.CacheWriteLong = n, 0, 0
		case p.long:
			u.CacheWriteLong += n - done
		default:
			u.CacheWrite += n - done
		}
		done = max(done, n)
		life := 5 * time.Minute
		if p.long {
			life = time.Hour
		}
		c.until[p.prefix] = now.Add(life)
	}
}
