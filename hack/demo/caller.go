// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"outrigger.dev/outrigger/hack/localnode"
)

const (
	sendEvery = 10 * time.Millisecond
	readEvery = 200 * time.Millisecond
)

// caller replaces the callers' sidecars: it sends requests to the pods of checkout according to the weights in its VirtualService.
type caller struct {
	routes  dynamic.ResourceInterface
	pods    func(context.Context) ([]corev1.Pod, error)
	address func(podIP string) string // at which the pod's process listens
	targets string                    // file with the addresses of the pods, for the metrics server
	client  http.Client

	mutex     sync.Mutex
	shares    shares
	addresses map[string]string // of a ready pod, by version
	responses map[string]int    // by version and status: "v2 500"
}

func newCaller(config *rest.Config, node *localnode.Node, targets string) (*caller, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &caller{
		routes: objects.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace(checkout),
		pods: func(ctx context.Context) ([]corev1.Pod, error) {
			list, err := client.CoreV1().Pods(checkout).List(ctx, metav1.ListOptions{LabelSelector: "app=" + checkout})
			if err != nil {
				return nil, err
			}
			return list.Items, nil
		},
		address: node.Address, targets: targets,
		client: http.Client{Timeout: 2 * time.Second}, responses: map[string]int{},
	}, nil
}

// run sends requests until the context ends.
func (c *caller) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for ctx.Err() == nil {
			_ = c.read(context.WithoutCancel(ctx)) // the next attempt follows soon
			sleep(ctx, readEvery)
		}
	})
	ticks := time.NewTicker(sendEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if version, url := c.next(); url != "" {
			all.Go(func() { c.send(ctx, version, url) })
		}
	}
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// read reads the route and the pods.
func (c *caller) read(ctx context.Context) error {
	ctx, stop := context.WithTimeout(logr.NewContext(ctx, logr.Discard()), 2*time.Second) // client-go would log a timeout, after which run tries again
	defer stop()
	route, err := c.routes.Get(ctx, checkout, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := c.pods(ctx)
	if err != nil {
		return err
	}
	addresses := map[string]string{}
	var targets []string
	for _, pod := range pods {
		isReady := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if at := c.address(pod.Status.PodIP); at != "" && isReady && pod.DeletionTimestamp == nil {
			addresses[pod.Labels["version"]] = net.JoinHostPort(at, "8080")
			targets = append(targets, net.JoinHostPort(at, "8080"))
		}
	}
	c.mutex.Lock()
	c.addresses = addresses
	c.shares = c.shares.with(percentagesOf(route))
	c.mutex.Unlock()
	return os.WriteFile(c.targets, []byte(strings.Join(targets, "\n")), 0o600)
}

// percentagesOf returns the weights of the last rule of a route, which has no match.
func percentagesOf(route *unstructured.Unstructured) map[string]int {
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "http")
	if len(rules) == 0 {
		return nil
	}
	rule, _ := rules[len(rules)-1].(map[string]any)
	destinations, _, _ := unstructured.NestedSlice(rule, "route")
	out := map[string]int{}
	for _, destination := range destinations {
		to, _ := destination.(map[string]any)
		version, _, _ := unstructured.NestedString(to, "destination", "subset")
		weight, has, _ := unstructured.NestedInt64(to, "weight")
		if !has && len(destinations) == 1 {
			weight = 100 // a single destination needs no weight
		}
		out[version] = int(weight)
	}
	return out
}

// next returns the version of the next request, and the URL of one of its pods; none if there is no route or no pod.
func (c *caller) next() (version, url string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	version = c.shares.next()
	if address := c.addresses[version]; address != "" {
		url = "http://" + address + "/hello"
	}
	return version, url
}

func (c *caller) send(ctx context.Context, version, url string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	result := "no response"
	if response, err := c.client.Do(request); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		result = fmt.Sprint(response.StatusCode)
	}
	if ctx.Err() != nil {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.responses[version+" "+result]++
}

// await waits until a version has sent a number of responses.
func (c *caller) await(ctx context.Context, version string, count int) error {
	for deadline := time.Now().Add(patience); ; {
		c.mutex.Lock()
		got := c.responses[version+" 200"]
		c.mutex.Unlock()
		switch {
		case got >= count:
			return nil
		case ctx.Err() != nil || time.Now().After(deadline):
			return fmt.Errorf("%s has sent %d of %d responses within %v: %s", version, got, count, patience, c)
		}
		sleep(ctx, readEvery)
	}
}

// String returns the responses by version and status: "v1 200: 950, v2 200: 38, v2 500: 2".
func (c *caller) String() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(c.responses)) {
		parts = append(parts, fmt.Sprintf("%s: %d", kind, c.responses[kind]))
	}
	return strings.Join(parts, ", ")
}

// shares chooses versions by weighted round robin: of any hundred requests, each version gets its percentage.
type shares struct {
	percentages, credits map[string]int
}

// with returns the shares with other percentages; the same if they are equal.
func (s shares) with(percentages map[string]int) shares {
	if maps.Equal(s.percentages, percentages) {
		return s
	}
	return shares{percentages: percentages, credits: map[string]int{}}
}

// next returns the version of the next request, or "" without any.
func (s shares) next() (chosen string) {
	total := 0
	for _, version := range slices.Sorted(maps.Keys(s.percentages)) {
		total += s.percentages[version]
		s.credits[version] += s.percentages[version]
		if s.percentages[version] > 0 && (chosen == "" || s.credits[version] > s.credits[chosen]) {
			chosen = version
		}
	}
	if chosen != "" {
		s.credits[chosen] -= total
	}
	return chosen
}
