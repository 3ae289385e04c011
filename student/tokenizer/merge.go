package tokenizer

import "container/heap"

// shortWord is the length in symbols up to which looking at every pair for
// every merge is faster than a queue.
const shortWord = 48

// mergeWord applies the merges to the bytes of one word: always the pair of the
// lowest rank, the leftmost of equals, until no pair has a merge.
func (t *Tokenizer) mergeWord(word string) []int32 {
	symbols := make([]int32, 0, len(word))
	for i := range len(word) {
		if id := t.bytes[word[i]]; id >= 0 {
			symbols = append(symbols, id)
		}
	}
	if len(symbols) <= shortWord {
		return t.mergeShort(symbols)
	}
	return t.mergeLong(symbols)
}

func (t *Tokenizer) mergeShort(symbols []int32) []int32 {
	for len(symbols) > 1 {
		at := -1
		var best ranked
		for i := range len(symbols) - 1 {
			if r, ok := t.ranks[pairKey(symbols[i], symbols[i+1])]; ok && (at < 0 || r.rank < best.rank) {
				at, best = i, r
			}
		}
		if at < 0 {
			break
		}
		symbols[at] = best.result
		symbols = append(symbols[:at+1], symbols[at+2:]...)
	}
	return symbols
}

// mergeLong does the same in O(n log n): symbols are a linked list and possible
// merges wait in a queue by rank and position. A queued pair that has changed
// since is recognised when it comes up.
func (t *Tokenizer) mergeLong(symbols []int32) []int32 {
	n := len(symbols)
	prev, next := make([]int, n), make([]int, n) // -1 and n: no neighbour; a removed symbol has next < 0
	for i := range n {
		prev[i], next[i] = i-1, i+1
	}
	q := make(mergeQueue, 0, n)
	offer := func(i int) {
		if i < 0 || next[i] >= n {
			return
		}
		left, right := symbols[i], symbols[next[i]]
		if r, ok := t.ranks[pairKey(left, right)]; ok {
			q = append(q, pendingMerge{r, i, left, right})
		}
	}
	for i := range n - 1 {
		offer(i)
	}
	heap.Init(&q)
	push := func(i int) {
		before := len(q)
		if offer(i); len(q) > before {
			heap.Fix(&q, before)
		}
	}
	for len(q) > 0 {
		m := heap.Pop(&q).(pendingMerge)
		i := m.at
		if next[i] < 0 || symbols[i] != m.left || next[i] >= n || symbols[next[i]] != m.right {
			continue
		}
		j := next[i]
		symbols[i] = m.result
		next[i] = next[j]
		if next[j] < n {
			prev[next[j]] = i
		}
		next[j] = -1
		push(prev[i])
		push(i)
	}
	out := symbols[:0]
	for i := 0; i < n; i = next[i] {
		out = append(out, symbols[i])
	}
	return out
}

type pendingMerge struct {
	ranked
	at          int
	left, right int32
}

type mergeQueue []pendingMerge

func (q mergeQueue) Len() int { return len(q) }
func (q mergeQueue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].at < q[j].at
}
func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *mergeQueue) Push(x any)   { *q = append(*q, x.(pendingMerge)) }
func (q *mergeQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
