// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// podSize is how much of what is costly a pod holds.
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
// two hundred of memory. So many variables with names of their own are more than etcd stores of one object.
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
	var containers, volumes, long, cut []span
	count := func(key []byte, value span) error {
		switch {
		case is(key, "containers"), is(key, "initContainers"), is(key, "ephemeralContainers"):
			containers, size.containers = append(containers, value), size.containers+countElements(pod[value.from:value.to])
		case is(key, "volumes"):
			volumes, size.volumes = append(volumes, value), size.volumes+countElements(pod[value.from:value.to])
		}
		entries := countEntries(pod[value.from:value.to])
		if size.elements += entries; entries > longMember {
			long = append(long, value)
		}
		return nil
	}
	err := membersOf(pod, skipSpace(pod, 0), func(key []byte, value span) error {
		switch {
		case is(key, "status") && value.to-value.from > largeStatus:
			cut = append(cut, value)
		case is(key, "spec"), is(key, "metadata"):
			return membersOf(pod, value.from, count)
		}
		return nil
	})
	if err != nil {
		return pod, podSize{}
	}
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
func without(text []byte, values []span) []byte {
	slices.SortFunc(values, func(a, b span) int { return a.from - b.from })
	document := make([]byte, 0, len(text))
	from := 0
	for _, s := range values {
		document = append(append(document, text[from:s.from]...), "null"...)
		from = s.to
	}
	return append(document, text[from:]...)
}

// membersOf visits the members of an object; a value that is none has no members.
func membersOf(text []byte, at int, visit func(key []byte, value span) error) error {
	if at >= len(text) || text[at] != '{' {
		return nil
	}
	_, err := members(text, at, visit)
	return err
}

// is reports whether a key of JSON is taken for a field, as encoding/json does in any case of its letters.
func is(key []byte, field string) bool { return bytes.EqualFold(key, []byte(field)) }

// countElements returns how many elements a list has; 0 for what is no list.
func countElements(text []byte) int {
	count := 0
	if len(text) == 0 || text[0] != '[' {
		return 0
	}
	_, err := scanList(text, 0, '[', ']', func(at int) (int, error) {
		count++
		return scanValue(text, at)
	})
	if err != nil {
		return 0
	}
	return count
}

// mapMembers is how many members an object has that must be a map: no type of Kubernetes has as many fields.
const mapMembers = 100

// countEntries returns how many elements all lists in a value have, at any depth, and how many entries the large maps. Text
// that is no JSON has any number.
func countEntries(text []byte) int {
	type open struct {
		list   bool
		commas int
	}
	total, stack := 0, make([]open, 0, 16)
	for at := 0; at < len(text); at++ {
		switch text[at] {
		case '"':
			end, err := scanString(text, at)
			if err != nil {
				return total
			}
			at = end - 1
		case '[', '{':
			stack = append(stack, open{list: text[at] == '['})
			if next := skipSpace(text, at+1); next < len(text) && (text[next] == ']' || text[next] == '}') {
				stack[len(stack)-1].commas = -1 // it is empty
			}
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].commas++
			}
		case ']', '}':
			if len(stack) == 0 {
				return total
			}
			if last := stack[len(stack)-1]; last.list || last.commas >= mapMembers {
				total += last.commas + 1
			}
			stack = stack[:len(stack)-1]
		}
	}
	return total
}
