// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"outrigger.dev/outrigger/api"
)

// Templates insert values into YAML text. A value with a quote, a newline, or a backslash could add structure: a key, a container, an
// argument (CVE-2026-23766). A list of forbidden characters cannot prevent this, because many annotations contain YAML or JSON. So if
// a value contains an unusual character, the template is also rendered with harmless values, and both outputs must have the same
// structure.

// isHarmless reports whether a text consists of letters, digits, spaces, and ._:/,=@+*- only
func isHarmless(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '-' || c > ':') && c != ' ' && c != '_' && c != ',' && c != '=' && c != '@' && c != '+' && c != '*' {
			return false
		}
	}
	return true
}

// renderSafely renders a template, and rejects output whose structure depends on the characters of a value.
func (j *job) renderSafely(name string) (rendered, error) {
	out, err := j.render(name)
	unusual := j.data.unusual(j.effective.unusual)
	if len(unusual) == 0 {
		if err != nil {
			return rendered{}, j.refuseTemplate(name, err)
		}
		return out, nil
	}
	all, safeErr := j.renderData(name, j.data.defused(unusual, nil))
	if safeErr != nil {
		if err == nil {
			err = safeErr // output that cannot be compared is rejected
		}
		return rendered{}, j.refuseTemplate(name, err)
	}
	if err == nil && sameShape(out.tree, all.tree) {
		return out, nil
	}
	field, found := j.shapingField(name, unusual, all)
	if !found {
		return rendered{}, j.refuseTemplate(name, cmp.Or(err, errors.New("values of several fields together change the structure of what it renders")))
	}
	return rendered{}, refuse(problemOf(j.pod, api.InjectUnsafeValue, field, unusual[field],
		fmt.Sprintf("the character %q would change the structure of what template %q renders.", firstUnusual(unusual[field]), name),
		"Leave that character out."))
}

// shapingField returns the first field, by name, whose unusual value alone changes the structure of the rendered template; safe is the
// structure with harmless values. It searches by bisection, since each test renders the template and a pod may have many fields.
func (j *job) shapingField(name string, unusual map[string]string, safe rendered) (field string, found bool) {
	changes := func(fields []string) bool {
		kept, err := j.renderData(name, j.data.defused(unusual, setOf(fields)))
		return err != nil || !sameShape(kept.tree, safe.tree)
	}
	fields := slices.Sorted(maps.Keys(unusual))
	for len(fields) > 1 && !j.abandoned() {
		half := len(fields) / 2
		if changes(fields[:half]) {
			fields = fields[:half]
		} else {
			fields = fields[half:]
		}
	}
	return fields[0], changes(fields)
}

func firstUnusual(text string) string {
	for _, character := range []string{"\\", "\"", "\n", "'"} {
		if strings.Contains(text, character) {
			return character
		}
	}
	for _, r := range text {
		if !isHarmless(string(r)) {
			return string(r)
		}
	}
	return ""
}

// eachText visits the texts that a template may print, with their fields, as a format and its arguments. It omits labels, annotations,
// and the ProxyConfig.
func (d *data) eachText(visit func(text *string, field string, at ...any)) {
	visit(&d.ObjectMeta.Name, "metadata.name")
	visit(&d.ObjectMeta.GenerateName, "metadata.generateName")
	visit(&d.ObjectMeta.Namespace, "metadata.namespace")
	visit(&d.DeploymentMeta.Namespace, "metadata.namespace")
	visit(&d.DeploymentMeta.Name, "metadata.ownerReferences")
	visit(&d.TypeMeta.Kind, "metadata.ownerReferences")
	visit(&d.TypeMeta.APIVersion, "metadata.ownerReferences")
	visit(&d.Spec.ServiceAccountName, "spec.serviceAccountName")
	for i := range d.Spec.Containers {
		c := &d.Spec.Containers[i]
		visit(&c.Name, "spec.containers[%d].name", i)
		visit(&c.Image, "spec.containers[%d].image", i)
		for k := range c.Ports {
			visit(&c.Ports[k].Name, "spec.containers[%d].ports[%d].name", i, k)
		}
	}
}

// metadataTexts are the labels or the annotations, and the field of each by its key.
type metadataTexts struct {
	field func(key string) string
	texts map[string]string
}

func (d *data) metadata() []metadataTexts {
	return []metadataTexts{{api.AnnotationField, d.ObjectMeta.Annotations}, {api.LabelField, d.ObjectMeta.Labels}}
}

