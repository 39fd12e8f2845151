// SPDX-License-Identifier: Apache-2.0

// Command validation answers what the API server's own validation says of pods: one JSON object a line on standard input,
// {"op": "validate", "validate": POD}, one a line on standard output, {"validate": ["spec.containers[0].image: Required value", …]}.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podapi "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // the conversions and defaults of core/v1
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/capabilities"
)

func main() {
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true}) // as clusters run it: --allow-privileged
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "Error: "+err.Error())
		os.Exit(1)
	}
}

// serve answers until the input ends.
func serve(in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var request struct {
			Validate json.RawMessage `json:"validate"`
		}
		if err := requests.Decode(&request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		faults, err := validate(request.Validate)
		answer := map[string]any{"validate": faults}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
}

// validate returns what the API server would say of the creation of a pod, after its defaults.
func validate(raw []byte) ([]string, error) {
	external := &corev1.Pod{}
	if err := json.Unmarshal(raw, external); err != nil {
		return nil, fmt.Errorf("decoding the pod: %w", err)
	}
	stored(external)
	legacyscheme.Scheme.Default(external)
	pod := &core.Pod{}
	if err := legacyscheme.Scheme.Convert(external, pod, nil); err != nil {
		return nil, fmt.Errorf("converting the pod: %w", err)
	}
	podapi.DropDisabledPodFields(pod, nil)
	options := podapi.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)
	options.ResourceIsPod = true
	faults := []string{}
	for _, fault := range validation.ValidatePodCreate(pod, options) {
		faults = append(faults, fault.Error())
	}
	return faults, nil
}

// stored fills in what the API server does before it validates.
func stored(pod *corev1.Pod) {
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	pod.ManagedFields = nil
	if pod.Name == "" && pod.GenerateName != "" {
		pod.Name = pod.GenerateName + "x2x7k"
	}
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.UID, pod.CreationTimestamp = "11111111-2222-3333-4444-666666666666", metav1.Now()
}
