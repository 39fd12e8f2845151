// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"outrigger.dev/outrigger/test/traffic"
	"outrigger.dev/outrigger/test/traffic/load"
)

// flow is a load that runs, and the responses that it got.
type flow struct {
	way  string
	stop func()
	done chan struct{}

	mu        sync.Mutex
	responses []load.Response
	err       error
}

func (f *flow) take(r load.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.responses = append(f.responses, r)
}

// all returns the responses so far, in the order in which the requests were sent.
func (f *flow) all() []load.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.responses)
	slices.SortFunc(out, func(a, b load.Response) int { return a.Sent.Compare(b.Sent) })
	return out
}

// url is the Service's address in the mesh.
func (s *Scene) url() string { return fmt.Sprintf("http://%s.%s:8080/hello", s.Service, s.Namespace) }

// startLoads starts a load at the gateway and one in the mesh, once both ways answer. From then on, every response is checked.
func (s *Scene) startLoads() {
	s.Helper()
	s.eventually("the gateway answers", func() error { return s.answers(s.viaGateway(5)) })
	s.eventually("a pod in the mesh gets an answer", func() error { return s.answers(s.inMesh(5)) })
	s.startFlow(inMesh, func(ctx context.Context, take func(load.Response)) error {
		return s.clientLoad(ctx, take, "-rate", fmt.Sprint(*rate), s.url())
	})
	s.collect(1) // the client has started
	s.mu.Lock()
	s.record.Start = time.Now()
	s.mu.Unlock()
	s.startFlow(atGateway, func(ctx context.Context, take func(load.Response)) error {
		load.Run(ctx, s.gatewayOptions(*rate, 0), take)
		return nil
	})
	s.watch()
	s.collect(100)
}

// startFlow starts something that reports responses until its context ends.
func (s *Scene) startFlow(way string, run func(context.Context, func(load.Response)) error) {
	ctx, stop := context.WithCancel(root)
	f := &flow{way: way, stop: stop, done: make(chan struct{})}
	s.flows = append(s.flows, f)
	go func() {
		defer close(f.done)
		err := run(ctx, f.take)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}()
}

// stopLoads ends the loads and puts their responses into the record.
func (s *Scene) stopLoads() {
	if len(s.flows) == 0 {
		return
	}
	s.record.End = time.Now()
	for _, f := range s.flows {
		f.stop()
	}
	for _, f := range s.flows {
		<-f.done
		if f.err != nil && root.Err() == nil {
			s.Errorf("the load %s ended early: %v", f.way, f.err)
		}
		s.record.Ways = append(s.record.Ways, traffic.Way{Name: f.way, Responses: f.all()})
	}
	slices.SortFunc(s.record.Ways, func(a, b traffic.Way) int { return strings.Compare(a.Name, b.Name) })
	s.flows = nil
}

// collect waits until each load has this many responses to requests sent from now on, and returns them by way.
func (s *Scene) collect(count int) map[string][]load.Response {
	s.Helper()
	from := time.Now()
	out := map[string][]load.Response{}
	for _, f := range s.flows {
		s.eventually(fmt.Sprintf("%d responses %s", count, f.way), func() error {
			out[f.way] = traffic.Between(f.all(), from, time.Time{})
			if len(out[f.way]) >= count {
				return nil
			}
			select {
			case <-f.done:
				s.Fatalf("the load %s ended early: %v", f.way, f.err)
			default:
			}
			return fmt.Errorf("there are %d", len(out[f.way]))
		})
	}
	return out
}

// answers returns an error unless all responses are good.
func (s *Scene) answers(responses []load.Response, err error) error {
	if err != nil {
		return err
	}
	if counts := traffic.Count(responses); counts.Failed > 0 || counts.Total == 0 {
		return fmt.Errorf("got %s", counts)
	}
	return nil
}

func (s *Scene) gatewayOptions(perSecond int, total uint64) load.Options {
	header := http.Header{}
	if s.Host != "" {
		header.Set("Host", s.Host)
	}
	return load.Options{URL: cluster.Gateway.URL("/hello"), Header: header, PerSecond: perSecond, Total: total}
}

// burst is the rate of loads with a fixed number of requests.
const burst = 200

// viaGateway sends a number of requests to the gateway.
func (s *Scene) viaGateway(total uint64, header ...string) ([]load.Response, error) {
	options := s.gatewayOptions(burst, total)
	for _, h := range header {
		name, value, _ := strings.Cut(h, "=")
		options.Header.Add(name, value)
	}
	return send(options), root.Err()
}

func send(options load.Options) []load.Response {
	var f flow
	load.Run(root, options, f.take)
	return f.all()
}

// inMesh sends a number of requests from the client in the mesh.
func (s *Scene) inMesh(total uint64, header ...string) ([]load.Response, error) {
	args := []string{"-rate", fmt.Sprint(burst), "-total", fmt.Sprint(total)}
	for _, h := range header {
		args = append(args, "-header", h)
	}
	var f flow
	err := s.clientLoad(root, f.take, append(args, s.url())...)
	return f.all(), err
}

// clientLoad runs a load in the client's pod until it has sent all requests, or the context ends. The client's clock may differ from
// ours, so the times of its responses are moved by the difference at the beginning.
func (s *Scene) clientLoad(ctx context.Context, take func(load.Response), args ...string) error {
	command := cluster.command(context.WithoutCancel(ctx), "kubectl", append([]string{"exec", "-i", "client", "-n", s.Namespace, "-c", "client", "--", "/outrigger", "load"}, args...)...)
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	command.Stderr = &said
	if err := command.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = stdin.Close() })()
	lines := bufio.NewScanner(stdout)
	var ahead time.Duration
	for first := true; lines.Scan(); first = false {
		var r load.Response
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("the client printed %q: %w", lines.Text(), err)
		}
		if first {
			ahead = time.Since(r.Sent)
			continue
		}
		r.Sent = r.Sent.Add(ahead)
		take(r)
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("kubectl exec: %w\n%s", err, said.String())
	}
	return nil
}
