// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing/controller"
)

// snapshot answers reads from lists that it requests once. What the user has no permission to read, and kinds that the cluster
// does not have, count as absent and are noted.
type snapshot struct {
	client    client.Client
	strict    bool   // a list of the home namespace that is forbidden is an error
	whole     bool   // all namespaces are wanted: every kind is listed once, for all of them
	home      string // the namespace that is left where the whole cluster may not be listed
	lists     map[snapshotKey]*heldList
	sentences map[string]bool // notes other than the gaps: kinds that the cluster does not have, Istio's configuration, invalid settings
	gaps      diagnose.Gaps
	sources   *controller.Live // that read through this snapshot; nil = none yet
	objects   map[objectRead]oneObject
	others    map[listRead]othersList
	kept      *incremental // records what is read; nil if nothing is kept for a later reading
}

// oneObject is a cluster-scoped object that was read individually, or why it could not be read.
type oneObject struct {
	object client.Object
	err    error
}

// othersList is an unstructured list, or why it could not be read.
type othersList struct {
	list client.ObjectList
	err  error
}

type snapshotKey struct {
	kind      reflect.Type
	namespace string // empty for all
	selector  string
}

// snapshot returns an empty one; home is the namespace that the command is about, whole whether it is about all of them.
func (l *live) snapshot(home string, whole bool) *snapshot {
	reader := l.client
	if l.lists != nil {
		reader = l.lists
	}
	sentences := map[string]bool{}
	for _, sentence := range l.invalid {
		sentences[sentence] = true
	}
	return &snapshot{client: reader, whole: whole, home: home, lists: map[snapshotKey]*heldList{}, sentences: sentences, gaps: l.gaps}
}

// notes are the sentences about what could not be read, sorted. What the user has no permission to read is one of them.
func (s *snapshot) notes() []string {
	out := slices.Sorted(maps.Keys(s.sentences))
	if note := s.gaps.Note(s.home); note != "" {
		out = append(out, note)
	}
	return out
}

// Get finds an object in the list of its kind.
func (s *snapshot) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	kind := reflect.TypeOf(object).Elem()
	found, err := s.find(ctx, kind, key)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	noteErr := s.note(ctx, objectRead{kind, key.Namespace, key.Name}, func(ctx context.Context, s *snapshot) (any, error) {
		found, err := s.find(ctx, kind, key)
		return versionOf(found), client.IgnoreNotFound(err)
	})
	if err = cmp.Or(noteErr, err); err != nil {
		return err
	}
	out, err := found.copy()
	if err != nil {
		return err
	}
	reflect.ValueOf(object).Elem().Set(reflect.ValueOf(out).Elem())
	return nil
}

// find returns the object of a kind.
func (s *snapshot) find(ctx context.Context, kind reflect.Type, key client.ObjectKey) (item, error) {
	object := reflect.New(kind).Interface().(client.Object)
	gvk, list, err := listFor(object, s.client.Scheme())
	if err != nil || key.Namespace == "" && !s.whole {
		return s.getOne(ctx, key, object)
	}
	held, err := s.load(ctx, s.keyOf(list, key.Namespace), nil)
	if err != nil {
		return nil, err
	}
	if key.Namespace == "" && s.gaps.HidesClusterWide(gvk.Kind) {
		return s.getOne(ctx, key, object)
	}
	if found := held.find(key); found != nil {
		return found, nil
	}
	return nil, notFound(gvk, key.Name)
}

// keyOf returns the key of the list that holds the objects of a namespace.
func (s *snapshot) keyOf(list client.ObjectList, namespace string) snapshotKey {
	if s.whole {
		namespace = ""
	}
	return snapshotKey{kind: reflect.TypeOf(list), namespace: namespace}
}

func notFound(gvk schema.GroupVersionKind, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: strings.ToLower(gvk.Kind) + "s"}, name)
}

