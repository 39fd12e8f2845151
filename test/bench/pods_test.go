// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// workload describes the pods of one Deployment.
type workload struct {
	app, version, namespace string
	hash                    string // of the pod template
	port                    int32
	containers, env         int // further containers; env variables of each
	annotation              int // bytes of an annotation
	volumes, annotations    int // further ones
	probes                  bool
}

// size is a kind of pod that the benchmarks send, with several Deployments of it.
type size struct {
	name      string
	count     int // of different requests; more than would be found in a cache, where pods are distinct
	workloads []workload
}

// sizes are the pods of the benchmarks, by what is large in them.
var sizes = []size{
	{"small", 4000, []workload{{app: "web", version: "v1", namespace: "shop", port: 8080}}},
	{"tutorial", 4000, []workload{{app: "springbootapp", version: "v1", namespace: "springistio", port: 8080, probes: true}}},
	{"bookinfo", 4000, []workload{
		{app: "productpage", version: "v1", namespace: "bookinfo", port: 9080},
		{app: "details", version: "v1", namespace: "bookinfo", port: 9080},
		{app: "ratings", version: "v1", namespace: "bookinfo", port: 9080},
		{app: "reviews", version: "v1", namespace: "bookinfo", port: 9080},
		{app: "reviews", version: "v2", namespace: "bookinfo", port: 9080},
		{app: "reviews", version: "v3", namespace: "bookinfo", port: 9080},
	}},
	{"containers=30", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8000, containers: 29, env: 4, probes: true}}},
	{"env=2000", 60, []workload{{app: "env", version: "v1", namespace: "shop", port: 8080, env: 2000}}},
	{"bytes=1M", 30, []workload{{app: "large", version: "v1", namespace: "shop", port: 8080, annotation: 200 << 10, env: 12000}}},
	// The same in growing numbers: the cost must grow no faster.
	{"volumes=10", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, volumes: 10}}},
	{"volumes=100", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, volumes: 100}}},
	{"volumes=1000", 30, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, volumes: 1000}}},
	{"containers=10", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, containers: 9}}},
	{"containers=100", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, containers: 99}}},
	{"containers=1000", 30, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, containers: 999}}},
	{"env=10", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, env: 10}}},
	{"env=100", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, env: 100}}},
	{"env=1000", 30, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, env: 1000}}},
	{"annotations=10", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, annotations: 10}}},
	{"annotations=100", 60, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, annotations: 100}}},
	{"annotations=1000", 30, []workload{{app: "many", version: "v1", namespace: "shop", port: 8080, annotations: 1000}}},
}

// change says in what the pods of a benchmark differ from each other.
type change string

const (
	replicas change = "replicas" // in what differs between the replicas of one Deployment
	distinct change = "distinct" // in the names of their Deployment and app as well
	first    change = "first"    // in the same, and nothing is known from an earlier pod
)

// reviews returns the bodies of requests as the API server would send them: count of them, of all workloads in turn.
func (s size) reviews(b testing.TB, how change, count int) [][]byte {
	b.Helper()
	bodies := make([][]byte, 0, count)
	for i := range count {
		w := s.workloads[i%len(s.workloads)]
		w.hash = "6d4cf56db6"
		if how != replicas {
			w.app = fmt.Sprintf("%s-%05d", w.app, i)
		}
		body, err := w.review(i)
		if err != nil {
			b.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// review returns the request for the n-th pod of a workload.
func (w workload) review(n int) ([]byte, error) {
	pod, err := json.Marshal(w.pod(n))
	if err != nil {
		return nil, err
	}
	return json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       types.UID(fmt.Sprintf("0b0c1de4-91cb-4b0e-8b6a-%012d", n)),
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: w.namespace, Operation: admissionv1.Create,
			Object: runtime.RawExtension{Raw: pod},
		},
	})
}

// pod is the n-th pod of a workload as its ReplicaSet makes it and the ServiceAccount plugin of the API server leaves it.
func (w workload) pod(n int) *corev1.Pod {
	set, suffix := w.app+"-"+w.version+"-"+w.hash, randomSuffix(n)
	volume := "kube-api-access-" + randomSuffix(n*7+3)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: set + "-" + suffix, GenerateName: set + "-", Namespace: w.namespace,
			UID:    types.UID(fmt.Sprintf("7f9d4e0a-3d51-4a7f-9d43-%012d", n)),
			Labels: map[string]string{"app": w.app, "version": w.version, "pod-template-hash": w.hash},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set, UID: "5a1d9f5e-7f67-4a39-8c07-3a7f0c6b7f11",
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, ServiceAccountName: w.app, SchedulerName: "default-scheduler",
			TerminationGracePeriodSeconds: new(int64(30)), EnableServiceLinks: new(true),
			SecurityContext: &corev1.PodSecurityContext{},
			Volumes:         []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{Projected: accessSources()}}},
		},
	}
	if w.annotation > 0 {
		pod.Annotations = map[string]string{"example.com/notes": strings.Repeat("0123456789abcdef", w.annotation/16)}
	}
	for i := range w.annotations {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[fmt.Sprintf("example.com/note-%d", i)] = "a note"
	}
	for i := range w.volumes {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("scratch-%d", i), VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	for i := range w.containers + 1 {
		pod.Spec.Containers = append(pod.Spec.Containers, w.container(i, volume))
	}
	return pod
}

func (w workload) container(i int, volume string) corev1.Container {
	c := corev1.Container{
		Name: "app", Image: "registry.example/" + w.app + ":1.0", ImagePullPolicy: corev1.PullIfNotPresent,
		Ports:                  []corev1.ContainerPort{{ContainerPort: w.port + int32(i), Protocol: corev1.ProtocolTCP}},
		Resources:              corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
		VolumeMounts:           []corev1.VolumeMount{{Name: volume, ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	if i > 0 {
		c.Name = fmt.Sprintf("app-%d", i)
	}
	if w.probes {
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/actuator/health", Port: intstr.FromInt32(w.port + int32(i)), Scheme: corev1.URISchemeHTTP}},
			TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
		}
	}
	for k := range w.env {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", k), Value: "a value of a setting"})
	}
	return c
}

func accessSources() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: new(int32(0o644)),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}

// randomSuffix returns five characters of those that the API server's names have, different for every n below 14 million.
func randomSuffix(n int) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, 5)
	for i := range out {
		out[i] = alphabet[n%len(alphabet)]
		n /= len(alphabet)
	}
	return string(out)
}
