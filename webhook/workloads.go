// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// WorkloadsPath is where WorkloadAdvice is served.
const WorkloadsPath = "/validate/workloads"

// Workloads are the dependencies of WorkloadAdvice.
type Workloads struct {
	Namespaces NamespaceReader
	Config     ConfigSource
	Entries    PodSelector
}

// WorkloadAdvice answers CREATE and UPDATE of workloads with warnings if their pods will get no sidecar unexpectedly, or one that
// does not work: it makes the decision of the pods' webhook about the pod that the workload's controller would create. A workload with
// a controller gets no warnings, nor does an update that does not change the pods.
func WorkloadAdvice(w Workloads) http.Handler {
	return advice(func(ctx context.Context, request admission.Request) ([]string, error) {
		after, before, err := decoded[workload](request)
		if err != nil {
			return nil, err
		}
		if byCluster(request) || after.DeletionTimestamp != nil || metav1.GetControllerOfNoCopy(after) != nil || after.same(before) {
			return nil, nil
		}
		after.Namespace = request.Namespace
		problems, err := w.problems(ctx, after)
		if err != nil {
			return nil, err
		}
		var warnings []string
		for _, problem := range problems {
			warnings = append(warnings, string(problem.Reason)+": "+problem.String())
		}
		for _, problem := range after.misplacedRouting() {
			warnings = append(warnings, string(problem.Reason)+": "+problem.String())
		}
		return warnings, nil
	})
}

// workload is what all built-in kinds that create pods have in common. One of the two templates is set.
type workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Template    json.RawMessage `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template json.RawMessage `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

// template returns the pod template as it was sent, and its path.
func (w *workload) template() (raw []byte, path string) {
	if len(w.Spec.JobTemplate.Spec.Template) > 0 {
		return w.Spec.JobTemplate.Spec.Template, "spec.jobTemplate.spec.template."
	}
	return w.Spec.Template, "spec.template."
}

// same reports whether two versions of a workload create the same pods and have the same misplaced keys.
func (w *workload) same(before *workload) bool {
	is, _ := w.template()
	was, _ := before.template()
	return bytes.Equal(is, was) && len(w.misplaced(nil)) == len(before.misplaced(nil)) && slices.Equal(w.misplacedRouting(), before.misplacedRouting())
}

// problems returns the Problems of the workload's pods as those of the workload.
func (w Workloads) problems(ctx context.Context, object *workload) ([]api.InjectProblem, error) {
	raw, path := object.template()
	template := corev1.PodTemplateSpec{}
	if err := json.Unmarshal(raw, &template); err != nil {
		return nil, fmt.Errorf("decoding the pod template of %s %s: %w", object.Kind, object.Name, err)
	}
	namespace := w.Namespaces.Namespace(ctx, object.Namespace)
	selected, err := w.Entries.Selects(ctx, namespace, template.Labels)
	if err != nil {
		return nil, err
	}
	request := inject.Request{Pod: podOf(object, template), Namespace: namespace, Path: "/inject"}
	problems, err := w.decided(request, selected)
	if err != nil {
		return nil, err
	}
	problems = append(append(problems, object.misplaced(request.Pod)...), inject.NamespaceKeyProblems(namespace)...)
	for i := range problems {
		problems[i] = ofWorkload(problems[i], object, path)
	}
	return problems, nil
}

// decided returns the Problems of the decision about the pod. For a pod that the API server does not send, they are labels and
// annotations that were probably meant to inject it.
func (w Workloads) decided(request inject.Request, selected bool) ([]api.InjectProblem, error) {
	if !selected {
		return notSelected(request), nil
	}
	config, err := w.Config.Current()
	if err != nil {
		return nil, err
	}
	_, report, err := inject.Pod(request, config)
	if err != nil {
		return nil, fmt.Errorf("deciding about a pod: %w", err)
	}
	problems := report.Problems
	if isUnexpectedSkip(report) {
		problems = append(problems, skipped(request.Pod, report))
	}
	return problems, nil
}

// skipped is the answer to "why has my pod no sidecar?" as a Problem.
func skipped(pod *corev1.Pod, report inject.Report) api.InjectProblem {
	return api.InjectProblem{
		Object: inject.PodRef(pod), Reason: report.Reason,
		Message: "no sidecar: " + report.Message + ".", Advice: report.Reason.Advice(),
	}
}