// readOne reads an object from the API server: by a list of its name, which the chart's roles permit, or else by a get, which a
// user's role may permit alone.
func readOne(ctx context.Context, cluster client.Client, key client.ObjectKey, object client.Object) error {
	gvk, list, err := listFor(object, cluster.Scheme())
	if err != nil {
		return err
	}
	err = cluster.List(ctx, list, client.InNamespace(key.Namespace), client.MatchingFields{metav1.ObjectNameField: key.Name})
	switch {
	case isForbidden(err):
		return cluster.Get(ctx, key, object)
	case err != nil:
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return notFound(gvk, key.Name)
	}
	reflect.ValueOf(object).Elem().Set(reflect.ValueOf(items[0]).Elem())
	return nil
}

// listFor returns the kind of an object, and an empty list of it.
func listFor(object client.Object, scheme *runtime.Scheme) (schema.GroupVersionKind, client.ObjectList, error) {
	gvk, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		return gvk, nil, err
	}
	list, err := scheme.New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return gvk, nil, err
	}
	return gvk, list.(client.ObjectList), nil
}

// getOne reads an object that is in no list, once. A Namespace that the user has no permission to read counts as one without labels.
func (s *snapshot) getOne(ctx context.Context, key client.ObjectKey, object client.Object) (item, error) {
	at := objectRead{reflect.TypeOf(object).Elem(), key.Namespace, key.Name}
	one, known := s.objects[at]
	if !known {
		one = oneObject{object, s.client.Get(ctx, key, object)}
		if namespace, is := object.(*corev1.Namespace); is && isForbidden(one.err) {
			s.gaps.AddObject("Namespace", "", key.Name)
			*namespace, one.err = corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}, nil
		}
		if s.objects == nil {
			s.objects = map[objectRead]oneObject{}
		}
		s.objects[at] = one
	}
	if one.err != nil {
		return nil, one.err
	}
	return wholeItem{one.object}, nil
}

// List returns what was listed before, if possible. The items are shared and must not be changed.
func (s *snapshot) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := client.ListOptions{}
	wanted.ApplyOptions(options)
	if _, partial := list.(runtime.Unstructured); partial {
		return s.listOthers(ctx, list, wanted.Namespace)
	}
	read := listRead{kind: reflect.TypeOf(list), namespace: wanted.Namespace}
	if wanted.LabelSelector != nil {
		read.selector = wanted.LabelSelector.String()
	}
	held, items, err := s.choose(ctx, read, wanted.LabelSelector)
	if err != nil {
		return err
	}
	if err := s.note(ctx, read, func(ctx context.Context, s *snapshot) (any, error) {
		return s.versions(ctx, read, wanted.LabelSelector)
	}); err != nil {
		return err
	}
	if items == nil {
		return held.fill(list)
	}
	return setItems(list, *items)
}

// choose returns the list that contains the wanted items, and these items, which are nil if all of them are wanted.
func (s *snapshot) choose(ctx context.Context, read listRead, selector labels.Selector) (*heldList, *[]item, error) {
	key := snapshotKey{kind: read.kind.(reflect.Type), namespace: read.namespace}
	if s.whole {
		key.namespace = ""
	}
	if s.isSelected(read) {
		key.selector = read.selector
	}
	held, err := s.load(ctx, key, selector)
	if err != nil || read.namespace == key.namespace && read.selector == key.selector {
		return held, nil, err
	}
	chosen, known := held.byLabels[read]
	if !known {
		chosen = held.chosen(read.namespace, selector)
		held.byLabels[read] = chosen
	}
	return held, &chosen, nil
}

// isSelected reports whether the API server selects the items, so that the list contains no others.
func (s *snapshot) isSelected(read listRead) bool {
	return !s.whole && read.namespace == "" && read.selector != ""
}

// versions returns a value that is equal for lists of equal objects. It searches for items with labels only if the list of all has changed.
func (s *snapshot) versions(ctx context.Context, read listRead, selector labels.Selector) (any, error) {
	if read.selector != "" && !s.isSelected(read) {
		all := listRead{kind: read.kind, namespace: read.namespace}
		if err := s.note(ctx, all, func(ctx context.Context, s *snapshot) (any, error) { return s.versions(ctx, all, nil) }); err != nil {
			return nil, err
		}
	}
	held, items, err := s.choose(ctx, read, selector)
	if err != nil {
		return nil, err
	}
	if items == nil {
		all := held.chosen("", nil)
		items = &all
	}
	return versionsOf(*items), nil
}

