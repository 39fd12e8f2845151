// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"outrigger.dev/outrigger/routing"
)

// podStore keeps of every unfinished pod what routes depend on: about a hundred bytes, where a whole pod has 16 KB.
// Pods with the same labels and the same workload share one shape. A Reflector feeds it; gather reads it.
type podStore struct {
	// changed is told about a pod that came, went or changed in what is kept, by its shapes before and after, either of
	// which may be nil. It is called without the lock, and not for the first list.
	changed func(before, after *podShape)

	mutex      sync.RWMutex
	namespaces map[string]*podNamespace
	istio      map[string]int // values of the label "istio", with the number of shapes that have it
	filled     bool
}

type podNamespace struct {
	pods   map[string]*podShape // by name
	shapes map[uint64]*podShape // by hash; those with the same hash are chained
	byPair map[labelPair]map[*podShape]bool
}

// podShape is what pods have in common. All but the members is never changed.
type podShape struct {
	namespace unique.Handle[string]
	workload  unique.Handle[routing.WorkloadRef]
	sidecar   unique.Handle[sidecarShape]
	serves    bool        // false for the pods of Jobs
	labels    []labelPair // sorted by key

	hash    uint64
	next    *podShape
	members []podMember
}

type labelPair struct{ key, value unique.Handle[string] }

type podMember struct {
	name       string
	created    seconds
	readySince seconds // of a ready pod
	ready      bool
	ending     bool
}

// seconds are those since 1970, as the API has a time; 32 bits reach until 2106.
type seconds uint32

func secondsOf(t time.Time) seconds { return seconds(min(max(t.Unix(), 0), math.MaxUint32)) }

func (s seconds) time() time.Time { return time.Unix(int64(s), 0).UTC() }

// podEntry is one pod on its way from the API server into the store.
type podEntry struct {
	shape           podShape
	member          podMember
	resourceVersion string
	annotations     map[string]string // of a bookmark alone
}

func newPodStore() *podStore {
	return &podStore{changed: func(_, _ *podShape) {}, namespaces: map[string]*podNamespace{}, istio: map[string]int{}}
}

var shapeSeed = maphash.MakeSeed()

// entryOf takes out of a pod what is kept.
func entryOf(pod *corev1.Pod) *podEntry {
	workload, serves := routing.WorkloadOf(pod)
	since, ready := routing.ReadySince(pod)
	e := &podEntry{
		resourceVersion: pod.ResourceVersion,
		member: podMember{
			name: pod.Name, created: secondsOf(pod.CreationTimestamp.Time), readySince: secondsOf(since), ready: ready, ending: pod.DeletionTimestamp != nil,
		},
		shape: podShape{
			namespace: unique.Make(pod.Namespace), workload: unique.Make(workload), sidecar: sidecarOf(pod), serves: serves,
			labels: make([]labelPair, 0, len(pod.Labels)),
		},
	}
	for _, key := range slices.Sorted(maps.Keys(pod.Labels)) {
		e.shape.labels = append(e.shape.labels, pairOf(key, pod.Labels[key]))
	}
	var hash maphash.Hash
	hash.SetSeed(shapeSeed)
	maphash.WriteComparable(&hash, e.shape.workload)
	maphash.WriteComparable(&hash, e.shape.sidecar)
	for _, pair := range e.shape.labels {
		maphash.WriteComparable(&hash, pair)
	}
	e.shape.hash = hash.Sum64()
	return e
}

func pairOf(key, value string) labelPair { return labelPair{unique.Make(key), unique.Make(value)} }

// Add keeps a pod; it is a method of the Reflector's store, as the next ones are.
func (s *podStore) Add(object any) error {
	entry := object.(*podEntry)
	s.mutex.Lock()
	before, after, differs := s.put(entry)
	s.mutex.Unlock()
	if differs {
		s.changed(before, after)
	}
	return nil
}

// Update does as Add.
func (s *podStore) Update(object any) error { return s.Add(object) }

// Delete forgets a pod, by its name.
func (s *podStore) Delete(object any) error {
	entry := object.(*podEntry)
	s.mutex.Lock()
	before := s.remove(entry.shape.namespace.Value(), entry.member.name)
	s.mutex.Unlock()
	if before != nil {
		s.changed(before, nil)
	}
	return nil
}

