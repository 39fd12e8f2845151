// SPDX-License-Identifier: Apache-2.0

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
	"time"

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
	const (
		head     = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"%s","operation":"CREATE","object":`
		proxy    = `{"name":"istio-proxy","image":"auto"}`
		variable = `{"name":"VARIABLE","value":"value"}`
		elements = 249_000 // one more thousand, and the pod is denied before it is decoded
	)
	// fill repeats an element so often that the body is of the largest size, or the pod nearly of the most elements; then an
	// annotation is the rest. The text before the element begins behind the pod's metadata.
	fill := func(before, element, after string) []byte {
		const metadata = `{"metadata":{"name":"app","annotations":{"fill":"`
		room := maxBody - 4096 - len(head) - len(metadata) - len(before) - len(after)
		many := min(room/(len(element)+1), elements)
		list := strings.TrimSuffix(strings.Repeat(element+",", many), ",")
		return []byte(head + metadata + strings.Repeat("x", room-len(list)) + `"}},` + before + list + after + "}}")
	}
	bodies := map[string][]byte{
		"variables":              fill(`"spec":{"containers":[{"name":"app","env":[`, variable, `]}]}}`),
		"variables, own proxy":   fill(`"spec":{"containers":[`+proxy+`,{"name":"app","env":[`, variable, `]}]}}`),
		"variables of the proxy": fill(`"spec":{"containers":[{"name":"app"},{"name":"istio-proxy","image":"auto","env":[`, variable, `]}]}}`),
		"names of variables":     fill(`"spec":{"containers":[{"name":"app","env":[`, `{"name":"V"}`, `]}]}}`),
		"mounts":                 fill(`"spec":{"containers":[{"name":"app","volumeMounts":[`, `{"name":"v","mountPath":"/"}`, `]}]}}`),
		"null mounts":            fill(`"spec":{"containers":[{"name":"app","volumeMounts":[`, `null`, `]}]}}`),
		"tolerations":            fill(`"spec":{"containers":[{"name":"app"}],"tolerations":[`, `{"operator":"Exists"}`, `]}}`),
		"empty constraints":      fill(`"spec":{"containers":[{"name":"app"}],"topologySpreadConstraints":[`, `{}`, `]}}`),
		"empty sources":          fill(`"spec":{"containers":[{"name":"app"}],"volumes":[{"name":"v","projected":{"sources":[`, `{}`, `]}}]}}`),
		"arguments":              fill(`"spec":{"containers":[{"name":"app","args":[`, `""`, `]}]}}`),
		"quantities":             fill(`"spec":{"containers":[{"name":"app","resources":{"limits":{"a":"1"`+quantities(200_000)+`}},"args":[`, `""`, `]}]}}`),
		"containers":             fill(`"spec":{"containers":[`, `{"name":"app","resources":{}}`, `]}}`),
	}
	// A pod without a name is the one whose key and generated name are empty; more elements than are allowed are not decoded.
	bodies["mounts without metadata"] = []byte(head + `{"spec":{"containers":[{"name":"app","volumeMounts":[` + strings.TrimSuffix(strings.Repeat(`{"name":"v","mountPath":"/"},`, 240_000), ",") + `]}]}}}}`)
	bodies["too many tolerations"] = []byte(head + `{"spec":{"containers":[{"name":"app"}],"tolerations":[` + strings.TrimSuffix(strings.Repeat(`{},`, 2_300_000), ",") + `]}}}}`)
	return bodies
}

// quantities returns members of a map of resources, behind another one.
func quantities(count int) string {
	var text strings.Builder
	for n := range count {
		fmt.Fprintf(&text, `,"%x":"1"`, n)
	}
	return text.String()
}

// Under a real limit of the chart's default, forty bodies of nearly 7 MiB at a time, of each of the worst kinds, from ten
// namespaces, never get the process killed. The memory is for one of them at a time, so most are refused when their timeout
// expires; none hangs, and afterwards one alone is answered.
func TestNothingIsKilledUnderTheWorstLoad(t *testing.T) {
	if underRaceDetector {
		t.Skip("the race detector multiplies memory; make test runs this without it")
	}
	if testing.Short() {
		t.Skip("it takes some minutes; run without -short")
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
			named := func(n int) []byte {
				return bytes.Replace(body, []byte(`"namespace":"%s"`), fmt.Appendf(nil, `"namespace":"ns%d"`, n%10), 1)
			}
			var sending sync.WaitGroup
			var answered, refused, closed atomic.Int64
			for n := range 40 {
				sending.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
					defer cancel()
					code, text, err := send(ctx, url, "?timeout=5s", named(n))
					switch {
					case ctx.Err() != nil:
						t.Errorf("body %d hangs: %v", n, err)
					case err != nil: // a refusal may close the connection while the body is still sent
						closed.Add(1)
					case code == http.StatusOK:
						answered.Add(1)
					case code == http.StatusInternalServerError && (strings.Contains(text, errOverloaded.Error()) || strings.Contains(text, inject.ErrAbandoned.Error())):
						refused.Add(1)
					default:
						t.Errorf("body %d: %d %.200s", n, code, text)
					}
				})
			}
			sending.Wait()
			for what, body := range map[string][]byte{"a body of the largest size": named(0), "a small review": reviewOf("small", 1<<10)} {
				if code, text, err := send(context.Background(), url, "?timeout=30s", body); err != nil || code != http.StatusOK {
					t.Errorf("%s, alone, afterwards: %d %.200s %v", what, code, text, err)
				}
			}
			t.Logf("of 40, %d were answered in time, %d refused, %d closed", answered.Load(), refused.Load(), closed.Load())
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
