// Package server runs a program that answers over HTTP on a port of this machine, and
// measures what clients get from ours and from a peer's.
package server

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Server is a process that answers at URL.
type Server struct {
	Cmd  *exec.Cmd
	Addr string // host and port
	URL  string
	log  string
	once sync.Once
}

// Start runs the command that is made for a free port, with what it says in the
// file log, and waits until its /health answers.
func Start(command func(port string) *exec.Cmd, log string) (*Server, error) {
	return StartAt(command, log, "/health")
}

// StartAt is Start, for a server whose health is told under another path.
func StartAt(command func(port string) *exec.Cmd, log, health string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	_, port, _ := net.SplitHostPort(addr)
	s := &Server{Cmd: command(port), Addr: addr, URL: "http://" + addr, log: log}
	s.Cmd.Stdout, s.Cmd.Stderr = out, out
	if err := s.Cmd.Start(); err != nil {
		return nil, err
	}
	for range 2400 {
		resp, err := http.Get(s.URL + health)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Stop()
	return nil, fmt.Errorf("%s does not answer:\n%s", s.Cmd.Path, s.Tail())
}

// Stop kills the process, unless Wait has seen its end.
func (s *Server) Stop() {
	s.once.Do(func() {
		s.Cmd.Process.Kill()
		s.Cmd.Wait()
	})
}

// Wait waits for the process to end by itself.
func (s *Server) Wait() (err error) {
	s.once.Do(func() { err = s.Cmd.Wait() })
	return err
}

// Tail is the end of what the server has said.
func (s *Server) Tail() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
