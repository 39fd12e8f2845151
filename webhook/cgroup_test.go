package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"outrigger.dev/outrigger/inject"
)

// The child process of TestNothingIsKilledUnderTheWorstLoad, and what it stands for.
const (
	childVariable = "OUTRIGGER_TEST_SERVES"
	memoryLimit   = 512 << 20 // the chart's default
	caches        = 160 << 20 // what routing keeps of the pods of a large cluster
)

// serving is a configuration that injects a sidecar.
type serving struct{ config *inject.Config }

func (s serving) Current() (*inject.Config, error) { return s.config, nil }

const sidecarTemplate = `
policy: enabled
defaultTemplates: [sidecar]
templates:
  sidecar: |
    metadata:
      labels: {app: {{ .ObjectMeta.Name | default "none" | quote }}}
    spec:
      initContainers: [{name: istio-init, image: {{ .ProxyInitImage }}}]
      containers:
      - name: istio-proxy
        image: {{ .ProxyImage }}
        env: [{name: OWNER, value: "{{ .TypeMeta.Kind }}/{{ .DeploymentMeta.Name }}"}]
      volumes: [{name: istio-data, emptyDir: {}}]
`

// TestMain serves the webhook where this process is the child.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serveInChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveInChild() error {
	line, err := bufio.NewReader(os.Stdin).ReadString('\n') // the parent has put us into the cgroup
	if err != nil {
		return err
	}
	limit := LimitMemory()
	if limit != memoryLimit {
		return fmt.Errorf("the memory limit is read as %d, want %d (after %q)", limit, memoryLimit, line)
	}
	config, _, err := inject.Parse(inject.Source{Config: sidecarTemplate, Values: `{"global": {"hub": "registry.example", "tag": "1.31.1"}}`})
	if err != nil {
		return err
	}
	kept := make([]byte, caches)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	server := httptest.NewServer((&Handler{
		Namespaces: named{}, Config: serving{config}, Metrics: NewMetrics(prometheus.NewRegistry()), Log: logr.Discard(),
		Gate: NewGate(limit, runtime.GOMAXPROCS(0), prometheus.NewRegistry()),
	}).HTTP())
	defer server.Close()
	fmt.Println(server.URL)
	_, err = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent ends
	runtime.KeepAlive(kept)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return nil //nolint:nilerr // the end of the input is the end
	}
	return nil
}

