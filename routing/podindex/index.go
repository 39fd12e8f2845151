// SPDX-License-Identifier: Apache-2.0

package podindex

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"unique"

	"outrigger.dev/outrigger/routing"
)

// istioLabel is the label by which Istio's gateways are known.
const istioLabel = "istio"

// Index keeps what routes depend on of every unfinished pod: about a hundred bytes, where a whole pod has 16 KB. Pods with
// the same labels and the same workload share one Shape. A reflector writes to it; all its methods may be called at any time.
type Index struct {
	// Changed is called for a pod that was added, deleted, or changed, with its shapes before and after, either of which
	// may be nil. It is called without the lock, and not for the first list.
	Changed func(before, after *Shape)

	mutex      sync.RWMutex
	namespaces map[string]*namespaceIndex
	istio      map[string]int // values of the label "istio", with the number of shapes that have it
	filled     bool
}

type namespaceIndex struct {
	pods   map[string]*Shape // by name
	shapes map[shapeKey]*Shape
	byPair map[labelPair]map[*Shape]bool
}

// New returns an empty Index.
func New() *Index {
	return &Index{Changed: func(_, _ *Shape) {}, namespaces: map[string]*namespaceIndex{}, istio: map[string]int{}}
}

// Add stores a pod. It implements cache.ReflectorStore, like the methods that follow.
func (s *Index) Add(object any) error {
	entry := object.(*Entry)
	s.mutex.Lock()
	before, after, differs := s.put(entry)
	s.mutex.Unlock()
	if differs {
		s.Changed(before, after)
	}
	return nil
}

// Update stores a pod, like Add.
func (s *Index) Update(object any) error { return s.Add(object) }

// Delete removes a pod by its name.
func (s *Index) Delete(object any) error {
	entry := object.(*Entry)
	s.mutex.Lock()
	before := s.remove(entry.shape.namespace.Value(), entry.member.name)
	s.mutex.Unlock()
	if before != nil {
		s.Changed(before, nil)
	}
	return nil
}

// Replace makes the index hold exactly these pods: at the start, and after a gap in the watch.
func (s *Index) Replace(items []any, _ string) error {
	type move struct{ before, after *Shape }
	moves := map[move]bool{}
	s.mutex.Lock()
	listed := map[string]map[string]bool{}
	for _, item := range items {
		entry := item.(*Entry)
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
		return nil // every Service is reconciled at the start
	}
	for m := range moves {
		s.Changed(m.before, m.after)
	}
	return nil
}

// Resync does nothing.
func (s *Index) Resync() error { return nil }

// put stores a pod and returns its shapes before and after, and whether anything that is kept differs.
func (s *Index) put(entry *Entry) (before, after *Shape, differs bool) {
	namespace := s.namespace(entry.shape.namespace.Value())
	before = namespace.pods[entry.member.name]
	if before != nil && before.shapeKey == entry.shape.shapeKey {
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
	after.add(entry.member)
	namespace.pods[entry.member.name] = after
	return before, after, true
}

func (s *Index) namespace(name string) *namespaceIndex {
	if s.namespaces[name] == nil {
		s.namespaces[name] = &namespaceIndex{pods: map[string]*Shape{}, shapes: map[shapeKey]*Shape{}, byPair: map[labelPair]map[*Shape]bool{}}
	}
	return s.namespaces[name]
}

// shapeLike returns the shape that equals like. It adds one if there is none.
func (s *Index) shapeLike(namespace *namespaceIndex, like *Shape) *Shape {
	if shape := namespace.shapes[like.shapeKey]; shape != nil {
		return shape
	}
	shape := &Shape{shapeKey: like.shapeKey, labels: like.labels}
	namespace.shapes[like.shapeKey] = shape
	for _, pair := range shape.labels {
		if namespace.byPair[pair] == nil {
			namespace.byPair[pair] = map[*Shape]bool{}
		}
		namespace.byPair[pair][shape] = true
	}
	if value, has := shape.Label(istioLabel); has {
		s.istio[value]++
	}
	return shape
}

// remove deletes a pod and returns the shape that it had, or nil if there is no such pod.
func (s *Index) remove(in, name string) *Shape {
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

func (s *Index) drop(namespace *namespaceIndex, shape *Shape) {
	delete(namespace.shapes, shape.shapeKey)
	for _, pair := range shape.labels {
		if delete(namespace.byPair[pair], shape); len(namespace.byPair[pair]) == 0 {
			delete(namespace.byPair, pair)
		}
	}
	if value, has := shape.Label(istioLabel); has {
		if s.istio[value]--; s.istio[value] == 0 {
			delete(s.istio, value)
		}
	}
}

// Groups counts the pods of a Namespace that a selector matches, as routing.GroupPods does. An empty one matches none.
func (s *Index) Groups(namespace string, selector map[string]string, versionLabel string) []routing.PodGroup {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	type key struct {
		workload unique.Handle[routing.WorkloadRef]
		version  string
	}
	counts, restarts := map[key]*routing.PodGroup{}, map[*routing.PodGroup]map[string]int{}
	for _, shape := range s.matching(namespace, selector) {
		if !shape.serves {
			continue
		}
		version, _ := shape.Label(versionLabel)
		group := counts[key{shape.workload, version}]
		if group == nil {
			group = &routing.PodGroup{Workload: shape.workload.Value(), Version: version}
			counts[key{shape.workload, version}] = group
		}
		for _, member := range shape.members {
			group.Add(member.created.time(), member.readySince.time(), member.ready, member.ending)
			if member.restarts > 0 && !member.ending {
				if restarts[group] == nil {
					restarts[group] = map[string]int{}
				}
				restarts[group][member.name] = int(member.restarts)
			}
		}
		if shape.anyStays() {
			group.AddTemplate(routing.TemplateOf(func(key string) string { value, _ := shape.Label(key); return value }))
		}
	}
	out := make([]routing.PodGroup, 0, len(counts))
	for _, group := range counts {
		group.SetRestarts(restarts[group])
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b routing.PodGroup) int {
		return cmp.Or(cmp.Compare(a.Workload.Kind, b.Workload.Kind), cmp.Compare(a.Workload.Name, b.Workload.Name), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// matching returns the shapes of a Namespace that a selector matches, found through its rarest label.
func (s *Index) matching(in string, selector map[string]string) []*Shape {
	namespace := s.namespaces[in]
	if namespace == nil || len(selector) == 0 {
		return nil
	}
	var rarest map[*Shape]bool
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
	var out []*Shape
	for shape := range rarest {
		if shape.hasAll(pairs) {
			out = append(out, shape)
		}
	}
	return out
}

// LabelSets returns the labels of the pods that a selector matches, by Namespace, each set once.
func (s *Index) LabelSets(selector map[string]string) map[string][]map[string]string {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	out := map[string][]map[string]string{}
	for namespace := range s.namespaces {
		for _, shape := range s.matching(namespace, selector) {
			out[namespace] = append(out[namespace], shape.Labels())
		}
	}
	return out
}

// IstioValues returns the values that the label "istio" has, sorted.
func (s *Index) IstioValues() []string {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return slices.Sorted(maps.Keys(s.istio))
}

// HasIstio reports whether any pod has a value of the label "istio".
func (s *Index) HasIstio(value string) bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.istio[value] > 0
}

// Any reports whether a Namespace has a pod with all these labels.
func (s *Index) Any(namespace string, labels map[string]string) bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return len(s.matching(namespace, labels)) > 0
}

// HasSynced reports whether the first list is complete.
func (s *Index) HasSynced() bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.filled
}
