// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
)

// find reads an object. Its type is named as for kubectl: singular, plural, short name, or RESOURCE.GROUP.
func (l *live) find(from *clusterFlags, kind, name string) (*unstructured.Unstructured, error) {
	mapper, err := from.kube.flags().ToRESTMapper()
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	switch mapping, err := mappingFor(mapper, kind); {
	case err == nil && mapping.Scope.Name() == meta.RESTScopeNameRoot:
		return nil, notExplained(mapping.GroupVersionKind.Kind, name)
	case err != nil && !meta.IsNoMatchError(err): // the next request would fail as well
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, l.namespace, name, err)
	}
	infos, err := resource.NewBuilder(from.kube.flags()).Unstructured().NamespaceParam(l.namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(false, kind, name).Do().Infos()
	if _, unknown := mappingFor(mapper, kind); err != nil && meta.IsNoMatchError(unknown) {
		return nil, notThere("read %s %s/%s: %v", kind, l.namespace, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, l.namespace, name, err)
	}
	if len(infos) != 1 {
		return nil, usagef("%s %s names %d objects; name one", kind, name, len(infos))
	}
	return infos[0].Object.(*unstructured.Unstructured), nil
}

// mappingFor returns the type with a name that kubectl accepts.
func mappingFor(mapper meta.RESTMapper, word string) (*meta.RESTMapping, error) {
	full, short := schema.ParseResourceArg(strings.ToLower(word))
	candidates := []schema.GroupVersionResource{short.WithVersion("")}
	if full != nil {
		candidates = append([]schema.GroupVersionResource{*full}, candidates...)
	}
	var err error
	for _, candidate := range candidates {
		var kind schema.GroupVersionKind
		if kind, err = mapper.KindFor(candidate); err == nil {
			return mapper.RESTMapping(kind.GroupKind(), kind.Version)
		}
	}
	return nil, err
}