// worstBodies are bodies of nearly 7 MiB that take the most memory, each in another part of a review.
func worstBodies() map[string][]byte {
	fill := func(before, element, after string) []byte {
		const head = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"%s","operation":"CREATE","object":`
		text := head + before
		many := (maxBody - 4096 - len(text) - len(after)) / (len(element) + 1)
		return []byte(text + strings.TrimSuffix(strings.Repeat(element+",", many), ",") + after + "}}")
	}
	const proxy = `{"name":"istio-proxy","image":"auto"}`
	return map[string][]byte{
		"variables":              fill(`{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app","env":[`, `{"name":"VARIABLE","value":"value"}`, `]}]}}`),
		"variables, own proxy":   fill(`{"metadata":{"name":"app"},"spec":{"containers":[`+proxy+`,{"name":"app","env":[`, `{"name":"VARIABLE","value":"value"}`, `]}]}}`),
		"variables of the proxy": fill(`{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app"},{"name":"istio-proxy","image":"auto","env":[`, `{"name":"VARIABLE","value":"value"}`, `]}]}}`),
		"mounts":                 fill(`{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app","volumeMounts":[`, `{"name":"v","mountPath":"/"}`, `]}]}}`),
		"tolerations":            fill(`{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app"}],"tolerations":[`, `{"operator":"Exists"}`, `]}}`),
		"containers":             fill(`{"metadata":{"name":"app"},"spec":{"containers":[`, `{"name":"app","resources":{}}`, `]}}`),
		"an annotation":          fill(`{"metadata":{"annotations":{"a":"`, strings.Repeat("x", 1000), `"}},"spec":{"containers":[{"name":"app"}]}}`),
	}
}

// Under a real limit of the chart's default, forty bodies of nearly 7 MiB at a time, of each of the worst kinds, from ten
// namespaces, never get the process killed, and it answers on.
func TestNothingIsKilledUnderTheWorstLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute; run without -short")
	}
	group := newCgroup(t, memoryLimit)
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childVariable+"=1", "GOGC=40")
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = input.Close(); _ = child.Wait() })
	group.add(t, child.Process.Pid)
	if _, err := fmt.Fprintln(input, "go"); err != nil {
		t.Fatal(err)
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said no address: %v", err)
	}
	url := strings.TrimSpace(address)
	for name, body := range worstBodies() {
		t.Run(name, func(t *testing.T) {
			var sending sync.WaitGroup
			var answered atomic.Int64
			for n := range 40 {
				sending.Go(func() {
					named := bytes.Replace(body, []byte(`"namespace":"%s"`), fmt.Appendf(nil, `"namespace":"ns%d"`, n%10), 1)
					// On a slow machine the timeout of some expires; the process must outlive those, too.
					if code, _, err := send(context.Background(), url, "?timeout=20s", named); err == nil && code == http.StatusOK {
						answered.Add(1)
					}
				})
			}
			sending.Wait()
			if answered.Load() == 0 {
				t.Error("none of the bodies was answered")
			}
			if code, text, err := send(context.Background(), url, "?timeout=30s", reviewOf("small", 1<<10)); err != nil || code != http.StatusOK {
				t.Errorf("a small review afterwards: %d %.200s %v", code, text, err)
			}
			t.Logf("%d of 40 were answered in time", answered.Load())
			t.Logf("the most memory so far: %d MiB of %d, killed: %d", group.peak(t)>>20, memoryLimit>>20, group.kills(t))
		})
	}
	if kills := group.kills(t); kills != 0 {
		t.Errorf("%d processes were killed for want of memory", kills)
	}
}

// cgroup is a control group of version 1 or 2 with a memory limit.
type cgroup struct {
	dir string
	v2  bool
}

// newCgroup makes one, or skips the test with what it needs.
func newCgroup(t *testing.T, limit int64) cgroup {
	t.Helper()
	for _, g := range []cgroup{{"/sys/fs/cgroup/outrigger-test-" + strconv.Itoa(os.Getpid()), true}, {"/sys/fs/cgroup/memory/outrigger-test-" + strconv.Itoa(os.Getpid()), false}} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(g.dir), map[bool]string{true: "cgroup.controllers", false: "memory.limit_in_bytes"}[g.v2])); err != nil {
			continue
		}
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(g.dir) })
		if err := os.WriteFile(filepath.Join(g.dir, g.file("memory.max", "memory.limit_in_bytes")), []byte(strconv.FormatInt(limit, 10)), 0o600); err != nil {
			continue
		}
		_ = os.WriteFile(filepath.Join(g.dir, g.file("memory.swap.max", "memory.memsw.limit_in_bytes")), []byte(map[bool]string{true: "0", false: strconv.FormatInt(limit, 10)}[g.v2]), 0o600)
		return g
	}
	t.Skip("this needs root and a writable memory controller of cgroup v1 or v2 under /sys/fs/cgroup")
	return cgroup{}
}

func (g cgroup) file(v2, v1 string) string {
	if g.v2 {
		return v2
	}
	return v1
}

func (g cgroup) add(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// peak returns the most memory that the group has had.
func (g cgroup) peak(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.file("memory.peak", "memory.max_usage_in_bytes")))
	if err != nil {
		t.Logf("the peak is not known: %v", err)
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kills returns how many processes of the group were killed for want of memory.
func (g cgroup) kills(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.file("memory.events", "memory.oom_control")))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if count, is := strings.CutPrefix(line, "oom_kill "); is {
			n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}
