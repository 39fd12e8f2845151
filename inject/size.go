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

// podSize counts the parts of a pod that are expensive to process.
type podSize struct {
	containers, volumes int
	elements            int // as countEntries counts them; 0 if the pod was not decoded from JSON
}

func sizeOf(pod *corev1.Pod) podSize {
	spec := &pod.Spec
	return podSize{containers: len(spec.Containers) + len(spec.InitContainers) + len(spec.EphemeralContainers), volumes: len(spec.Volumes)}
}

// maxTemplates is the number of templates that a pod may name.
const maxTemplates = 100

// maxElements is the number of elements that all lists of a pod may have together. An element such as {} takes 3 bytes of JSON but 200
// bytes of memory. As many variables with distinct names exceed what etcd stores for one object.
const maxElements = 250_000

// limits returns the numbers of containers and volumes that a pod may have.
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

// tooLarge returns the problems of a pod with more containers or volumes than the settings allow, or with too many elements.
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
			problems = append(problems, problemOf(request.Pod, api.InjectTooLarge, part.field, "",
				fmt.Sprintf("the pod has %d %s; at most %d are allowed.", part.have, part.name, part.allowed),
				fmt.Sprintf("Use fewer %s, or raise the setting %s to %d.", part.name, part.setting, part.have)))
		}
	}
	if have := request.size.elements; have > limits.elements {
		problems = append(problems, problemOf(request.Pod, api.InjectTooLarge, "spec", "",
			fmt.Sprintf("the lists of the pod have %d elements together; at most %d are allowed.", have, limits.elements),
			"Shorten the longest list of the pod."))
	}
	return problems
}

// largeStatus is the size in bytes above which a pod's status is not decoded, since injection does not read it.
const largeStatus = 1 << 10

// withinLimits returns the JSON of a pod without a large status and without lists that exceed the limits, and the counts. It runs before
// decoding, because a few bytes of JSON can become a struct of a kilobyte. It returns an invalid document unchanged.
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

// longMember is the number of entries from which a member of the spec or metadata is left out of a pod with too many elements.
const longMember = 1000

// without returns a document with the given values replaced by null.
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

// namesField reports whether encoding/json, which ignores case, decodes a member into a field.
func namesField(key gjson.Result, field string) bool { return strings.EqualFold(key.Str, field) }

// countElements returns the number of elements of a list; 0 for any other value.
func countElements(list gjson.Result) int {
	if !list.IsArray() {
		return 0
	}
	return int(list.Get("#").Int())
}

// mapMembers is the number of members from which an object must be a map, because no Kubernetes type has as many fields.
const mapMembers = 100

// countEntries returns the number of elements of all lists and of entries of all large maps in a value, at any depth. It reads the text
// once.
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