// Replace makes the store hold exactly these pods: at the start, and after a gap in the watch.
func (s *podStore) Replace(items []any, _ string) error {
	type move struct{ before, after *podShape }
	moves := map[move]bool{}
	s.mutex.Lock()
	listed := map[string]map[string]bool{}
	for _, item := range items {
		entry := item.(*podEntry)
		namespace := entry.shape.namespace.Value()
		if listed[namespace] == nil {
			listed[namespace] = map[string]bool{}
		}
		listed[namespace][entry.member.name] = true
		if before, after, differs := s.put(entry); differs {
			moves[move{before, after}] = true
		}
	}
	for namespace, held := range s.namespaces {
		for name := range held.pods {
			if !listed[namespace][name] {
				moves[move{s.remove(namespace, name), nil}] = true
			}
		}
	}
	first := !s.filled
	s.filled = true
	s.mutex.Unlock()
	if first {
		return nil // every Service is looked at by itself
	}
	for m := range moves {
		s.changed(m.before, m.after)
	}
	return nil
}

// Resync has nothing to do.
func (s *podStore) Resync() error { return nil }

// put keeps a pod and returns its shapes before and after, and whether anything that is kept differs.
func (s *podStore) put(entry *podEntry) (before, after *podShape, differs bool) {
	namespace := s.namespace(entry.shape.namespace.Value())
	before = namespace.pods[entry.member.name]
	if before != nil && before.same(&entry.shape) {
		member := &before.members[before.indexOf(entry.member.name)]
		differs = *member != entry.member
		*member = entry.member
		return before, before, differs
	}
	if before != nil {
		s.remove(entry.shape.namespace.Value(), entry.member.name)
		namespace = s.namespace(entry.shape.namespace.Value()) // it may have been the last
	}
	after = s.shapeLike(namespace, &entry.shape)
	after.members = append(after.members, entry.member)
	namespace.pods[entry.member.name] = after
	return before, after, true
}

func (s *podStore) namespace(name string) *podNamespace {
	if s.namespaces[name] == nil {
		s.namespaces[name] = &podNamespace{pods: map[string]*podShape{}, shapes: map[uint64]*podShape{}, byPair: map[labelPair]map[*podShape]bool{}}
	}
	return s.namespaces[name]
}

// shapeLike returns the shape that is held, which it becomes if none is.
func (s *podStore) shapeLike(namespace *podNamespace, like *podShape) *podShape {
	for shape := namespace.shapes[like.hash]; shape != nil; shape = shape.next {
		if shape.same(like) {
			return shape
		}
	}
	shape := &podShape{
		namespace: like.namespace, workload: like.workload, sidecar: like.sidecar, serves: like.serves, labels: like.labels,
		hash: like.hash, next: namespace.shapes[like.hash],
	}
	namespace.shapes[shape.hash] = shape
	for _, pair := range shape.labels {
		if namespace.byPair[pair] == nil {
			namespace.byPair[pair] = map[*podShape]bool{}
		}
		namespace.byPair[pair][shape] = true
	}
	if value, has := shape.label(labelIstio); has {
		s.istio[value]++
	}
	return shape
}

// remove forgets a pod and returns the shape that it had, or nil if it was not held.
func (s *podStore) remove(in, name string) *podShape {
	namespace := s.namespaces[in]
	if namespace == nil || namespace.pods[name] == nil {
		return nil
	}
	shape := namespace.pods[name]
	delete(namespace.pods, name)
	at := shape.indexOf(name)
	shape.members = slices.Delete(shape.members, at, at+1)
	if len(shape.members) == 0 {
		s.drop(namespace, shape)
	}
	if len(namespace.pods) == 0 {
		delete(s.namespaces, in)
	}
	return shape
}

func (s *podStore) drop(namespace *podNamespace, shape *podShape) {
	chain := namespace.shapes[shape.hash]
	switch {
	case chain != shape:
		for chain.next != shape {
			chain = chain.next
		}
		chain.next = shape.next
	case shape.next != nil:
		namespace.shapes[shape.hash] = shape.next
	default:
		delete(namespace.shapes, shape.hash)
	}
	for _, pair := range shape.labels {
		if delete(namespace.byPair[pair], shape); len(namespace.byPair[pair]) == 0 {
			delete(namespace.byPair, pair)
		}
	}
	if value, has := shape.label(labelIstio); has {
		if s.istio[value]--; s.istio[value] == 0 {
			delete(s.istio, value)
		}
	}
}

