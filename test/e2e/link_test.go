// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is what Outrigger's connections to the API server go through, as they are, so that a test can cut them.
type link struct {
	listener net.Listener
	server   url.URL

	mu              sync.Mutex
	delay           time.Duration  // of what answers a request
	refuse          func(net.Conn) // nil = it is whole
	open            map[net.Conn]bool
	broken, refused int // connections, since it was cut
}

// toAPIServer is the one of these tests.
var toAPIServer *link

// newLink begins to forward to a server, given by its URL.
func newLink(server string) (*link, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the certificate of the API server is for this address
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, server: *parsed, open: map[net.Conn]bool{}}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go l.forward(from)
		}
	}()
	return l, nil
}

// URL is the server's, by way of the link.
func (l *link) URL() string {
	by := l.server
	by.Host = l.listener.Addr().String()
	return by.String()
}

// forward passes on what both sides say until one of them ends.
func (l *link) forward(from net.Conn) {
	to, err := net.Dial("tcp", l.server.Host)
	if err != nil {
		reset(from)
		return
	}
	if refuse := l.hold(from, to); refuse != nil {
		_ = to.Close()
		refuse(from)
		return
	}
	var both sync.WaitGroup
	var requests atomic.Int32
	for _, pass := range []func(){
		func() { passOn(to, from, func() time.Duration { requests.Add(1); return 0 }) },
		func() {
			passOn(from, to, func() time.Duration {
				if requests.Load() < 2 {
					return 0 // the server's part of the TLS handshake: clients wait ten seconds for that at most
				}
				return l.delays()
			})
		},
	} {
		both.Go(func() {
			pass()
			_ = from.Close()
			_ = to.Close()
		})
	}
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, from)
	delete(l.open, to)
}

func (l *link) delays() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay
}

// slow lets every answer arrive that much later, from now on.
func (l *link) slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

// closed refuses connections, before any was made; count says how many it refused.
func (l *link) closed() (count func() int, open func()) {
	set := func(refuse func(net.Conn)) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refuse = refuse
	}
	set(reset)
	return func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.refused }, func() { set(nil) }
}

// passOn writes to one end what the other one says, each piece after its delay, until either ends.
func passOn(to io.Writer, from io.Reader, delay func() time.Duration) {
	type piece struct {
		text []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(pieces)
	writing.Go(func() {
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.text) // where it fails, the other end ends too
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			pieces <- piece{slices.Clone(buffer[:n]), time.Now().Add(delay())}
		}
		if err != nil {
			return
		}
	}
}

// hold notes two ends that are connected; while the link is cut it returns how to refuse them instead.
func (l *link) hold(from, to net.Conn) (refuse func(net.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		l.refused++
		return l.refuse
	}
	l.open[from], l.open[to] = true, true
	return nil
}

// cut breaks every connection and refuses new ones. What it returns waits until one was refused, and lets them through again.
func (l *link) cut(t *testing.T, refuse func(net.Conn)) (restore func()) {
	t.Helper()
	up := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refuse = nil
	}
	t.Cleanup(up)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse, l.broken, l.refused = refuse, len(l.open)/2, 0
	for end := range l.open {
		reset(end)
	}
	if l.broken == 0 {
		t.Error("no connection was cut: nobody reaches the API server this way")
	}
	return func() {
		t.Helper()
		eventually(t, "Outrigger meets the gap", func() error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.refused == 0 {
				return fmt.Errorf("%d connections were cut, and no new one was refused", l.broken)
			}
			return nil
		})
		up()
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Logf("%d connections were cut, %d were refused", l.broken, l.refused)
	}
}

// reset ends a connection as one that breaks, not as one that is over.
func reset(end net.Conn) {
	if tcp, is := end.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	_ = end.Close()
}

// answer ends a connection as a load balancer without a server does: with plain HTTP.
func answer(end net.Conn) {
	defer func() { _ = end.Close() }()
	if _, err := io.WriteString(end, "HTTP/1.0 503 Service Unavailable\r\n\r\n"); err == nil {
		_, _ = io.Copy(io.Discard, end) // or what is not read yet would reset it
	}
}
