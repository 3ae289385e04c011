package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"
)

// batch reads a line of a batch's output and the request that it answers. It
// returns the custom_id.
func (r *rowReader) batch(d *doc, w *row) (string, error) {
	w.last = true
	i, ok := d.find(root, "custom_id")
	if !ok || d.nodes[i].kind != '"' {
		return "", refuse(ReasonMissing, "it has no custom_id")
	}
	id := d.str(i)
	w.id, d.nodes[i].mark = id, taken
	if err := failed(d); err != nil {
		return id, err
	}
	d.take(root, "error")
	response, ok := d.anyOf(root, []string{"response"})
	if !ok {
		return id, refuse(ReasonMissing, "it has neither a response nor an error")
	}
	d.nodes[response].mark = opened
	if s, ok := d.take(response, "status_code"); ok && d.nodes[s].kind == '0' && string(d.bytes(s)) != "200" {
		what := ""
		if b, ok := d.find(response, "body"); ok {
			if e, ok := d.find(b, "error"); ok {
				what = ": " + clip(errorText(d, e))
			}
		}
		return id, refuse(ReasonFailed, "its status is %s%s", clip(string(d.bytes(s))), what)
	}
	body, ok := d.take(response, "body")
	if !ok || d.nodes[body].kind != '{' {
		return id, refuse(ReasonMissing, "its response has no body")
	}
	if r.requests == nil {
		return id, refuse(ReasonNoRequest, "batch output holds no prompts: the batch's input file is needed beside it")
	}
	raw, err := r.requests.find(id)
	if err != nil {
		return id, err
	}
	in, err := r.body.parse(raw)
	if err != nil {
		return id, refuse(ReasonNoRequest, "its request cannot be read: %v", err)
	}
	if at, ok := in.find(root, "custom_id"); !ok || in.str(at) != id {
		return id, refuse(ReasonNoRequest, "no request has the custom_id %s", quote(id))
	}
	at, ok := in.find(root, "body")
	if !ok {
		return id, refuse(ReasonNoRequest, "its request has no body")
	}
	w.request = raw
	asked, err := r.body.parse(in.bytes(at))
	if err != nil {
		return id, refuse(ReasonNoRequest, "its request cannot be read: %v", err)
	}
	if err := r.chatRequest(&asked, w); err != nil {
		return id, err
	}
	return id, w.completion(d.bodyOf(body), d.bytes(body))
}

// requests finds a batch's requests by their custom_id.
type requests struct {
	file  io.ReaderAt
	where map[uint64]place
	count int64
}

// place is where a request stands. Its id is compared when it is read, so that
// a collision of hashes is no confusion.
type place struct {
	at     int64
	length int32 // 0: several requests have this id
}

// newRequests indexes a batch's input file.
func newRequests(ctx context.Context, r io.Reader, maxRow int64) (*requests, error) {
	q := &requests{where: make(map[uint64]place)}
	if f, ok := r.(io.ReaderAt); ok && readable(r) {
		q.file = f
		if s, ok := r.(io.Seeker); ok {
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return nil, fmt.Errorf("import: requests: %w", err)
			}
		}
	} else {
		all, err := io.ReadAll(io.LimitReader(r, MaxRequests+1))
		if err != nil {
			return nil, fmt.Errorf("import: requests: %w", err)
		}
		if len(all) > MaxRequests {
			return nil, fmt.Errorf("import: the requests are longer than %d bytes: give them as a file", MaxRequests)
		}
		q.file, r = bytes.NewReader(all), bytes.NewReader(all)
	}
	s := newSplitter(r, maxRow)
	if err := s.begin(); err != nil {
		return nil, fmt.Errorf("import: requests: %w", err)
	}
	if s.layout != layoutLines {
		return nil, &FormatError{What: "the requests of a batch are JSON lines, and this file is an array"}
	}
	return q, q.index(ctx, s)
}

// readable reports whether an io.ReaderAt can be read where it stands: a pipe
// cannot, though it is an *os.File.
func readable(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return true
	}
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

func (q *requests) index(ctx context.Context, s *splitter) error {
	var p parser
	for {
		b, err := s.next(ctx, nil)
		if err != nil {
			return fmt.Errorf("import: requests: %w", err)
		}
		if b == nil {
			return nil
		}
		for _, sp := range b.rows {
			if sp.fault != nil {
				return &FormatError{What: fmt.Sprintf("line %d of the requests: %v", sp.line, sp.fault)}
			}
			d, err := p.parse(b.data[sp.start:sp.end])
			if err != nil {
				return &FormatError{What: fmt.Sprintf("line %d of the requests: %v", sp.line, err)}
			}
			id, ok := d.find(root, "custom_id")
			if !ok || d.nodes[id].kind != '"' {
				return &FormatError{What: fmt.Sprintf("line %d of the requests has no custom_id", sp.line)}
			}
			key := xxh3.HashString(d.str(id))
			at := place{b.base + int64(sp.start), int32(sp.end - sp.start)}
			if _, twice := q.where[key]; twice {
				at.length = 0
			}
			q.where[key] = at
			q.count++
		}
	}
}

// find returns the request of an id.
func (q *requests) find(id string) ([]byte, error) {
	at, ok := q.where[xxh3.HashString(id)]
	switch {
	case !ok:
		return nil, refuse(ReasonNoRequest, "no request has the custom_id %s", quote(id))
	case at.length == 0:
		return nil, refuse(ReasonDuplicateID, "several requests have the custom_id %s", quote(id))
	}
	raw := make([]byte, at.length)
	if _, err := q.file.ReadAt(raw, at.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, refuse(ReasonNoRequest, "its request cannot be read: %v", err)
	}
	return raw, nil
}
