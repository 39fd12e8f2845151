// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func TestFieldsThatOthersAdd(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	ours := entry(api.FieldManager, "", `{"f:spec":{"f:hosts":{},"f:exportTo":{}}}`)
	for name, c := range map[string]struct {
		was, is string
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"added":                    {`{"hosts":["a"],"exportTo":["."]}`, `{"hosts":["a"]}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `{"f:spec":{"f:exportTo":{}}}`)}, `{"exportTo":null}`},
		"ours to leave out":        {`{"hosts":["a"],"exportTo":["."]}`, `{"hosts":["a"]}`, []metav1.ManagedFieldsEntry{ours}, `{}`},
		"replaced, not added":      {`{"hosts":["b"]}`, `{"hosts":["a"]}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `{"f:spec":{"f:hosts":{}}}`)}, `{}`},
		"a key of a map":           {`{"selector":{"istio":"a","more":"b"}}`, `{"selector":{"istio":"a"}}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `{"f:spec":{"f:selector":{"f:more":{}}}}`)}, `{"selector":{"more":null}}`},
		"of a status":              {`{"exportTo":["."]}`, `{}`, []metav1.ManagedFieldsEntry{entry("istiod", "status", `{"f:spec":{"f:exportTo":{}}}`)}, `{}`},
		"an element of a list":     {`{"http":[{"name":"x"}]}`, `{"http":[]}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `{"f:spec":{"f:http":{"k:{\"name\":\"x\"}":{}}}}`)}, `{}`},
		"metadata only":            {`{"exportTo":["."]}`, `{}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `{"f:metadata":{"f:labels":{}}}`)}, `{}`},
		"fields that do not parse": {`{"exportTo":["."]}`, `{}`, []metav1.ManagedFieldsEntry{entry("kubectl-edit", "", `x`)}, `{}`},
	} {
		var was, is any
		for text, into := range map[string]*any{c.was: &was, c.is: &is} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		got, err := json.Marshal(addedFields(was, is, ownedByOthers(c.entries)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
