// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kubectl create --dry-run=client -o json prints documents without separators. None of them may get lost.
func TestEveryJSONDocumentIsRead(t *testing.T) {
	const a, b = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"},"spec":{"x":1}}`
	both := []string{"Service a (document 1)", "Pod b (document 2)"}
	for _, c := range []struct {
		what, text string
		want       []string
		separated  bool // where kubectl would ignore the second document
	}{
		{"concatenated", a + b, both, false},
		{"one on each line", a + "\n" + b + "\n", both, false},
		{"with windows line ends and empty lines", a + "\r\n\r\n" + b + "\r\n", both, false},
		{"indented", indent(a) + "\n" + indent(b), both, false},
		{"with comments between them", a + " # still first\n# second\n" + b + "\n# end\n", both, false},
		{"behind a comment", "# first\n" + a + "\n" + b, both, true},
		{"behind a marker", "---\n" + a + "\n" + b, both, true},
		{"on the marker's line", "--- " + a + "\n" + b, both, true},
		{"and YAML behind a marker", a + b + "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: c}\n", append(both[:2:2], "Pod c (document 3)"), false},
		{"with a byte order mark", "\ufeff" + a + "\n" + b, both, true},
		{"with escaped surrogates, which YAML has not", strings.ReplaceAll(a, `"a"`, `"\ud83d\ude00"`) + b, []string{"Service 😀 (document 1)", both[1]}, false},
		{"a flow mapping of YAML", `{apiVersion: v1, kind: Pod, metadata: {name: b}}`, []string{"Pod b (document 1)"}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := read(t, c.text)
			if diff := cmp.Diff(c.want, names(s)); diff != "" {
				t.Error(diff)
			}
			want := c.text
			if c.separated {
				want = strings.Replace(want, a+"\n"+b, a+"\n---\n"+b, 1)
			}
			if diff := cmp.Diff(want, written(t, s)); diff != "" {
				t.Error("not written as it was read:", diff)
			}
			text, err := s.IndentedJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(len(c.want), len(names(read(t, string(text))))); diff != "" {
				t.Errorf("as JSON there are %s objects: %s", diff, text)
			}
		})
	}
}

func indent(text string) string {
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "    "); err != nil {
		panic(err)
	}
	return out.String()
}

// What follows the first value of a document is an error and never ignored.
func TestWhatIsNotReadIsAnError(t *testing.T) {
	const object = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`
	for _, c := range []struct{ what, text, want string }{
		{"YAML behind JSON", object + "\nkind: Pod\n", "document 2 is not JSON, but the previous document is: line 2: invalid character 'k' looking for beginning of value"},
		{"JSON that is cut off", object + "\n\n{\"kind\": ", "document 2 is not JSON, but the previous document is: line 3: unexpected end of input"},
		{"the first JSON document is broken", "{\"kind\": \"Pod\", \"a\"\n" + object, "document 1 is not YAML: line 1: did not find expected ',' or '}'"},
		{"a second flow mapping", "{apiVersion: v1, kind: Pod}\n{apiVersion: v1, kind: Service}\n", "document 1 has text after its first value"},
		{"a mapping with less indent", "---\n  apiVersion: v1\n  kind: Pod\nspec: {}\n", "document 1 has text after its first value"},
		{"an object behind null", "null\n--- # next\n~\n{apiVersion: v1, kind: Pod}\n", "document 2"},
		{"JSON that is no object", object + `["a"]`, "document 2 is not a Kubernetes object but a list"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Read(strings.NewReader(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("want %q, got %v", c.want, err)
			}
		})
	}
}

func TestMessagesNameTheFile(t *testing.T) {
	reader := NewReader(strings.NewReader("---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: Pod\n"), "web.yaml")
	first, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := first.Objects()
	if err != nil || objects[0].String() != "Pod a (document 1 of web.yaml)" {
		t.Errorf("got %v, %v", objects, err)
	}
	second, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Objects(); err == nil || err.Error() != "document 2 of web.yaml (Pod) is not a Kubernetes object: it has no apiVersion" {
		t.Errorf("got %v", err)
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("want the end, got %v", err)
	}
}

const podText = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"containers":[{"name":"app"}]}}`

// kubectl reads a file that begins with two JSON documents as JSON to its end.
func TestAChangedJSONDocumentAmongOthersStaysJSON(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"among others", fmt.Sprintf(podText+podText+podText, "a", "b", "c"), fmt.Sprintf(podText+podText+"\n"+podText, "a", "b2", "c")},
		{"one on each line", fmt.Sprintf(podText+"\n"+podText+"\n", "a", "b"), fmt.Sprintf(podText+"\n"+podText+"\n", "a", "b2")},
		{"on the marker's line", fmt.Sprintf("kind: A\napiVersion: v1\n--- "+podText+"\n"+podText, "b", "c"), fmt.Sprintf("kind: A\napiVersion: v1\n---\n"+podText+"\n---\n"+podText, "b2", "c")},
		{"alone", fmt.Sprintf(podText, "b"), "apiVersion: v1\nkind: Pod\nmetadata:\n  name: b2\nspec:\n  containers:\n  - name: app\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := read(t, c.text)
			for _, o := range s.Objects() {
				if o.Name != "b" {
					continue
				}
				template, err := o.Template()
				if err != nil {
					t.Fatal(err)
				}
				if err := template.Replace(fmt.Appendf(nil, podText, "b2")); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, written(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two files in one output are two documents.
func TestFilesAreSeparated(t *testing.T) {
	var out bytes.Buffer
	w := NewYAMLWriter(&out)
	for _, text := range []string{"kind: A\napiVersion: v1", "kind: B\napiVersion: v1\n", "---\nkind: C\napiVersion: v1\n", ""} {
		for _, d := range read(t, text).documents {
			if err := w.Write(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff("kind: A\napiVersion: v1\n---\nkind: B\napiVersion: v1\n---\nkind: C\napiVersion: v1\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkRead shows that the time for one document does not depend on how many there are: ns/document is about the same
// in each size, for each form in which documents follow each other.
func BenchmarkRead(b *testing.B) {
	for _, form := range []struct {
		name string
		text func(n int) string
	}{
		{"documents", func(n int) string { return strings.Repeat("---\n"+yamlPod, n) }},
		{"list", func(n int) string {
			return "apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat("- "+strings.ReplaceAll(strings.TrimSpace(yamlPod), "\n", "\n  ")+"\n", n)
		}},
		{"json-lines", func(n int) string { return strings.Repeat(fmt.Sprintf(podText, "web")+"\n", n) }},
		{"json-list-on-one-line", func(n int) string {
			return `{"apiVersion":"v1","kind":"List","items":[` + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(podText, "web")+",", n), ",") + "]}"
		}},
	} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", form.name, n), func(b *testing.B) {
				text := form.text(n)
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					s, err := Read(strings.NewReader(text))
					if err != nil || len(s.Objects()) != n {
						b.Fatal(len(s.Objects()), err)
					}
					if _, err := s.YAML(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(time.Nanosecond)/float64(b.N)/float64(n), "ns/document")
			})
		}
	}
}

const yamlPod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: app\n    image: app:1\n"
