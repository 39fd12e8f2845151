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

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

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
	if err == nil && sameShape(out.tree(), all.tree()) {
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
		return err != nil || !sameShape(kept.tree(), safe.tree())
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

// unusual returns every string with an unusual character that a template may print, by field. inProxyConfig has those of the
// ProxyConfig.
func (d *data) unusual(inProxyConfig map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range d.ObjectMeta.Annotations {
		if !isHarmless(key) || !isHarmless(value) {
			out[api.AnnotationField(key)] = unusualOf(key, value)
		}
	}
	for key, value := range d.ObjectMeta.Labels {
		if !isHarmless(key) || !isHarmless(value) {
			out[api.LabelField(key)] = unusualOf(key, value)
		}
	}
	note := func(field string, texts ...string) {
		for _, text := range texts {
			if !isHarmless(text) {
				out[field] = text
			}
		}
	}
	note("metadata.name", d.ObjectMeta.Name)
	note("metadata.generateName", d.ObjectMeta.GenerateName)
	note("metadata.namespace", d.ObjectMeta.Namespace)
	note("metadata.ownerReferences", d.DeploymentMeta.Name, d.TypeMeta.Kind, d.TypeMeta.APIVersion)
	note("spec.serviceAccountName", d.Spec.ServiceAccountName)
	for i := range d.Spec.Containers {
		c := &d.Spec.Containers[i]
		if !isHarmless(c.Name) {
			note(fmt.Sprintf("spec.containers[%d].name", i), c.Name)
		}
		if !isHarmless(c.Image) {
			note(fmt.Sprintf("spec.containers[%d].image", i), c.Image)
		}
		for k := range c.Ports {
			if !isHarmless(c.Ports[k].Name) {
				note(fmt.Sprintf("spec.containers[%d].ports[%d].name", i, k), c.Ports[k].Name)
			}
		}
	}
	maps.Copy(out, inProxyConfig)
	return out
}

// unusualOf returns the value if it is unusual, else the key if it is; "" if neither is.
func unusualOf(key, value string) string {
	if !isHarmless(value) {
		return value
	}
	return key
}

// defused returns a copy of the data in which every unusual string is replaced by a harmless one, except in the fields to keep.
func (d *data) defused(unusual map[string]string, keep map[string]bool) *data {
	c := d.clone()
	defuse := func(field string, text *string) {
		if _, is := unusual[field]; is && !keep[field] {
			*text = disarmed(*text)
		}
	}
	for _, m := range []struct {
		field func(string) string
		texts map[string]string
	}{{api.AnnotationField, c.ObjectMeta.Annotations}, {api.LabelField, c.ObjectMeta.Labels}} {
		for key, value := range maps.Clone(m.texts) {
			if _, is := unusual[m.field(key)]; !is || keep[m.field(key)] {
				continue
			}
			delete(m.texts, key)
			m.texts[disarmed(key)] = disarmed(value)
		}
	}
	defuse("metadata.name", &c.ObjectMeta.Name)
	defuse("metadata.generateName", &c.ObjectMeta.GenerateName)
	defuse("metadata.namespace", &c.ObjectMeta.Namespace)
	defuse("metadata.namespace", &c.DeploymentMeta.Namespace)
	defuse("metadata.ownerReferences", &c.DeploymentMeta.Name)
	defuse("metadata.ownerReferences", &c.TypeMeta.Kind)
	defuse("metadata.ownerReferences", &c.TypeMeta.APIVersion)
	defuse("spec.serviceAccountName", &c.Spec.ServiceAccountName)
	for i := range c.Spec.Containers {
		container := &c.Spec.Containers[i]
		defuse(fmt.Sprintf("spec.containers[%d].name", i), &container.Name)
		defuse(fmt.Sprintf("spec.containers[%d].image", i), &container.Image)
		for k := range container.Ports {
			defuse(fmt.Sprintf("spec.containers[%d].ports[%d].name", i, k), &container.Ports[k].Name)
		}
	}
	c.ProxyConfig = defusedMessage(c.ProxyConfig, unusual, keep)
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

// eachString visits every string in a message, including map keys, with its path.
func eachString(message protoreflect.Message, path string, visit func(path, text string)) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path + "." + field.JSONName()
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, item protoreflect.Value) bool {
				visit(at+"["+key.String()+"]", key.String())
				if field.MapValue().Kind() == protoreflect.StringKind {
					visit(at+"["+key.String()+"]", item.String())
				} else if field.MapValue().Message() != nil {
					eachString(item.Message(), at+"["+key.String()+"]", visit)
				}
				return true
			})
		case field.IsList():
			for i := range value.List().Len() {
				item := value.List().Get(i)
				if field.Kind() == protoreflect.StringKind {
					visit(fmt.Sprintf("%s[%d]", at, i), item.String())
				} else if field.Message() != nil {
					eachString(item.Message(), fmt.Sprintf("%s[%d]", at, i), visit)
				}
			}
		case field.Kind() == protoreflect.StringKind:
			visit(at, value.String())
		case field.Message() != nil:
			eachString(value.Message(), at, visit)
		}
		return true
	})
}

// defusedMessage returns a copy of a ProxyConfig with harmless strings in place of unusual ones, except in the fields to keep.
func defusedMessage(config *meshconfig.ProxyConfig, unusual map[string]string, keep map[string]bool) *meshconfig.ProxyConfig {
	out := proto.Clone(config).(*meshconfig.ProxyConfig)
	defuseMessage(out.ProtoReflect(), "ProxyConfig", func(field string) bool {
		_, is := unusual[field]
		return is && !keep[field]
	})
	return out
}

func defuseMessage(message protoreflect.Message, path string, wanted func(field string) bool) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path + "." + field.JSONName()
		switch {
		case field.IsMap():
			defuseMap(field, value.Map(), at, wanted)
		case field.IsList():
			for i := range value.List().Len() {
				item, here := value.List().Get(i), fmt.Sprintf("%s[%d]", at, i)
				if field.Kind() == protoreflect.StringKind && wanted(here) {
					value.List().Set(i, protoreflect.ValueOfString(disarmed(item.String())))
				} else if field.Message() != nil {
					defuseMessage(item.Message(), here, wanted)
				}
			}
		case field.Kind() == protoreflect.StringKind:
			if wanted(at) {
				message.Set(field, protoreflect.ValueOfString(disarmed(value.String())))
			}
		case field.Message() != nil:
			defuseMessage(value.Message(), at, wanted)
		}
		return true
	})
}

func defuseMap(field protoreflect.FieldDescriptor, m protoreflect.Map, at string, wanted func(field string) bool) {
	if field.MapKey().Kind() != protoreflect.StringKind {
		return
	}
	type entry struct {
		key   protoreflect.MapKey
		value protoreflect.Value
	}
	var entries []entry
	m.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		entries = append(entries, entry{key, value})
		return true
	})
	for _, e := range entries {
		here := at + "[" + e.key.String() + "]"
		if field.MapValue().Message() != nil {
			defuseMessage(e.value.Message(), here, wanted)
			continue
		}
		if field.MapValue().Kind() != protoreflect.StringKind || !wanted(here) {
			continue
		}
		m.Clear(e.key)
		m.Set(protoreflect.ValueOfString(disarmed(e.key.String())).MapKey(), protoreflect.ValueOfString(disarmed(e.value.String())))
	}
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
