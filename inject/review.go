// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject/jsonpatch"
)

// Received is the input of one review, besides the configuration: a pod as JSON, and what is known about its request.
type Received struct {
	JSON          []byte            // the pod
	NamespaceName string            // of the request; also the pod's, if the pod does not name one yet
	Namespace     *corev1.Namespace // that namespace; one with only a name if nothing else is known
	Path          string            // URL path of the webhook call; may be empty
	Abandoned     func() bool       // as in Request
	Shapes        Shapes            // as in Request
}

// Answer is the outcome of a review.
type Answer struct {
	Report Report
	// Patch is the JSON patch for the received document; empty if nothing changes.
	Patch []byte
	// Pod is the received pod, decoded.
	Pod *corev1.Pod
}

// Review decides about a received pod, as Pod does, and returns the change as a patch. An error is not caused by the user.
func Review(received Received, config *Config) (Answer, error) {
	pod, size, err := received.pod(config.settings)
	if err != nil {
		return Answer{}, err
	}
	request := Request{Pod: pod, Namespace: received.Namespace, Path: received.Path, Abandoned: received.Abandoned, Shapes: received.Shapes, size: size}
	if request.isAbandoned() {
		return Answer{}, ErrAbandoned
	}
	after, report, err := Pod(request, config)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Report: report, Pod: pod}
	if report.Result != Injected {
		return answer, nil
	}
	if request.isAbandoned() {
		return Answer{}, ErrAbandoned
	}
	operations, err := jsonpatch.Diff(received.JSON, pod, after)
	if err != nil {
		return Answer{}, fmt.Errorf("writing the patch: %w", err)
	}
	answer.Patch = jsonpatch.Encode(operations)
	return answer, nil
}

// pod decodes the pod without the parts that injection never reads. A pod with more containers or volumes than the settings
// allow is decoded without them; the returned size still counts them.
func (r Received) pod(settings Settings) (*corev1.Pod, podSize, error) {
	document, size := withinLimits(r.JSON, settings)
	pod := &corev1.Pod{}
	if err := json.Unmarshal(document, pod); err != nil {
		return nil, size, fmt.Errorf("decoding the pod of the request: %w", err)
	}
	if pod.Namespace == "" {
		pod.Namespace = r.NamespaceName
	}
	pod.ManagedFields = nil
	return pod, size, nil
}
