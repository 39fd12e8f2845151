// SPDX-License-Identifier: Apache-2.0

package podindex

import (
	"crypto/sha256"
	"maps"
	"math"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"outrigger.dev/outrigger/routing"
)

// Shape is what similar pods have in common. Only its members ever change.
type Shape struct {
	shapeKey
	labels  []labelPair // sorted by key
	members []member
}

// shapeKey is equal for similar pods.
type shapeKey struct {
	namespace unique.Handle[string]
	workload  unique.Handle[routing.WorkloadRef]
	sidecar   unique.Handle[sidecarShape]
	serves    bool              // false for the pods of Jobs
	digest    [sha256.Size]byte // of the labels; their text would take five times the memory
}

type labelPair struct{ key, value unique.Handle[string] }

type member struct {
	name       string
	created    seconds
	readySince seconds // of a ready pod
	restarts   uint16  // the most of any container; it takes no memory, between the other fields
	ready      bool
	ending     bool
}

// seconds are those since 1970, as the API has a time; 32 bits reach until 2106.
type seconds uint32

func secondsOf(t time.Time) seconds { return seconds(min(max(t.Unix(), 0), math.MaxUint32)) }

func (s seconds) time() time.Time { return time.Unix(int64(s), 0).UTC() }

// Entry is one pod on its way from the API server into the index.
type Entry struct {
	shape           Shape // without members
	member          member
	resourceVersion string
}

// EntryOf returns what the index keeps of a pod.
func EntryOf(pod *corev1.Pod) *Entry {
	workload, serves := routing.WorkloadOf(pod)
	since, ready := routing.ReadySince(pod)
	e := &Entry{
		resourceVersion: pod.ResourceVersion,
		member: member{
			name: pod.Name, created: secondsOf(pod.CreationTimestamp.Time), readySince: secondsOf(since), ready: ready, ending: pod.DeletionTimestamp != nil,
			restarts: uint16(min(routing.RestartsOf(pod), math.MaxUint16)), //nolint:gosec // at most its maximum
		},
		shape: Shape{
			shapeKey: shapeKey{
				namespace: unique.Make(pod.Namespace), workload: unique.Make(workload), sidecar: sidecarOf(pod), serves: serves,
				digest: sha256.Sum256([]byte(labels.FormatLabels(pod.Labels))),
			},
			labels: make([]labelPair, 0, len(pod.Labels)),
		},
	}
	for _, key := range slices.Sorted(maps.Keys(pod.Labels)) {
		e.shape.labels = append(e.shape.labels, pairOf(key, pod.Labels[key]))
	}
	return e
}

func pairOf(key, value string) labelPair { return labelPair{unique.Make(key), unique.Make(value)} }

// Namespace returns the Namespace of the pods.
func (p *Shape) Namespace() string { return p.namespace.Value() }

// Matches reports whether the pods have all labels of a selector, which matches all pods if it is empty.
func (p *Shape) Matches(selector map[string]string) bool {
	for key, value := range selector {
		if !slices.Contains(p.labels, pairOf(key, value)) {
			return false
		}
	}
	return true
}

func (p *Shape) hasAll(pairs []labelPair) bool {
	return !slices.ContainsFunc(pairs, func(pair labelPair) bool { return !slices.Contains(p.labels, pair) })
}

// Label returns the value of a label.
func (p *Shape) Label(key string) (string, bool) {
	for _, pair := range p.labels {
		if pair.key.Value() == key {
			return pair.value.Value(), true
		}
	}
	return "", false
}

// Labels returns a copy of the labels.
func (p *Shape) Labels() map[string]string {
	out := make(map[string]string, len(p.labels))
	for _, pair := range p.labels {
		out[pair.key.Value()] = pair.value.Value()
	}
	return out
}

// anyStays reports whether any of the pods is not terminating.
func (p *Shape) anyStays() bool {
	return slices.ContainsFunc(p.members, func(m member) bool { return !m.ending })
}

// add adds a pod. Most shapes have few pods, so it grows the slice by an eighth: append would double it.
func (p *Shape) add(m member) {
	if count := len(p.members); count == cap(p.members) {
		p.members = append(make([]member, 0, count+1+count/8), p.members...)
	}
	p.members = append(p.members, m)
}

func (p *Shape) indexOf(name string) int {
	return slices.IndexFunc(p.members, func(m member) bool { return m.name == name })
}

// GetObjectKind implements runtime.Object, which a reflector requires.
func (e *Entry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy; what entries share is never changed.
func (e *Entry) DeepCopyObject() runtime.Object { out := *e; return &out }

// GetObjectMeta implements metav1.ObjectMetaAccessor, which a reflector requires.
func (e *Entry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.shape.namespace.Value(), Name: e.member.name, ResourceVersion: e.resourceVersion}
}
