// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Replica identifies a request by what its answer depends on under one configuration. Two requests with the same Key get
// the same answer if the configuration says so (SharesAnswer): they are about replicas of one workload.
type Replica struct {
	Key     []byte // the caller's prefix, the received pod without what only identifies it, and everything else that injection reads
	Omitted string // what was left out of Key
}

// ReplicaOf returns what identifies a request. It reads the JSON of the pod without decoding it. The key begins with prefix, so
// that a caller with several configurations need not copy it.
func ReplicaOf(received Received, prefix string) Replica {
	key := make([]byte, 0, len(prefix)+len(received.JSON)+len(received.Path)+128)
	key = append(key, prefix...)
	for _, fact := range append([]string{received.NamespaceName, received.Path}, userFacts(received.Namespace)...) {
		key = fmt.Appendf(key, "%q ", fact)
	}
	var omitted strings.Builder
	from := 0
	for _, s := range replicaSpans(received.JSON) {
		key = append(key, received.JSON[from:s.from]...)
		key = append(key, 0) // does not occur in JSON
		omitted.Write(received.JSON[s.from:s.to])
		from = s.to
	}
	return Replica{append(key, received.JSON[from:]...), omitted.String()}
}

// SharesAnswer reports whether the answer depends on nothing that was left out of the replica's key. The pod must have been
// created by a controller, and its templates must not read what replicas differ in.
func (c *Config) SharesAnswer(answer Answer) bool {
	pod := answer.Pod
	if answer.Report.Result != Injected || len(answer.Report.Problems) > 0 {
		return false
	}
	if pod == nil || pod.GenerateName == "" || metav1.GetControllerOfNoCopy(pod) == nil || pod.Spec.NodeName != "" {
		return false
	}
	if slices.ContainsFunc(answer.Report.Templates, func(name string) bool { return c.templates[name].volatile || c.templates[name].perReplica }) {
		return false
	}
	return !slices.ContainsFunc([]string{pod.Name, string(pod.UID), tokenVolume}, func(text string) bool {
		return text != "" && bytes.Contains(answer.Patch, []byte(text))
	})
}

// span is a part of a text, from its first byte to the byte after its last.
type span struct{ from, to int }

// replicaFields are the metadata fields in which the replicas of a workload differ, or that injection never reads.
var replicaFields = map[string]bool{"name": true, "uid": true, "creationTimestamp": true, "managedFields": true}

// replicaSpans returns the parts of a pod's JSON in which the replicas of a workload differ: fields of its metadata, and the
// name of the volume with the service account's token. They are sorted and do not overlap.
func replicaSpans(pod []byte) []span {
	var spans []span
	gjson.GetBytes(pod, "metadata").ForEach(func(key, value gjson.Result) bool {
		if replicaFields[key.Str] {
			spans = append(spans, span{value.Index, value.Index + len(value.Raw)})
		}
		return true
	})
	spans = append(spans, tokenVolumeSpans(pod)...)
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	out := spans[:0]
	for _, s := range spans {
		if len(out) == 0 || s.from >= out[len(out)-1].to {
			out = append(out, s)
		}
	}
	return out
}

// tokenVolume is how the API server's ServiceAccount plugin names the volume that it adds: five random characters follow.
const tokenVolume = "kube-api-access-"

var tokenVolumeName = regexp.MustCompile(`"` + tokenVolume + `([^"]*)"`)

// tokenVolumeSpans returns the positions of the random characters; none if the pod has several such volumes, which could be
// distinguished by them.
func tokenVolumeSpans(pod []byte) []span {
	var spans []span
	for _, at := range tokenVolumeName.FindAllSubmatchIndex(pod, -1) {
		s := span{at[2], at[3]}
		if s.to-s.from != 5 || len(spans) > 0 && !bytes.Equal(pod[s.from:s.to], pod[spans[0].from:spans[0].to]) {
			return nil
		}
		spans = append(spans, s)
	}
	return spans
}
