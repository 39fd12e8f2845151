// SPDX-License-Identifier: Apache-2.0

// Package oracle asks Istio's own code what it would answer: its injector, all its analyzers, its charts; and the API
// server's own validation what it says of a pod.
//
// Each runs as a process built from a module of its own (folders istio-DATE and validation), so that their dependencies
// meet neither the product's nor those of the tests.
package oracle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// State is a state of Istio's code that can be had.
type State struct {
	Folder  string // of the program's module
	Release string // of Istio that behaves as it does, where its charts do not say so; may be empty
}

// The states, the newest last.
var (
	April  = State{Folder: "istio-20260423", Release: "1.30.0"} // before 1.31 changed Prometheus targets and image types
	August = State{Folder: "istio-20260827"}
)

// APIServer is the API server's validation of pods. It answers Validate alone.
var APIServer = State{Folder: "validation"}

// Oracle is a running process. Its methods may be called from several goroutines; they wait for each other.
type Oracle struct {
	mu      sync.Mutex
	in      io.WriteCloser
	answers *json.Decoder
}

// Start starts the newest state.
func Start(t testing.TB) *Oracle {
	t.Helper()
	return August.Start(t)
}

// Start builds the process where it is not in the cache yet, starts it, and stops it when the test ends.
func (s State) Start(t testing.TB) *Oracle {
	t.Helper()
	binary, err := s.build()
	if err != nil {
		t.Fatalf("building the oracle: %v", err)
	}
	command := exec.Command(binary)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatalf("starting the oracle: %v", err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatalf("starting the oracle: %v", err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("starting the oracle: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the process ends with its input
		if err := command.Wait(); err != nil {
			t.Errorf("the oracle ended with: %v", err)
		}
	})
	return &Oracle{in: in, answers: json.NewDecoder(out)}
}

// Inject asks Istio's webhook.
func (o *Oracle) Inject(r Review) (Verdict, error) {
	var answer Verdict
	return answer, o.ask("inject", r, &answer)
}

// AnalyzeYAML runs all of Istio's analyzers and validations over the YAML documents of a whole cluster and returns
// what they find. Every object needs a namespace. It is an error if an analyzer was skipped.
func (o *Oracle) AnalyzeYAML(documents string) ([]Finding, error) {
	var answer struct {
		Messages []Finding `json:"messages"`
		Skipped  []string  `json:"skipped"`
	}
	if err := o.ask("analyze", map[string]string{"yaml": documents}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Skipped) > 0 {
		return nil, fmt.Errorf("these analyzers were skipped: %s", strings.Join(answer.Skipped, ", "))
	}
	return answer.Messages, nil
}

// Reach starts istiod's discovery server over the YAML documents of a whole cluster and says where each call goes.
func (o *Oracle) Reach(documents string, calls []Call) ([]Outcome, error) {
	var answer struct {
		Outcomes []Outcome `json:"outcomes"`
	}
	if err := o.ask("reach", map[string]any{"yaml": documents, "calls": calls}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Outcomes) != len(calls) {
		return nil, fmt.Errorf("%d calls have %d outcomes", len(calls), len(answer.Outcomes))
	}
	return answer.Outcomes, nil
}

// Envoy validates Istio's objects as its webhook does, and as Envoy does what istiod's discovery server generates from them
// for the callers' proxies. The documents are the rest of the cluster.
func (o *Oracle) Envoy(documents string, objects []json.RawMessage, callers []Caller) (Validity, error) {
	var answer Validity
	return answer, o.ask("envoy", map[string]any{"yaml": documents, "objects": objects, "callers": callers}, &answer)
}

// Validity is what is wrong with Istio's objects and with the configuration that is generated from them.
type Validity struct {
	Istio []string `json:"istio"` // errors of Istio's validation
	Envoy []string `json:"envoy"` // violations of Envoy's rules
	// Listeners, Clusters and Routes count the messages that were checked.
	Listeners int `json:"listeners"`
	Clusters  int `json:"clusters"`
	Routes    int `json:"routes"`
}

// Faults returns everything that is wrong, each with the name of the program that rejects it.
func (v Validity) Faults() []string {
	var out []string
	for _, fault := range v.Istio {
		out = append(out, "Istio rejects "+fault)
	}
	for _, fault := range v.Envoy {
		out = append(out, "Envoy rejects "+fault)
	}
	return out
}

// ConfigMaps renders Istio's charts as istioctl does, from an IstioOperator document (may be empty).
func (o *Oracle) ConfigMaps(operator string) (ConfigMaps, error) {
	var answer ConfigMaps
	return answer, o.ask("configmaps", map[string]string{"operator": operator}, &answer)
}

// Validate returns what the API server finds wrong in a pod that is created, after its defaults; nothing if it is accepted.
func (o *Oracle) Validate(pod []byte) ([]string, error) {
	var faults []string
	return faults, o.ask("validate", json.RawMessage(pod), &faults)
}

// ConfigMaps holds the texts that an injector reads from the cluster.
type ConfigMaps struct {
	Config string `json:"config"` // key "config" of ConfigMap istio-sidecar-injector
	Values string `json:"values"` // key "values" of the same
	Mesh   string `json:"mesh"`   // key "mesh" of ConfigMap istio
}

// Review is one admission review, and the istiod that it goes to.
type Review struct {
	ConfigMaps
	Pod                  json.RawMessage   `json:"pod"` // as the API server sends it
	Namespace            string            `json:"namespace"`
	NamespaceLabels      map[string]string `json:"namespaceLabels,omitempty"`
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitempty"`
	Path                 string            `json:"path,omitempty"`     // URL path; "/inject" if empty
	NativeSidecars       string            `json:"nativeSidecars"`     // "enabled", "disabled", "auto"
	Nodes                map[string]string `json:"nodes,omitempty"`    // kubelet version by node name, for "auto"
	Platform             string            `json:"platform,omitempty"` // "openshift" or empty
	CompliancePolicy     string            `json:"compliancePolicy,omitempty"`
	Revision             string            `json:"revision,omitempty"`
	ProxyConfigs         string            `json:"proxyConfigs,omitempty"` // ProxyConfig resources, YAML documents
}

// Verdict is what Istio answers to a review.
type Verdict struct {
	Allowed bool            `json:"allowed"`
	Message string          `json:"message"` // why not, if not allowed
	Patch   json.RawMessage `json:"patch"`   // empty if the pod is left alone
	Pod     json.RawMessage `json:"pod"`     // the received pod with the patch applied
}

// Finding is one message of an analyzer.
type Finding struct {
	Code     string `json:"code"`     // "IST0101"
	Level    string `json:"level"`    // "Error", "Warning", "Info"
	Message  string `json:"message"`  //
	Resource string `json:"resource"` // "VirtualService demo/reviews"
}

// String returns the finding as istioctl prints it.
func (f Finding) String() string {
	return fmt.Sprintf("%s [%s] (%s) %s", f.Level, f.Code, f.Resource, f.Message)
}

// Call is a request or a connection that a proxy is asked to make.
type Call struct {
	From    Caller            `json:"from"`
	Address string            `json:"address,omitempty"` // cluster IP that a sidecar's pod connects to
	Port    int32             `json:"port"`
	TCP     bool              `json:"tcp,omitempty"` // no HTTP is spoken; the fields below do not count
	Host    string            `json:"host,omitempty"`
	Path    string            `json:"path,omitempty"` // with its query; "/" if empty
	Headers map[string]string `json:"headers,omitempty"`
}

// Caller is the pod whose proxy makes a call.
type Caller struct {
	Gateway   bool              `json:"gateway,omitempty"` // an ingress gateway, not a sidecar
	Namespace string            `json:"namespace"`
	Address   string            `json:"address"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Outcome is where a call goes.
type Outcome struct {
	Refused string    `json:"refused"` // why it goes nowhere; empty if it goes somewhere
	Rule    string    `json:"rule"`    // name of the route that it takes
	Path    string    `json:"path"`    // as the pod receives it
	To      []Portion `json:"to"`
	Mirrors []Portion `json:"mirrors"`
}

// Portion is a cluster of Envoy's and its part of the calls.
type Portion struct {
	Cluster   string   `json:"cluster"`
	Percent   float64  `json:"percent"`
	Missing   bool     `json:"missing"`   // the proxy has no such cluster: every call fails
	Endpoints []string `json:"endpoints"` // addresses that take calls; none: every call fails
	SetCookie string   `json:"setCookie"` // added to the answer
}

// ask sends one request and decodes the answer's field of the same name.
func (o *Oracle) ask(op string, request, answer any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := json.NewEncoder(o.in).Encode(map[string]any{"op": op, op: request}); err != nil {
		return fmt.Errorf("asking the oracle: %w", err)
	}
	var line map[string]json.RawMessage
	if err := o.answers.Decode(&line); err != nil {
		return fmt.Errorf("reading the oracle's answer: %w", err)
	}
	if refused, bad := line["error"]; bad {
		var text string
		if err := json.Unmarshal(refused, &text); err != nil {
			return fmt.Errorf("reading the oracle's error: %w", err)
		}
		return errors.New(text)
	}
	return json.Unmarshal(line[op], answer)
}

func (s State) what() string {
	if s == APIServer {
		return "the API server's validation"
	}
	return "Istio's injector and analyzers, " + s.Folder + ","
}

// building keeps two tests of one process from building side by side.
var building sync.Mutex

// build makes the process's binary and returns its path: in the user's cache folder, under a key of its sources.
func (s State) build() (string, error) {
	building.Lock()
	defer building.Unlock()
	folder, err := ownFolder()
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, s.Folder)
	key, err := keyOf(program, filepath.Join(folder, "answers"))
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, "oracle", s.Folder+"-"+key)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "building %s for comparison (once; some minutes on 2 cores from an empty cache)\n", s.what())
	unfinished := fmt.Sprintf("%s.%d", binary, os.Getpid())
	defer func() { _ = os.Remove(unfinished) }()
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", unfinished, ".")
	command.Dir = program
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in %s: %w\n%s", program, err, output)
	}
	return binary, os.Rename(unfinished, binary)
}

// ownFolder finds this package's folder from wherever in this module the test runs.
func ownFolder() (string, error) {
	output, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "outrigger.dev/outrigger/test").Output()
	if err != nil {
		return "", fmt.Errorf("finding the folder of module outrigger.dev/outrigger/test: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(output)), "oracle"), nil
}

// keyOf returns a text that differs when the files of the folders, the Go version or the platform do.
func keyOf(folders ...string) (string, error) {
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, folder := range folders {
		files, err := os.ReadDir(folder) // sorted by name
		if err != nil {
			return "", err
		}
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(folder, file.Name()))
			if err != nil {
				return "", err
			}
			_, _ = fmt.Fprintln(hash, file.Name(), len(content))
			hash.Write(content)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// cacheFolder is Outrigger's folder in the user's cache; OUTRIGGER_CACHE names another.
func cacheFolder() (string, error) {
	if folder := os.Getenv("OUTRIGGER_CACHE"); folder != "" {
		return folder, nil
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "outrigger"), nil
}
