package reference

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a teacher that listens.
type Server struct {
	URL string // such as http://127.0.0.1:40001, without a path

	teacher *Teacher
	http    *http.Server
	stop    context.CancelFunc // ends the delays of faults
	unwatch func() bool
	done    chan struct{} // closed when Serve has returned
	served  error         // what Serve returned; valid after done
	once    sync.Once
	err     error // what Close returns
}

// Start listens on addr, such as 127.0.0.1:0, and serves until the server is
// closed or ctx ends. Beyond loopback it listens only with a key. Should it
// fail, the teacher is closed.
func (t *Teacher) Start(ctx context.Context, addr string) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, errors.Join(err, t.Close()) }
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fail(fmt.Errorf("listen on %q: want an address such as 127.0.0.1:8080: %w", addr, err))
	}
	if len(t.cfg.Keys) == 0 && !loopback(host) {
		return fail(fmt.Errorf("listen on %q: beyond loopback the teacher must ask for an API key: set keys", addr))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fail(fmt.Errorf("listen on %q: %w", addr, err))
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		URL:     "http://" + l.Addr().String(),
		teacher: t,
		stop:    stop,
		done:    make(chan struct{}),
		http: &http.Server{
			Handler:           t.Handler(),
			BaseContext:       func(net.Listener) context.Context { return base },
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.served = err
		}
	}()
	s.unwatch = context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Teacher returns the teacher that is served.
func (s *Server) Teacher() *Teacher { return s.teacher }

// Done is closed when the server has ended, by Close or by a failure.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops listening, lets answers that are under way finish for a short
// while, closes the teacher, and waits until nothing of the server runs.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.unwatch()
		s.stop()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			s.err = s.http.Close()
		}
		<-s.done
		s.err = errors.Join(s.err, s.served, s.teacher.Close())
	})
	return s.err
}
