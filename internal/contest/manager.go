// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"bytes"
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unknownManager is reported for a client without an entry in the managed fields, because it deletes the object or uses
// Outrigger's field manager.
const unknownManager = "unknown"

// ManagerOf returns the field manager that most probably changed an object back: the one that wrote last, not counting
// ours, and among those that wrote at the same second the one that has a part of the given top-level field, for example
// "spec". It returns "unknown" if there is none.
func ManagerOf(fields []metav1.ManagedFieldsEntry, ours, field string) string {
	best, found := metav1.ManagedFieldsEntry{}, false
	for _, entry := range fields {
		if entry.Manager == ours || entry.Subresource != "" {
			continue
		}
		if !found || laterWriter(entry, best, field) {
			best, found = entry, true
		}
	}
	if best.Manager == "" {
		return unknownManager
	}
	return best.Manager
}

func laterWriter(a, b metav1.ManagedFieldsEntry, field string) bool {
	if a.Time != nil && b.Time != nil && !a.Time.Equal(b.Time) {
		return b.Time.Before(a.Time)
	}
	return owns(a, field) && !owns(b, field)
}

func owns(entry metav1.ManagedFieldsEntry, field string) bool {
	return entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:`+field+`"`))
}

func compareObjects(a, b Object) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