// notSelected returns labels and annotations that were probably meant to inject a pod that no entry of Outrigger selects.
func notSelected(request inject.Request) []api.InjectProblem {
	pod, namespace := request.Pod, request.Namespace
	object := api.ObjectRef{Kind: "Pod", Namespace: pod.Namespace}
	problems := inject.KeyProblems(request)
	label, labeled := pod.Labels[api.KeySidecarInject]
	if labeled && label != "true" && label != "false" && label != "" {
		problems = append(problems, api.UnreadableChoice(object, api.LabelField(api.KeySidecarInject), label))
	}
	if annotation := pod.Annotations[api.KeySidecarInject]; annotation == "true" && !labeled && namespace.Labels[api.LabelInjection] == "" && namespace.Labels[api.LabelRevision] == "" {
		problems = append(problems, api.InjectProblem{
			Object: object, Field: api.AnnotationField(api.KeySidecarInject), Value: annotation, Reason: api.InjectMisplacedKey,
			Message: "in a Namespace that is not labeled only a label of this name injects.",
			Advice:  "Write it under metadata.labels of the pod's template.",
		})
	}
	return problems
}

// misplaced returns the labels and annotations of injection that are on the workload itself, where they have no effect, and not on
// its pods.
func (w *workload) misplaced(pod *corev1.Pod) []api.InjectProblem {
	var problems []api.InjectProblem
	for _, key := range []string{api.KeySidecarInject, "inject.istio.io/templates", "proxy.istio.io/config", "sidecar.istio.io/nativeSidecar"} {
		for _, place := range []struct {
			values map[string]string
			field  string
		}{{w.Labels, api.LabelField(key)}, {w.Annotations, api.AnnotationField(key)}} {
			value, written := place.values[key]
			if !written || pod != nil && (pod.Labels[key] != "" || pod.Annotations[key] != "") {
				continue
			}
			problems = append(problems, api.InjectProblem{
				Object: api.ObjectRef{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}, Field: place.field, Value: value, Reason: api.InjectMisplacedKey,
				Message: "it is read on pods, not on a " + w.Kind + ".", Advice: "Write it under the metadata of the pod's template.",
			})
		}
	}
	return problems
}

// misplacedRouting returns the annotations and labels about routing that were written on a workload or its pods, where
// nothing reads them.
func (w *workload) misplacedRouting() []api.RouteProblem {
	raw, path := w.template()
	var template struct {
		Metadata struct{ Labels, Annotations map[string]string }
	}
	_ = json.Unmarshal(raw, &template) // one that cannot be read is refused elsewhere
	var out []api.RouteProblem
	for _, key := range api.RoutingKeys() {
		for _, place := range []struct {
			path                string
			labels, annotations map[string]string
		}{{"", w.Labels, w.Annotations}, {path, template.Metadata.Labels, template.Metadata.Annotations}} {
			for field, marks := range map[string]map[string]string{api.LabelField(key.Key): place.labels, api.AnnotationField(key.Key): place.annotations} {
				value, written := marks[key.Key]
				if !written {
					continue
				}
				out = append(out, api.RouteProblem{
					Object: api.ObjectRef{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}, Field: place.path + field, Value: value, Reason: api.RouteUnknownAnnotation,
					Message: "It has no effect on a " + w.Kind + " or its pods.", Advice: "Set it on the " + strings.Join(key.On, " or ") + ".",
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b api.RouteProblem) int { return strings.Compare(a.Field, b.Field) })
	return out
}

func podOf(object *workload, template corev1.PodTemplateSpec) *corev1.Pod {
	generated := inject.Generated(object.TypeMeta, object.Name, template.Labels)
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
	pod.Namespace, pod.Name, pod.GenerateName, pod.OwnerReferences = object.Namespace, "", generated.GenerateName, generated.OwnerReferences
	for key, value := range generated.Labels {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[key] = value
	}
	return pod
}

// ofWorkload turns a Problem of the pod into one of the workload's template.
func ofWorkload(problem api.InjectProblem, object *workload, path string) api.InjectProblem {
	if problem.Object.Kind != "Pod" {
		return problem
	}
	problem.Object = api.ObjectRef{Kind: object.Kind, Namespace: object.Namespace, Name: object.Name + strings.TrimSuffix(object.GenerateName, "-")}
	if problem.Field != "" {
		problem.Field = path + problem.Field
	}
	return problem
}
