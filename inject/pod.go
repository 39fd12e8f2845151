// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// proxyName is the name of the sidecar container.
const proxyName = api.ProxyContainer

// Pod decides whether a pod gets the sidecar, and returns the resulting pod with the reason. The pod of the request is not
// changed; it is returned itself if it is skipped or denied. An error is not caused by the user.
func Pod(request Request, config *Config) (*corev1.Pod, Report, error) {
	decided, problems := config.decide(request.Pod)
	problems = append(problems, KeyProblems(request)...)
	if !decided.inject {
		return request.Pod, Report{Result: Skipped, Reason: decided.reason, Message: decided.message, Problems: problems}, nil
	}
	if config.unavailable != nil {
		return deny(request.Pod, *config.unavailable)
	}
	if problems := config.tooLarge(request); len(problems) > 0 {
		return deny(request.Pod, problems...)
	}
	faults, warnings := config.validate(request.Pod)
	if len(faults) > 0 {
		return deny(request.Pod, faults...)
	}
	problems = append(problems, warnings...)
	after, templates, err := config.inject(request)
	var refusal *refusal
	if errors.As(err, &refusal) {
		return deny(request.Pod, refusal.problems...)
	}
	if err != nil {
		return request.Pod, Report{}, err
	}
	report := Report{Result: Injected, Reason: decided.reason, Problems: append(problems, config.warnInjected(request, after)...), Templates: templates}
	if reflect.DeepEqual(request.Pod, after) {
		report.Result, report.Reason, report.Message = Skipped, api.InjectAlready, "the pod already has everything that injection would add"
		return request.Pod, report, nil
	}
	return after, report, nil
}

// refusal is an error that denies the pod. It is caused by the user and ends the pipeline.
type refusal struct{ problems []api.InjectProblem }

func (r *refusal) Error() string { return r.problems[0].String() }

func refuse(problems ...api.InjectProblem) error { return &refusal{problems} }

func deny(pod *corev1.Pod, problems ...api.InjectProblem) (*corev1.Pod, Report, error) {
	return pod, Report{Result: Denied, Reason: problems[0].Reason, Message: problems[0].String(), Problems: problems}, nil
}

// inject runs the steps of an injection in their order. It returns the resulting pod and the names of the chosen templates.
func (c *Config) inject(request Request) (*corev1.Pod, []string, error) {
	j, err := c.newJob(request)
	if err != nil {
		return nil, nil, err
	}
	names, err := j.chosen()
	if err != nil {
		return nil, nil, err
	}
	for _, step := range []func() error{func() error { return j.merge(names) }, j.reapply, j.finish} {
		if err := step(); err != nil {
			return nil, nil, err
		}
		if j.abandoned() {
			return nil, nil, ErrAbandoned
		}
	}
	if problems := newFaults(request.Pod, j.merged); len(problems) > 0 {
		return nil, nil, refuse(problems...)
	}
	return j.merged, names, nil
}

// job is one injection in progress. newJob sets the first fields; the steps change the pods at the end.
type job struct {
	*Config
	request       Request
	pod           *corev1.Pod       // as received, without the user that OpenShift assigned to its proxy
	data          *data             // the input of the templates
	effective     *effective        // the pod's ProxyConfig (mesh.go)
	nativeSidecar bool              // the proxy becomes an init container that always restarts
	proxyEnv      map[string]string // cluster, network, and the other parameters of the URL path
	wasInjected   bool              // the pod was injected before
	status        status            // of that injection
	recorded      overrides         // the user's containers that it recorded

	fromTemplates *corev1.Pod // merge: all rendered templates over an empty pod
	merged        *corev1.Pod // merge: all rendered templates over the pod; reapply and finish complete it
}

func (j *job) abandoned() bool { return j.request.isAbandoned() }

func (r Request) isAbandoned() bool { return r.Abandoned != nil && r.Abandoned() }

// status is the annotation that marks an injected pod; setMetadata writes it. Istio defines the order of its keys, and null for an empty
// list.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

// overrides are the user's containers that were merged over containers of templates.
type overrides struct {
	Containers     []corev1.Container `json:"containers,omitempty"`
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
}

const annotationOverrides = "proxy.istio.io/overrides"