// listOthers lists a kind of another controller once. If the user has no permission, callers treat the kind as absent.
func (s *snapshot) listOthers(ctx context.Context, list client.ObjectList, namespace string) error {
	gvk := list.GetObjectKind().GroupVersionKind()
	read := listRead{kind: gvk, namespace: namespace}
	load := func(ctx context.Context, s *snapshot) othersList {
		held, known := s.others[read]
		if !known {
			held.list = &unstructured.UnstructuredList{}
			held.list.GetObjectKind().SetGroupVersionKind(gvk)
			held.err = s.client.List(ctx, held.list, client.InNamespace(namespace))
			if isForbidden(held.err) {
				s.gaps.AddKind(strings.TrimSuffix(gvk.Kind, "List"), namespace)
			}
			if s.others == nil {
				s.others = map[listRead]othersList{}
			}
			s.others[read] = held
		}
		return held
	}
	held := load(ctx, s)
	if err := s.note(ctx, read, func(ctx context.Context, s *snapshot) (any, error) {
		held := load(ctx, s)
		if isUnreadable(held.err) {
			return held.err.Error(), nil
		}
		items, err := itemsOf(held.list)
		return versionsOf(items), cmp.Or(held.err, err)
	}); err != nil || held.err != nil {
		return cmp.Or(held.err, err)
	}
	reflect.ValueOf(list).Elem().Set(reflect.ValueOf(held.list).Elem())
	return nil
}

// load lists a kind once. Without permission to list it in the whole cluster, it lists the namespace of the command.
func (s *snapshot) load(ctx context.Context, key snapshotKey, selector labels.Selector) (*heldList, error) {
	if held := s.lists[key]; held != nil {
		return held, nil
	}
	list := reflect.New(key.kind.Elem()).Interface().(client.ObjectList)
	var options []client.ListOption
	if key.selector != "" {
		options = append(options, client.MatchingLabelsSelector{Selector: selector})
	}
	items, err := s.listItems(ctx, list, append(options, client.InNamespace(key.namespace))...)
	kind := strings.TrimSuffix(key.kind.Elem().Name(), "List")
	switch {
	case err == nil:
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		s.sentences["The cluster has no kind "+kind+": Istio is not installed, or not completely."] = true
	case !isForbidden(err):
		return nil, fmt.Errorf("list %s: %w", diagnose.Plural(kind), err)
	case key.namespace == "" && s.home != "" && !slices.Contains(diagnose.ClusterKinds, kind):
		s.gaps.AddKind(kind, "")
		items, err = s.listItems(ctx, list, append(options, client.InNamespace(s.home))...)
		if s.strict && isForbidden(err) {
			return nil, mayNotList(kind, s.home, err)
		}
		if err != nil && !isForbidden(err) {
			return nil, fmt.Errorf("list %s of namespace %s: %w", diagnose.Plural(kind), s.home, err)
		}
		if err != nil {
			s.gaps.AddKind(kind, s.home)
		}
	case s.strict:
		return nil, mayNotList(kind, key.namespace, err)
	default:
		s.gaps.AddKind(kind, key.namespace)
	}
	held := &heldList{items: items, byNamespace: map[string][]item{}, byLabels: map[listRead][]item{}}
	for _, one := range items {
		held.byNamespace[one.GetNamespace()] = append(held.byNamespace[one.GetNamespace()], one)
	}
	s.lists[key] = held
	return held, nil
}

// itemLister is a client that keeps items.
type itemLister interface {
	listItems(ctx context.Context, list client.ObjectList, options ...client.ListOption) ([]item, error)
}

// listItems returns the items that the client keeps, or requests them. It may set those of the list, too.
func (s *snapshot) listItems(ctx context.Context, list client.ObjectList, options ...client.ListOption) ([]item, error) {
	if keeps, is := s.client.(itemLister); is {
		return keeps.listItems(ctx, list, options...)
	}
	if err := s.client.List(ctx, list, options...); err != nil {
		return nil, err
	}
	return itemsOf(list)
}

func isForbidden(err error) bool { return apierrors.IsForbidden(err) }

// isUnreadable reports whether the object does not exist, or the user has no permission to read it.
func isUnreadable(err error) bool { return isForbidden(err) || apierrors.IsNotFound(err) }