// groups counts the pods of a Namespace that a selector matches, as routing.GroupPods does. An empty one matches none.
func (s *podStore) groups(namespace string, selector map[string]string, versionLabel string) []routing.PodGroup {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	type key struct {
		workload unique.Handle[routing.WorkloadRef]
		version  string
	}
	counts := map[key]*routing.PodGroup{}
	for _, shape := range s.matching(namespace, selector) {
		if !shape.serves {
			continue
		}
		version, _ := shape.label(versionLabel)
		group := counts[key{shape.workload, version}]
		if group == nil {
			group = &routing.PodGroup{Workload: shape.workload.Value(), Version: version}
			counts[key{shape.workload, version}] = group
		}
		for _, member := range shape.members {
			group.Add(member.created.time(), member.readySince.time(), member.ready, member.ending)
		}
	}
	out := make([]routing.PodGroup, 0, len(counts))
	for _, group := range counts {
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b routing.PodGroup) int {
		return cmp.Or(cmp.Compare(a.Workload.Kind, b.Workload.Kind), cmp.Compare(a.Workload.Name, b.Workload.Name), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// matching returns the shapes of a Namespace that a selector matches, found through its rarest label.
func (s *podStore) matching(in string, selector map[string]string) []*podShape {
	namespace := s.namespaces[in]
	if namespace == nil || len(selector) == 0 {
		return nil
	}
	var rarest map[*podShape]bool
	pairs := make([]labelPair, 0, len(selector))
	for key, value := range selector {
		pair := pairOf(key, value)
		pairs = append(pairs, pair)
		with := namespace.byPair[pair]
		if len(with) == 0 {
			return nil
		}
		if rarest == nil || len(with) < len(rarest) {
			rarest = with
		}
	}
	var out []*podShape
	for shape := range rarest {
		if shape.hasAll(pairs) {
			out = append(out, shape)
		}
	}
	return out
}

// labelSets returns the labels of the pods that a selector matches, by Namespace, each set once.
func (s *podStore) labelSets(selector map[string]string) map[string][]map[string]string {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	out := map[string][]map[string]string{}
	for namespace := range s.namespaces {
		for _, shape := range s.matching(namespace, selector) {
			out[namespace] = append(out[namespace], shape.labelMap())
		}
	}
	return out
}

// istioValues returns the values that the label "istio" has, sorted.
func (s *podStore) istioValues() []string {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return slices.Sorted(maps.Keys(s.istio))
}

// hasIstio reports whether any pod has a value of the label "istio".
func (s *podStore) hasIstio(value string) bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.istio[value] > 0
}

// anyWith reports whether a Namespace has a pod with all these labels.
func (s *podStore) anyWith(namespace string, labels map[string]string) bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return len(s.matching(namespace, labels)) > 0
}

// hasFilled reports whether the first list is in.
func (s *podStore) hasFilled() bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.filled
}

func (p *podShape) same(other *podShape) bool {
	return p.hash == other.hash && p.namespace == other.namespace && p.workload == other.workload && p.sidecar == other.sidecar && p.serves == other.serves &&
		slices.Equal(p.labels, other.labels)
}

func (p *podShape) hasAll(pairs []labelPair) bool {
	return !slices.ContainsFunc(pairs, func(pair labelPair) bool { return !slices.Contains(p.labels, pair) })
}

func (p *podShape) label(key string) (string, bool) {
	for _, pair := range p.labels {
		if pair.key.Value() == key {
			return pair.value.Value(), true
		}
	}
	return "", false
}

func (p *podShape) labelMap() map[string]string {
	out := make(map[string]string, len(p.labels))
	for _, pair := range p.labels {
		out[pair.key.Value()] = pair.value.Value()
	}
	return out
}

func (p *podShape) indexOf(name string) int {
	return slices.IndexFunc(p.members, func(m podMember) bool { return m.name == name })
}

// GetObjectKind makes an entry something that a Reflector takes.
func (e *podEntry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns a copy; what entries share is never changed.
func (e *podEntry) DeepCopyObject() runtime.Object { out := *e; return &out }

// GetObjectMeta returns what a Reflector reads.
func (e *podEntry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{
		Namespace: e.shape.namespace.Value(), Name: e.member.name, ResourceVersion: e.resourceVersion, Annotations: e.annotations,
	}
}
