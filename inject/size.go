// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// podSize counts the costly parts of a pod.
type podSize struct {
	containers, volumes int
	elements            int // as countEntries counts them; 0 where the pod was not read from JSON
}

func sizeOf(pod *corev1.Pod) podSize {
	spec := &pod.Spec
	return podSize{containers: len(spec.Containers) + len(spec.InitContainers) + len(spec.EphemeralContainers), volumes: len(spec.Volumes)}
}

// maxTemplates bounds how many templates a pod may name.
const maxTemplates = 100

// maxElements bounds the elements of all lists of a pod together: {} in a list of tolerations takes three bytes of JSON and
// two hundred of memory. So many variables with distinct names exceed what etcd stores for one object.
const maxElements = 250_000

// limits returns the most containers and volumes that a pod may have.
func (s Settings) limits() podSize {
	limits := podSize{containers: s.MaxContainers, volumes: s.MaxVolumes, elements: maxElements}
	if limits.containers == 0 {
		limits.containers = api.DefaultMaxContainers
	}
	if limits.volumes == 0 {
		limits.volumes = api.DefaultMaxVolumes
	}
	return limits
}

// tooLarge returns what denies a pod of more containers or volumes than the settings allow, or of too many elements.
func (c *Config) tooLarge(request Request) []api.InjectProblem {
	size, limits := sizeOf(request.Pod), c.settings.limits()
	size.containers, size.volumes = max(size.containers, request.size.containers), max(size.volumes, request.size.volumes)
	var problems []api.InjectProblem
	for _, part := range []struct {
		field, name, setting string
		have, allowed        int
	}{
		{"spec.containers", "containers", "webhook.maxContainers", size.containers, limits.containers},
		{"spec.volumes", "volumes", "webhook.maxVolumes", size.volumes, limits.volumes},
	} {
		if part.have > part.allowed {
			problems = append(problems, denied(request.Pod, api.InjectTooLarge, part.field, "",
				fmt.Sprintf("the pod has %d %s; at most %d are allowed.", part.have, part.name, part.allowed),
				fmt.Sprintf("Use fewer %s, or raise the setting %s to %d.", part.name, part.setting, part.have)))
		}
	}
	if have := request.size.elements; have > limits.elements {
		problems = append(problems, denied(request.Pod, api.InjectTooLarge, "spec", "",
			fmt.Sprintf("the lists of the pod have %d elements together; at most %d are allowed.", have, limits.elements),
			"Shorten the longest list of the pod."))
	}
	return problems
}

// largeStatus is the size from which the status of a pod is not decoded: nothing looks at it.
const largeStatus = 1 << 10

// withinLimits returns the JSON of a pod without a large status, and, where there are more containers, volumes or elements
// than allowed, without those; size is then what was counted. A few bytes of JSON become a struct of a kilobyte, so this
// looks before anything is decoded. A document that is not understood is returned as it is.
func withinLimits(pod []byte, settings Settings) (document []byte, size podSize) {
	limits := settings.limits()
	if len(pod) < min(limits.containers, limits.volumes) {
		return pod, podSize{}
	}
	root := gjson.ParseBytes(pod)
	if !root.IsObject() {
		return pod, podSize{}
	}
	var containers, volumes, long, cut []gjson.Result
	root.ForEach(func(key, value gjson.Result) bool {
		switch {
		case namesField(key, "status") && len(value.Raw) > largeStatus:
			cut = append(cut, value)
		case value.IsObject() && (namesField(key, "spec") || namesField(key, "metadata")):
			value.ForEach(func(key, value gjson.Result) bool {
				switch {
				case namesField(key, "containers"), namesField(key, "initContainers"), namesField(key, "ephemeralContainers"):
					containers, size.containers = append(containers, value), size.containers+countElements(value)
				case namesField(key, "volumes"):
					volumes, size.volumes = append(volumes, value), size.volumes+countElements(value)
				}
				entries := countEntries(value.Raw)
				if size.elements += entries; entries > longMember {
					long = append(long, value)
				}
				return true
			})
		}
		return true
	})
	switch {
	case size.elements > limits.elements:
		cut = append(cut, long...)
	default:
		if size.containers > limits.containers {
			cut = append(cut, containers...)
		}
		if size.volumes > limits.volumes {
			cut = append(cut, volumes...)
		}
	}
	if len(cut) == 0 {
		return pod, podSize{}
	}
	return without(pod, cut), size
}

// longMember is how many entries a member of the spec or of the metadata has at least that is left out of a pod of too many.
const longMember = 1000

// without returns a document with null instead of some values.
func without(text []byte, values []gjson.Result) []byte {
	slices.SortFunc(values, func(a, b gjson.Result) int { return a.Index - b.Index })
	document := make([]byte, 0, len(text))
	from := 0
	for _, value := range values {
		document = append(append(document, text[from:value.Index]...), "null"...)
		from = value.Index + len(value.Raw)
	}
	return append(document, text[from:]...)
}

// namesField reports whether encoding/json, which ignores case, reads a member into a field.
func namesField(key gjson.Result, field string) bool { return strings.EqualFold(key.Str, field) }

// countElements returns the number of elements of a list; 0 for any other value.
func countElements(list gjson.Result) int {
	count := 0
	if list.IsArray() {
		list.ForEach(func(_, _ gjson.Result) bool {
			count++
			return true
		})
	}
	return count
}

// mapMembers is how many members an object has that must be a map: no type of Kubernetes has as many fields.
const mapMembers = 100

// countEntries returns how many elements all lists in a value have together, at any depth, and how many entries its large
// maps have. It reads the text once, however deep it is.
func countEntries(text string) int {
	type open struct {
		list   bool
		commas int
		empty  bool
	}
	total, stack, inString := 0, make([]open, 0, 16), false
	for at := 0; at < len(text); at++ {
		c := text[at]
		switch {
		case inString && c == '\\':
			at++
		case c == '"':
			inString = !inString
		}
		if inString || c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			continue
		}
		if len(stack) > 0 && c != ']' && c != '}' {
			stack[len(stack)-1].empty = false
		}
		switch c {
		case '[', '{':
			stack = append(stack, open{list: c == '[', empty: true})
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].commas++
			}
		case ']', '}':
			if len(stack) == 0 {
				return total
			}
			last := stack[len(stack)-1]
			if !last.empty && (last.list || last.commas >= mapMembers) {
				total += last.commas + 1
			}
			stack = stack[:len(stack)-1]
		}
	}
	return total
}
