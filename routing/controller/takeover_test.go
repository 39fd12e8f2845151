package controller

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestManagedFieldsAreReadOnlyWhereSomethingIsLeftOut(t *testing.T) {
	const standing = `{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`
	for what, c := range map[string]struct {
		body string
		want bool
	}{
		"the same":        {standing, false},
		"another value":   {`{"metadata":{"annotations":{"a":"3","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, false},
		"something more":  {`{"metadata":{"annotations":{"a":"1","b":"2","c":"3"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","exportTo":["*"],"subsets":[{"name":"v1"},{"name":"v2"}]}}`, false},
		"a shorter list":  {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v2"}]}}`, false},
		"an annotation":   {`{"metadata":{"annotations":{"a":"1"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
		"all annotations": {`{"metadata":{"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
		"a field":         {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"11"}]},"spec":{"host":"app"}}`, true},
		"another owner":   {`{"metadata":{"annotations":{"a":"1","b":"2"},"ownerReferences":[{"uid":"12"}]},"spec":{"host":"app","subsets":[{"name":"v1"},{"name":"v2"}]}}`, true},
	} {
		was, body := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(standing), &was.Object); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.body), &body.Object); err != nil {
			t.Fatal(err)
		}
		if got := leavesOut(was, body); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
