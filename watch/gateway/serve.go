package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"retort/internal/wire"
)

var errMalformed = wire.ErrMalformed

// drainTime is how long a gateway that is told to stop lets answers under way come
// to their end.
const drainTime = 30 * time.Second

// Serve serves on l until ctx ends. It then refuses new requests, lets those under
// way finish for up to 30 seconds, aborts the rest, and returns nil. Every request
// needs a key, so that it may listen beyond loopback. It closes l.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	cfg := g.policy.Load().cfg
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: min(10*time.Second, cfg.Limits.receive),
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	if cfg.TLS != nil {
		pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
		if err != nil {
			l.Close()
			return cfg.src.Errorf("tls", "%v", err)
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var watched sync.WaitGroup
	watched.Go(func() { g.watchKeys(watch) })
	watched.Go(func() { g.retain(watch) })
	failed := make(chan error, 1)
	go func() {
		if cfg.TLS != nil {
			failed <- srv.ServeTLS(l, "", "")
			return
		}
		failed <- srv.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	watched.Wait()
	patience, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if g.Drain(patience) != nil {
		g.log.Warn("answers were cut: they had not come to their end in time")
	}
	goodbye, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if srv.Shutdown(goodbye) != nil {
		srv.Close() // a client does not read what it is sent
	}
	<-failed
	// Who was cut off leaves a record too.
	rest, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return g.Drain(rest)
}

// watchKeys looks every second whether the key table has changed.
func (g *Gateway) watchKeys(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := g.ring.refresh(now); err != nil {
				g.log.Error("the key table cannot be read: the one before goes on to hold", "error", err)
			}
		}
	}
}