// unusual returns every string with an unusual character that a template may print, by field. inProxyConfig has those of the
// ProxyConfig.
func (d *data) unusual(inProxyConfig map[string]string) map[string]string {
	out := maps.Clone(inProxyConfig)
	for _, m := range d.metadata() {
		for key, value := range m.texts {
			if !isHarmless(value) {
				out[m.field(key)] = value
			} else if !isHarmless(key) {
				out[m.field(key)] = key
			}
		}
	}
	d.eachText(func(text *string, field string, at ...any) {
		if !isHarmless(*text) {
			out[fmt.Sprintf(field, at...)] = *text
		}
	})
	return out
}

// defused returns a copy of the data in which every unusual string is replaced by a harmless one, except in the fields to keep.
func (d *data) defused(unusual map[string]string, keep map[string]bool) *data {
	defuses := func(field string) bool {
		_, is := unusual[field]
		return is && !keep[field]
	}
	c := d.clone()
	for _, m := range c.metadata() {
		for key, value := range maps.Clone(m.texts) {
			if defuses(m.field(key)) {
				delete(m.texts, key)
				m.texts[disarmed(key)] = disarmed(value)
			}
		}
	}
	c.eachText(func(text *string, field string, at ...any) {
		if defuses(fmt.Sprintf(field, at...)) {
			*text = disarmed(*text)
		}
	})
	rewriteStrings(c.ProxyConfig.ProtoReflect(), "ProxyConfig", func(field, text string) string {
		if defuses(field) {
			return disarmed(text)
		}
		return text
	})
	return c
}

// structural matches every character that may be structure somewhere in YAML. It matches more than isHarmless rejects, because the
// remainder of an attack in an unquoted value may not parse.
var structural = regexp.MustCompile(`[^A-Za-z0-9._/,-]|^-`)

// disarmed returns a harmless text of the same kind. JSON keeps its structure; other text keeps its length and the characters of words,
// paths, and lists.
func disarmed(text string) string {
	trimmed := strings.TrimSpace(text)
	if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		var value any
		if json.Unmarshal([]byte(text), &value) == nil {
			if out, err := json.Marshal(disarmedTree(value)); err == nil {
				return string(out)
			}
		}
	}
	return structural.ReplaceAllString(text, "x")
}

func disarmedTree(value any) any {
	switch value := value.(type) {
	case string:
		return structural.ReplaceAllString(value, "x")
	case []any:
		out := make([]any, 0, len(value))
		for _, item := range value {
			out = append(out, disarmedTree(item))
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, item := range value {
			out[structural.ReplaceAllString(key, "x")] = disarmedTree(item)
		}
		return out
	}
	return value
}

// rewriteStrings replaces every string in a message, including map keys. A key and its value have the same path.
func rewriteStrings(message protoreflect.Message, path string, rewrite func(path, text string) string) {
	rewritten := func(of protoreflect.FieldDescriptor, at string, value protoreflect.Value) protoreflect.Value {
		switch {
		case of.Kind() == protoreflect.StringKind:
			return protoreflect.ValueOfString(rewrite(at, value.String()))
		case of.Message() != nil:
			rewriteStrings(value.Message(), at, rewrite)
		}
		return value
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path + "." + field.JSONName()
		switch {
		case field.IsMap():
			out := message.NewField(field)
			value.Map().Range(func(key protoreflect.MapKey, item protoreflect.Value) bool {
				here := at + "[" + key.String() + "]"
				key = rewritten(field.MapKey(), here, key.Value()).MapKey()
				out.Map().Set(key, rewritten(field.MapValue(), here, item))
				return true
			})
			message.Set(field, out)
		case field.IsList():
			for i := range value.List().Len() {
				value.List().Set(i, rewritten(field, fmt.Sprintf("%s[%d]", at, i), value.List().Get(i)))
			}
		default:
			message.Set(field, rewritten(field, at, value))
		}
		return true
	})
}

// sameShape reports whether two trees have the same keys, once made harmless, and lists of the same lengths.
func sameShape(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		other, is := b.(map[string]any)
		if !is || len(a) != len(other) {
			return false
		}
		for key, value := range a {
			match, found := other[key]
			if !found {
				match, found = other[disarmed(key)]
			}
			if !found || !sameShape(value, match) {
				return false
			}
		}
		return true
	case []any:
		other, is := b.([]any)
		if !is || len(a) != len(other) {
			return false
		}
		for i := range a {
			if !sameShape(a[i], other[i]) {
				return false
			}
		}
		return true
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}
