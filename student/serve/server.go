package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// ErrNeedsKey means that a server would listen beyond loopback without asking
// for an API key.
var ErrNeedsKey = errors.New("listening beyond loopback needs an API key")

// drainTime is how long a server that is told to stop lets answers under way
// come to their end.
const drainTime = 15 * time.Second

// closeTime is how long it then waits for clients to read what they are sent.
const closeTime = 5 * time.Second

// Serve serves on l until ctx ends. It then refuses new requests, lets those
// under way finish for up to 15 seconds, and returns nil. It closes l; the
// engine stays open, drained.
func (e *Engine) Serve(ctx context.Context, l net.Listener) error {
	if !loopback(l.Addr()) && len(e.opt.APIKeys) == 0 {
		l.Close()
		return fmt.Errorf("serve on %s: %w: give one, or listen on 127.0.0.1", l.Addr(), ErrNeedsKey)
	}
	cut, cutAll := context.WithCancelCause(context.Background())
	defer cutAll(nil)
	srv := &http.Server{
		Handler:           e.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return cut },
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if e.Drain(patience) != nil {
		cutAll(errClosed) // the handlers still at work answer with this
	}
	goodbye, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := srv.Shutdown(goodbye)
	if err != nil {
		err = srv.Close() // a client does not read what it is sent
	}
	<-failed
	if err != nil {
		return fmt.Errorf("stop serving on %s: %w", l.Addr(), err)
	}
	return nil
}

// loopback reports whether only this machine can reach the address.
func loopback(a net.Addr) bool {
	if a.Network() == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
