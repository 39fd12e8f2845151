// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probe runs the probes of a container's current run until ctx ends: startup first, then readiness and liveness side
// by side. When startup or liveness has failed for good it says why on unhealthy.
func (c *container) probe(ctx context.Context, unhealthy chan<- string) {
	if startup := c.spec.StartupProbe; startup != nil && !c.awaitStartup(ctx, *startup, unhealthy) {
		return
	}
	if ctx.Err() != nil {
		return
	}
	c.setStarted(true)
	if c.spec.ReadinessProbe == nil {
		c.setReady(true)
	}
	var both sync.WaitGroup
	if readiness := c.spec.ReadinessProbe; readiness != nil {
		both.Go(func() {
			watch(ctx, *readiness, c.attempt, func(ready bool, why error) {
				if !ready {
					c.log("not ready: %v", why)
				}
				c.setReady(ready)
			})
		})
	}
	if liveness := c.spec.LivenessProbe; liveness != nil {
		both.Go(func() {
			watch(ctx, *liveness, c.attempt, func(alive bool, why error) {
				if !alive {
					tellOnce(unhealthy, fmt.Sprintf("its liveness probe failed: %v", why))
				}
			})
		})
	}
	both.Wait()
}

func (c *container) awaitStartup(ctx context.Context, probe corev1.Probe, unhealthy chan<- string) bool {
	started := false
	inner, stop := context.WithCancel(ctx)
	defer stop()
	watch(inner, probe, c.attempt, func(up bool, why error) {
		started = up
		if !up {
			tellOnce(unhealthy, fmt.Sprintf("its startup probe failed: %v", why))
		}
		stop()
	})
	return started
}

// watch makes the attempts of one probe and calls back when the thresholds say that the answer has changed; the first
// answer counts as a change.
func watch(ctx context.Context, probe corev1.Probe, attempt func(context.Context, corev1.Probe) error, change func(good bool, why error)) {
	var good, bad int32
	var known, current bool
	period := time.Duration(max(probe.PeriodSeconds, 1)) * time.Second
	for wait := time.Duration(probe.InitialDelaySeconds) * time.Second; ; wait = period {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := attempt(ctx, probe)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		if good >= max(probe.SuccessThreshold, 1) && (!known || !current) {
			known, current = true, true
			change(true, nil)
		}
		if bad >= max(probe.FailureThreshold, 1) && (!known || current) {
			known, current = true, false
			change(false, err)
		}
	}
}

func tellOnce(unhealthy chan<- string, why string) {
	select {
	case unhealthy <- why:
	default:
	}
}

// attempt makes one attempt of a probe.
func (c *container) attempt(ctx context.Context, probe corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return c.httpGet(ctx, *probe.HTTPGet)
	case probe.TCPSocket != nil:
		port, err := c.port(probe.TCPSocket.Port)
		if err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.host(probe.TCPSocket.Host), port))
		if err != nil {
			return err
		}
		return connection.Close()
	default:
		return errors.New("a probe of a kind that a local node does not make: use httpGet or tcpSocket")
	}
}

// httpGet makes a request as a kubelet does: any certificate is right, 200 to 399 is success, a redirect is an answer.
func (c *container) httpGet(ctx context.Context, action corev1.HTTPGetAction) error {
	port, err := c.port(action.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(action.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	target := scheme + "://" + net.JoinHostPort(c.host(action.Host), port) + "/" + strings.TrimPrefix(action.Path, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/local")
	for _, header := range action.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	response, err := probeClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 512))
	if err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s: %s", target, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// probeClient keeps no connection, so that no probe is answered by a process that is gone.
var probeClient = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a kubelet verifies nothing either
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (c *container) host(named string) string {
	if named == "" {
		return c.pod.local
	}
	return named
}

// port resolves a number or the name of one of the container's ports.
func (c *container) port(port intstr.IntOrString) (string, error) {
	if port.Type == intstr.Int {
		return strconv.Itoa(port.IntValue()), nil
	}
	for _, candidate := range c.spec.Ports {
		if candidate.Name == port.StrVal {
			return strconv.Itoa(int(candidate.ContainerPort)), nil
		}
	}
	if number, err := strconv.Atoi(port.StrVal); err == nil {
		return strconv.Itoa(number), nil
	}
	return "", fmt.Errorf("container %s has no port named %q", c.spec.Name, port.StrVal)
}
