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
}

func sizeOf(pod *corev1.Pod) podSize {
	spec := &pod.Spec
	return podSize{len(spec.Containers) + len(spec.InitContainers) + len(spec.EphemeralContainers), len(spec.Volumes)}
}

// maxTemplates bounds how many templates a pod may name.
const maxTemplates = 100

// limits returns the most containers and volumes that a pod may have.
func (s Settings) limits() podSize {
	limits := podSize{s.MaxContainers, s.MaxVolumes}
	if limits.containers == 0 {
		limits.containers = api.DefaultMaxContainers
	}
	if limits.volumes == 0 {
		limits.volumes = api.DefaultMaxVolumes
	}
	return limits
}

// tooLarge returns what denies a pod of more containers or volumes than the settings allow.
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
				fmt.Sprintf("Use fewer %s, or have the setting %s raised to %d.", part.name, part.setting, part.have)))
		}
	}
	return problems
}

// largeStatus is the size from which the status of a pod is not decoded: nothing looks at it.
const largeStatus = 1 << 10

// withinLimits returns the JSON of a pod without a large status, and, where there are more containers or volumes than
// the settings allow, without those; size is then what was counted. A few bytes of JSON become a struct of a kilobyte, so
// this looks before anything is decoded. A document that is not understood is returned as it is.
func withinLimits(pod []byte, settings Settings) (document []byte, size podSize) {
	limits := settings.limits()
	if len(pod) < min(limits.containers, limits.volumes) {
		return pod, podSize{}
	}
	var containers, volumes, cut []span
	err := membersOf(pod, skipSpace(pod, 0), func(key []byte, value span) error {
		switch {
		case is(key, "status") && value.to-value.from > largeStatus:
			cut = append(cut, value)
		case is(key, "spec"):
			return membersOf(pod, value.from, func(key []byte, value span) error {
				switch {
				case is(key, "containers"), is(key, "initContainers"), is(key, "ephemeralContainers"):
					containers, size.containers = append(containers, value), size.containers+countElements(pod[value.from:value.to])
				case is(key, "volumes"):
					volumes, size.volumes = append(volumes, value), size.volumes+countElements(pod[value.from:value.to])
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return pod, podSize{}
	}
	if size.containers > limits.containers {
		cut = append(cut, containers...)
	}
	if size.volumes > limits.volumes {
		cut = append(cut, volumes...)
	}
	if len(cut) == 0 {
		return pod, podSize{}
	}
	slices.SortFunc(cut, func(a, b span) int { return a.from - b.from })
	document = make([]byte, 0, len(pod))
	from := 0
	for _, s := range cut {
		document = append(append(document, pod[from:s.from]...), "null"...)
		from = s.to
	}
	return append(document, pod[from:]...), size
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