func (c *Config) newJob(request Request) (*job, error) {
	pod := request.Pod
	if c.openShift() && findProxy(pod) != nil {
		pod = pod.DeepCopy()
		removeAssignedUser(pod)
	}
	j := &job{Config: c, request: request, pod: pod, proxyEnv: c.proxyEnv(request.Path, pod), fromTemplates: &corev1.Pod{}, merged: pod.DeepCopy()}
	var text string
	text, j.wasInjected = pod.Annotations[api.AnnotationStatus]
	hasStatus := j.wasInjected && json.Unmarshal([]byte(text), &j.status) == nil
	if !hasStatus {
		j.status = status{} // nothing is known of the earlier injection
	}
	if text, written := pod.Annotations[annotationOverrides]; written {
		if err := json.Unmarshal([]byte(text), &j.recorded); err != nil {
			return nil, refuse(problemOf(pod, api.InjectInvalidAnnotation, api.AnnotationField(annotationOverrides), text,
				fmt.Sprintf("invalid JSON: %v.", err), "Remove it: the injector writes it."))
		}
	}
	effective, err := c.proxyConfigOf(pod)
	if err != nil {
		return nil, refuse(problemOf(pod, api.InjectInvalidAnnotation, api.AnnotationField(annotationProxyConfig), pod.Annotations[annotationProxyConfig],
			fmt.Sprintf("failed to convert to apply proxy config: %v.", err), "Write a ProxyConfig as YAML."))
	}
	j.effective = effective
	detected := c.native(pod)
	j.nativeSidecar = wantsNative(pod, detected)
	j.data = c.newData(j.stripped(hasStatus), request, effective.config, detected)
	return j, nil
}

// stripped returns the pod for the templates: as strip leaves it if the status of an earlier injection is known, and with the user's
// containers that were recorded.
func (j *job) stripped(hasStatus bool) *corev1.Pod {
	if !hasStatus && len(j.recorded.Containers) == 0 && len(j.recorded.InitContainers) == 0 {
		return j.pod
	}
	pod := j.pod.DeepCopy()
	if hasStatus {
		j.strip(pod)
	}
	pod.Spec.Containers = withMissing(pod.Spec.Containers, j.recorded.Containers)
	pod.Spec.InitContainers = withMissing(pod.Spec.InitContainers, j.recorded.InitContainers)
	return pod
}

// withMissing adds to a list the recorded containers whose names are not in it, each name once.
func withMissing(list, recorded []corev1.Container) []corev1.Container {
	present := make(map[string]bool, len(list)+len(recorded))
	for i := range list {
		present[list[i].Name] = true
	}
	for _, container := range recorded {
		if !present[container.Name] {
			present[container.Name] = true
			list = append(list, container)
		}
	}
	return list
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// strip removes the containers, the init containers, the Prometheus annotations, and the status annotation of an earlier injection.
// It keeps its volumes and image pull secrets.
func (j *job) strip(pod *corev1.Pod) {
	without := func(list []corev1.Container, names []string) []corev1.Container {
		listed := setOf(names)
		return slices.DeleteFunc(list, func(c corev1.Container) bool { return listed[c.Name] })
	}
	pod.Spec.Containers = without(pod.Spec.Containers, j.status.Containers)
	pod.Spec.InitContainers = without(pod.Spec.InitContainers, j.status.InitContainers)
	if port, written := prometheusAnnotation(pod, prometheusPort); written && port == j.statusPort() {
		clearPrometheus(pod)
	}
	delete(pod.Annotations, api.AnnotationStatus)
}

// allContainers yields the init containers and containers of a pod, each with the field of its list.
func allContainers(spec *corev1.PodSpec) iter.Seq2[string, *corev1.Container] {
	return func(yield func(string, *corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield("spec.initContainers", &spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield("spec.containers", &spec.Containers[i]) {
				return
			}
		}
	}
}

// findContainer returns a pointer into the list; nil if no container has the name.
func findContainer(list []corev1.Container, name string) *corev1.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// findInPod searches the containers, then the init containers.
func findInPod(pod *corev1.Pod, name string) *corev1.Container {
	if found := findContainer(pod.Spec.Containers, name); found != nil {
		return found
	}
	return findContainer(pod.Spec.InitContainers, name)
}

func findProxy(pod *corev1.Pod) *corev1.Container { return findInPod(pod, proxyName) }
