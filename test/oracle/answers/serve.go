// SPDX-License-Identifier: Apache-2.0

// Package answers says what Istio's own code makes of a pod or of YAML: one JSON request a line on standard input, one
// JSON answer a line on standard output.
//
// The programs beside it, istio-DATE, are this package with Istio's code of that day. It and they are modules of their
// own, so that Istio's dependencies never meet those of the product.
package answers

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"istio.io/istio/pkg/log"
)

// Main answers until the input ends.
func Main() {
	answers := os.Stdout
	os.Stdout = os.Stderr // nothing else may write between the answers
	if err := quiet(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	debug.SetGCPercent(400) // the process lives for seconds
	if err := serve(os.Stdin, answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// quiet switches Istio's log off: what it says about a request is in the answer.
func quiet() error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	return log.Configure(options)
}

// request is one line of input. Op says which of the other fields count.
type request struct {
	Op         string             `json:"op"` // "inject", "analyze", "reach", "envoy" or "configmaps"
	Inject     *injectRequest     `json:"inject,omitempty"`
	Analyze    *analyzeRequest    `json:"analyze,omitempty"`
	Reach      *reachRequest      `json:"reach,omitempty"`
	Envoy      *envoyRequest      `json:"envoy,omitempty"`
	ConfigMaps *configMapsRequest `json:"configmaps,omitempty"`
}

// answer is one line of output: Error, or the field named like the request's Op.
type answer struct {
	Error      string            `json:"error,omitempty"`
	Inject     *injectAnswer     `json:"inject,omitempty"`
	Analyze    *analyzeAnswer    `json:"analyze,omitempty"`
	Reach      *reachAnswer      `json:"reach,omitempty"`
	Envoy      *envoyAnswer      `json:"envoy,omitempty"`
	ConfigMaps *configMapsAnswer `json:"configmaps,omitempty"`
}

// serve answers line by line until the input ends.
func serve(in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var r request
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if err := answers.Encode(respond(r)); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
}

// respond answers one request; a panic of Istio's code becomes an error of this request alone.
func respond(r request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Error: fmt.Sprintf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	var err error
	switch {
	case r.Op == "inject" && r.Inject != nil:
		a.Inject, err = inject(*r.Inject)
	case r.Op == "analyze" && r.Analyze != nil:
		a.Analyze, err = analyze(*r.Analyze)
	case r.Op == "reach" && r.Reach != nil:
		a.Reach, err = reach(*r.Reach)
	case r.Op == "envoy" && r.Envoy != nil:
		a.Envoy, err = envoy(*r.Envoy)
	case r.Op == "configmaps" && r.ConfigMaps != nil:
		a.ConfigMaps, err = configMaps(*r.ConfigMaps)
	default:
		err = fmt.Errorf("op %q is unknown, or its field is absent; there are inject, analyze, reach, envoy, configmaps", r.Op)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}
