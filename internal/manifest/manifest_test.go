// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, text string) *Stream {
	t.Helper()
	s, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(s *Stream) []string {
	var out []string
	for _, o := range s.Objects() {
		out = append(out, o.String())
	}
	return out
}

func written(t *testing.T, s *Stream) string {
	t.Helper()
	out, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestUntouchedStreamIsWrittenAsItWasRead(t *testing.T) {
	for what, text := range map[string]string{
		"nothing":                     "",
		"comments only":               "# nothing\n\n# here",
		"one document":                "apiVersion: v1\nkind: Service\nmetadata: {name: a}   # odd   spacing\n",
		"no newline at the end":       "apiVersion: v1\nkind: Service",
		"leading marker and comments": "# license\n---\n# Source: x\napiVersion: v1\nkind: Service\n---\n",
		"windows line ends":           "apiVersion: v1\r\nkind: Service\r\n---\r\napiVersion: v1\r\nkind: Pod\r\n",
		"marker with content":         "--- {apiVersion: v1, kind: Service}\n--- # next\napiVersion: v1\nkind: Pod\n",
		"end marker and bare text":    "apiVersion: v1\nkind: Service\n...\n# c\napiVersion: v1\nkind: Pod\n",
		"directive":                   "%YAML 1.1\n---\napiVersion: v1\nkind: Service\n",
		"a block text with dashes":    "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    ---\n    x\n    ...\n",
		"JSON":                        `{"apiVersion": "v1", "kind": "Service"}`,
		"a List":                      "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod, apiVersion: v1}\n",
		"an empty List":               "apiVersion: v1\nkind: List\nitems:\n",
	} {
		t.Run(what, func(t *testing.T) {
			if diff := cmp.Diff(text, written(t, read(t, text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectsAreFoundWithTheirPlace(t *testing.T) {
	got := names(read(t, `# comment
---
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: demo}
- apiVersion: v1
  kind: Pod
  metadata: {generateName: web-}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- metadata: {name: other}
`))
	want := []string{
		"Namespace demo (document 1)",
		"Deployment demo/web (document 3, item 1)",
		"Pod (document 3, item 2)",
		"Deployment other (document 4, item 1)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotAnObjectIsRefusedWithItsPlace(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"not YAML", "apiVersion: v1\nkind: Service\n---\nkind: [\n", "document 2 is not YAML: line 4: did not find expected node content"},
		{"a tab", "kind: Pod\n\tname: x\n", "document 1 is not YAML: line 2: found a tab character that violates indentation"},
		{"a key twice", "kind: Pod\napiVersion: v1\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n", `document 2 has the key "name" twice in one mapping: on lines 7 and 8`},
		{"a key twice in a flow mapping", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, name: b}\n", `document 1 has the key "name" twice in one mapping: on lines 3 and 3`},
		{"a key twice in JSON", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "name": "b"}}`, `document 1 has a key twice in one object: duplicate field "metadata.name"`},
		{"a key twice in the second JSON document", `{"apiVersion": "v1", "kind": "Pod"}` + "\n" + `{"apiVersion": "v1", "kind": "Pod", "kind": "Job"}`, `document 2 has a key twice in one object: duplicate field "kind"`},
		{"plain text", "hello world", `document 1 is not a Kubernetes object but the text "hello world": expected a mapping with apiVersion and kind`},
		{"a list", "- a\n", "document 1 is not a Kubernetes object but a list: expected a mapping with apiVersion and kind"},
		{"no kind", "apiVersion: v1\nmetadata: {name: web}\n", "document 1 (web) is not a Kubernetes object: it has no kind"},
		{"no apiVersion", "kind: Pod\n", "document 1 (Pod) is not a Kubernetes object: it has no apiVersion"},
		{"a number for a name", "apiVersion: v1\nkind: Pod\nmetadata: {name: 5}\n", "document 1 (Pod) is not a Kubernetes object: metadata.name is the value 5, expected text; write it in quotes"},
		{"an item that is text", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}, oops]\n", `document 1, item 2 of the List is not a Kubernetes object but the text "oops"`},
		{"an item without kind", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, metadata: {name: web}}]\n", "document 1, item 1 (web) is not a Kubernetes object: it has no kind (the List was not read)"},
		{"items that are no list", "apiVersion: v1\nkind: List\nitems: {a: b}\n", "document 1 (List): items is a mapping, expected a list of objects"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Read(strings.NewReader(c.text))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTemplateIsFoundByKindAndByShape(t *testing.T) {
	const pod = `{metadata: {labels: {app: x}}, spec: {containers: [{name: a}]}}`
	for _, c := range []struct{ what, text, path string }{
		{"Pod", "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}", ""},
		{"PodTemplate", "{apiVersion: v1, kind: PodTemplate, template: " + pod + "}", "template"},
		{"ReplicationController", "{apiVersion: v1, kind: ReplicationController, spec: {template: " + pod + "}}", "spec.template"},
		{"Deployment", "{apiVersion: apps/v1, kind: Deployment, spec: {template: " + pod + "}}", "spec.template"},
		{"DaemonSet", "{apiVersion: apps/v1, kind: DaemonSet, spec: {template: " + pod + "}}", "spec.template"},
		{"ReplicaSet", "{apiVersion: apps/v1, kind: ReplicaSet, spec: {template: " + pod + "}}", "spec.template"},
		{"StatefulSet", "{apiVersion: apps/v1, kind: StatefulSet, spec: {template: " + pod + "}}", "spec.template"},
		{"Job", "{apiVersion: batch/v1, kind: Job, spec: {template: " + pod + "}}", "spec.template"},
		{"CronJob", "{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: " + pod + "}}}}", "spec.jobTemplate.spec.template"},
		{"a kind of somebody else's", "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: " + pod + "}}", "spec.template"},
		{"no template", "{apiVersion: v1, kind: Service, spec: {selector: {a: b}}}", "none"},
		{"a template of something else", "{apiVersion: example.com/v1, kind: Thing, spec: {template: {spec: {containers: none}}}}", "none"},
		{"the same kind in another group", "{apiVersion: example.com/v1, kind: Deployment, spec: {}}", "none"},
	} {
		t.Run(c.what, func(t *testing.T) {
			template, err := read(t, c.text).Objects()[0].Template()
			if err != nil {
				t.Fatal(err)
			}
			if got := pathOf(template); got != c.path {
				t.Errorf("got %q, want %q", got, c.path)
			}
		})
	}
}

func pathOf(template *Template) string {
	if template == nil {
		return "none"
	}
	return template.Path
}

func TestMalformedTemplateOfABuiltInKindIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: [a]}}":          "Deployment web (document 1): spec.template is a list, expected a mapping",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: five}}}": `Deployment web (document 1): spec.template.spec is the text "five", expected the spec of a pod`,
		"{apiVersion: v1, kind: Pod, metadata: {name: web}}":                                             "Pod web (document 1): spec is empty, expected the spec of a pod",
	} {
		_, err := read(t, text).Objects()[0].Template()
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestReplaceTouchesOneDocumentOnly(t *testing.T) {
	s := read(t, `# Source: web.yaml
---
apiVersion: v1
kind: Service   # as it was
---
# Source: list.yaml
apiVersion: v1
kind: List
items:
- kind: ConfigMap
  apiVersion: v1
  data: {big: "1e3", "on": "yes"}
  unknown: 12345678901234567
- kind: Pod
  apiVersion: v1
  metadata: {name: web}
  spec: {containers: [{name: a}]}
...
apiVersion: v1
kind: Secret   # also as it was
`)
	template, err := s.Objects()[2].Template()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := template.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := template.Replace([]byte(strings.Replace(string(raw), `"name":"a"`, `"name":"b","image":"<x>"`, 1))); err != nil {
		t.Fatal(err)
	}
	want := `# Source: web.yaml
---
apiVersion: v1
kind: Service   # as it was
---
apiVersion: v1
items:
- apiVersion: v1
  data:
    big: "1e3"
    "on": "yes"
  kind: ConfigMap
  unknown: 12345678901234567
- apiVersion: v1
  kind: Pod
  metadata:
    name: web
  spec:
    containers:
    - image: <x>
      name: b
kind: List
---
apiVersion: v1
kind: Secret   # also as it was
`
	if diff := cmp.Diff(want, written(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestJSONIsOneObjectOrAList(t *testing.T) {
	for text, want := range map[string]string{
		"kind: Pod\napiVersion: v1\n":                                            `{"apiVersion":"v1","kind":"Pod"}`,
		"kind: Pod\napiVersion: v1\n---\n# c\n---\nkind: Secret\napiVersion: v1": `{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Pod"},{"apiVersion":"v1","kind":"Secret"}],"kind":"List"}`,
		"# nothing": `{"apiVersion":"v1","items":[],"kind":"List"}`,
	} {
		raw, err := read(t, text).IndentedJSON()
		if err != nil {
			t.Fatal(err)
		}
		var got, expected any
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Error(diff)
		}
	}
}

// Whatever the input is: it is refused, or what comes out reads as the same objects.
func FuzzReadAndWrite(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Pod\n---\n--- # x\napiVersion: v1\nkind: List\nitems: []\n...\n%TAG\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		out, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != text {
			t.Fatalf("got %q, want %q", out, text)
		}
	})
}

// A key of a mapping may override one that is merged into it.
func TestAKeyMayOverrideAMergedOne(t *testing.T) {
	text := "apiVersion: v1\nkind: Pod\nx: &base {name: a, labels: {a: b}}\nmetadata:\n  <<: *base\n  name: b\n"
	if got := names(read(t, text)); len(got) != 1 || got[0] != "Pod b (document 1)" {
		t.Errorf("got %q", got)
	}
}
