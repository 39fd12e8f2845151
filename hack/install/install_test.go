package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesAreMergedAsHelmDoes(t *testing.T) {
	base := map[string]any{"webhook": map[string]any{"url": "u", "port": 1}, "tolerations": []any{"a"}, "image": map[string]any{"tag": "local"}}
	more := map[string]any{"webhook": map[string]any{"port": 2}, "tolerations": []any{"b"}, "replicaCount": 1, "image": nil}
	want := map[string]any{"webhook": map[string]any{"url": "u", "port": 2}, "tolerations": []any{"b"}, "replicaCount": 1, "image": nil}
	if diff := cmp.Diff(want, over(base, more)); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	if base["webhook"].(map[string]any)["port"] != 1 {
		t.Error("the argument was changed")
	}
}

func TestRootIsFoundFromBelow(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	if again, err := Root(); err != nil || again != root {
		t.Errorf("Root() = %q, %v in the root itself", again, err)
	}
	t.Chdir(t.TempDir())
	if outside, err := Root(); err == nil {
		t.Errorf("Root() = %q outside the repository", outside)
	}
}
