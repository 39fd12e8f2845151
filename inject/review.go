// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/inject/jsonpatch"
)

// Received is a pod as a request holds it, and what else the decision depends on beside the configuration.
type Received struct {
	JSON          []byte            // the pod
	NamespaceName string            // of the request; it is the pod's where the pod names none yet
	Namespace     *corev1.Namespace // that namespace; one with only a name where nothing is known of it
	Path          string            // URL path of the webhook call; may be empty
	Abandoned     func() bool       // as in Request
}

// Answer is what becomes of a received pod.
type Answer struct {
	Report Report
	// Patch is the JSON patch for the received document; empty where nothing is to be changed.
	Patch []byte
	// Pod is the pod as received; nil for an injected pod that a replica of it got the same answer for.
	Pod *corev1.Pod
}

// Review decides about a received pod, as Pod does. A pod that differs from an earlier one only in what the replicas of a
// workload differ in gets that one's answer. An error is not the user's doing.
func Review(received Received, config *Config) (Answer, error) {
	key, kept := config.answerKey(received)
	if kept {
		if found, has := config.cache.get(key.bytes); has {
			if known := found.(*knownAnswer); known.agreed {
				return Answer{Report: known.report, Patch: known.patch}, nil
			}
		}
	}
	pod, size, err := received.pod(config.settings)
	if err != nil {
		return Answer{}, err
	}
	request := Request{Pod: pod, Namespace: received.Namespace, Path: received.Path, Abandoned: received.Abandoned, size: size}
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
	if kept {
		config.keepAnswer(key, answer)
	}
	return answer, nil
}

// pod decodes the pod, without what injection never looks at. A pod of more containers or volumes than the settings allow
// is decoded without them, and its size says so.
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

// knownAnswer is the answer that one pod got. The replicas of its workload get the same when a second one was seen to:
// that their names do not matter is then not only read off the template.
type knownAnswer struct {
	report Report
	patch  []byte
	own    string // what was cut out of the pod's key
	agreed bool
}

// keepAnswer keeps the answer for a pod made by a controller, if its templates do not read what replicas differ in.
func (c *Config) keepAnswer(key answerKey, answer Answer) {
	pod := answer.Pod
	if len(answer.Report.Problems) > 0 || pod.GenerateName == "" || metav1.GetControllerOfNoCopy(pod) == nil || pod.Spec.NodeName != "" {
		return
	}
	if slices.ContainsFunc(answer.Report.Templates, func(name string) bool { return c.templates[name].volatile || c.templates[name].perReplica }) {
		return
	}
	for _, own := range []string{pod.Name, string(pod.UID), tokenVolume} {
		if own != "" && bytes.Contains(answer.Patch, []byte(own)) {
			return
		}
	}
	known := &knownAnswer{report: answer.Report, patch: bytes.Clone(answer.Patch), own: key.own, agreed: key.own == ""}
	if found, has := c.cache.get(key.bytes); has {
		first := found.(*knownAnswer)
		known.agreed = known.agreed || first.own != known.own && bytes.Equal(first.patch, answer.Patch)
	}
	c.cache.put(key.bytes, known, len(answer.Patch)+len(key.own))
}

// answerKey is what decides about the answer: the received pod without what the replicas of one workload differ in, and
// everything else that is looked at.
type answerKey struct {
	bytes []byte
	own   string // what was left out
}

// answerKey returns the key of a request; there is none for what is not the JSON of an object.
func (c *Config) answerKey(received Received) (key answerKey, ok bool) {
	if c.cache == nil {
		return key, false
	}
	spans, err := replicaSpans(received.JSON)
	if err != nil {
		return key, false
	}
	text := make([]byte, 0, len(received.JSON)+len(received.Path)+128)
	text = append(text, byte(answerLevel))
	for _, fact := range append([]string{received.NamespaceName, received.Path}, userFacts(received.Namespace)...) {
		text = fmt.Appendf(text, "%q ", fact)
	}
	var own strings.Builder
	from := 0
	for _, s := range spans {
		text = append(text, received.JSON[from:s.from]...)
		text = append(text, 0) // no byte of JSON
		own.Write(received.JSON[s.from:s.to])
		from = s.to
	}
	return answerKey{append(text, received.JSON[from:]...), own.String()}, true
}

// span is a part of a text, from its first byte to behind its last.
type span struct{ from, to int }

// replicaFields are the fields of the metadata that the replicas of a workload differ in, or that injection never looks
// at.
var replicaFields = map[string]bool{"name": true, "uid": true, "creationTimestamp": true, "managedFields": true}

// replicaSpans returns where a pod's JSON holds what the replicas of a workload differ in: fields of its metadata, and
// the name of the volume with the service account's token. They do not overlap and are sorted.
func replicaSpans(pod []byte) ([]span, error) {
	spans, err := metadataSpans(pod)
	if err != nil {
		return nil, err
	}
	spans = append(spans, tokenVolumeSpans(pod)...)
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	out := spans[:0]
	for _, s := range spans {
		if len(out) == 0 || s.from >= out[len(out)-1].to {
			out = append(out, s)
		}
	}
	return out, nil
}

// metadataSpans returns where the values of replicaFields stand.
func metadataSpans(pod []byte) (spans []span, err error) {
	_, err = members(pod, skipSpace(pod, 0), func(key []byte, value span) error {
		if string(key) != "metadata" || len(spans) > 0 {
			return nil
		}
		_, err := members(pod, value.from, func(key []byte, value span) error {
			if replicaFields[string(key)] {
				spans = append(spans, value)
			}
			return nil
		})
		return err
	})
	return spans, err
}

// tokenVolume is how the API server's ServiceAccount plugin names the volume that it adds: five random characters follow.
const tokenVolume = "kube-api-access-"

// tokenVolumeSpans returns where the random characters stand. There are none if pods name several such volumes: they
// could be told apart then.
func tokenVolumeSpans(pod []byte) []span {
	quoted := []byte(`"` + tokenVolume)
	var spans []span
	var first []byte
	for from := 0; ; {
		at := bytes.Index(pod[from:], quoted)
		if at < 0 {
			return spans
		}
		begin := from + at + len(quoted)
		end := begin + 5
		if end >= len(pod) || pod[end] != '"' {
			return nil
		}
		if first == nil {
			first = pod[begin:end]
		}
		if !bytes.Equal(first, pod[begin:end]) {
			return nil
		}
		spans = append(spans, span{begin, end})
		from = end
	}
}
