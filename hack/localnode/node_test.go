// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"outrigger.dev/outrigger/hack/controlplane"
)

const image = "registry.example/app:1"

// patience is how long a test waits for an effect. It is a bound for failure, never a pause.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var shared *controlplane.ControlPlane

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// controlPlane starts the tests' control plane when the first test asks for it.
func controlPlane(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	if shared != nil {
		return shared
	}
	var err error
	if shared, err = controlplane.Start(t.Context(), controlplane.Options{Progress: os.Stderr}); err != nil {
		t.Fatal(err)
	}
	return shared
}

// record is a log that can be read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// start starts a node of its own for a test, on the shared control plane, and returns its client and log.
func start(t *testing.T) (*Node, kubernetes.Interface, *record) {
	t.Helper()
	config := controlPlane(t).Config
	log := &record{}
	node, err := Start(t.Context(), Options{
		Config: config, NodeName: strings.ToLower(t.Name()), Images: map[string]string{image: app(t)}, Dir: t.TempDir(), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(withoutLimit(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the node did:\n%s", log)
		}
		node.Close()
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: node.Name()}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace has its ServiceAccount", func() error {
		_, err := client.CoreV1().ServiceAccounts(node.Name()).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return node, client, log
}

// app builds the test's program once.
func app(t *testing.T) string {
	t.Helper()
	path, err := buildApp()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildApp = sync.OnceValues(func() (string, error) {
	path := filepath.Join(shared.Dir, "app")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/app").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the test's program: %w\n%s", err, out)
	}
	return path, err
})

// podSpec is a pod for this node alone.
func podSpec(node *Node, args ...string) corev1.PodSpec {
	grace := int64(10)
	return corev1.PodSpec{
		NodeSelector:                  map[string]string{corev1.LabelHostname: node.Name(), Mark: "true"},
		Tolerations:                   []corev1.Toleration{{Key: Mark, Operator: corev1.TolerationOpExists}},
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "app", Image: image, Args: args}},
	}
}

func create(t *testing.T, client kubernetes.Interface, node *Node, name string, spec corev1.PodSpec) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	if _, err := client.CoreV1().Pods(node.Name()).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// until waits until a pod is as it should be, and returns it.
func until(t *testing.T, client kubernetes.Interface, node *Node, name string, check func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, "pod "+name, func() (err error) {
		pod, err = client.CoreV1().Pods(node.Name()).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !check(pod) {
			return fmt.Errorf("its status is %+v; its log is %q", pod.Status, node.Logs(node.Name(), name))
		}
		return nil
	})
	return pod
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func serverSpec(node *Node) corev1.PodSpec {
	spec := podSpec(node, "-listen=$(POD_IP):8080", "-linger=2s")
	spec.Containers[0].Env = []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	spec.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
	}
	return spec
}

// ask makes one request on a connection of its own.
func ask(address string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestDeploymentServesThroughARollout(t *testing.T) {
	node, client, _ := start(t)
	ctx, namespace, replicas := t.Context(), node.Name(), int32(2)
	balancer, err := node.Balance(types.NamespacedName{Namespace: namespace, Name: "web"}, "http")
	if err != nil {
		t.Fatal(err)
	}
	defer balancer.Close()
	if answer, err := ask(balancer.Address()); err == nil {
		t.Fatalf("a Service that does not exist answered %q", answer)
	}
	labels := map[string]string{"app": "web"}
	zero, one := intstr.FromInt32(0), intstr.FromInt32(1)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &zero, MaxSurge: &one}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: serverSpec(node)},
	}}
	if _, err := client.AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}}
	if _, err := client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answering := func(count int, not []string) []string {
		var names []string
		eventually(t, fmt.Sprintf("%d pods answer", count), func() error {
			names = nil
			for range 2 * count {
				name, err := ask(balancer.Address())
				if err != nil {
					return err
				}
				names = append(names, name)
			}
			slices.Sort(names)
			names = slices.Compact(names)
			old := slices.ContainsFunc(names, func(name string) bool { return slices.Contains(not, name) })
			if len(names) != count || len(balancer.Endpoints()) != count || old {
				return fmt.Errorf("%q at %q", names, balancer.Endpoints())
			}
			return nil
		})
		return names
	}
	before := answering(2, nil)

	stop, done := make(chan struct{}), make(chan struct{})
	var asked int
	var failures []error
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			asked++
			if _, err := ask(balancer.Address()); err != nil {
				failures = append(failures, err)
			}
		}
	}()
	restart := `{"spec":{"template":{"metadata":{"annotations":{"restarted":"yes"}}}}}`
	if _, err := client.AppsV1().Deployments(namespace).Patch(ctx, "web", types.StrategicMergePatchType, []byte(restart), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rollout is complete", func() error {
		d, err := client.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != 2 || d.Status.AvailableReplicas != 2 || d.Status.Replicas != 2 {
			return fmt.Errorf("%+v", d.Status)
		}
		return nil
	})
	answering(2, before)
	for _, name := range before {
		eventually(t, "the old pod is gone", func() error {
			_, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(errors.New(name+" is there"), err)
		})
		if logs := node.Logs(namespace, name); !strings.Contains(logs, "heard terminated") {
			t.Errorf("pod %s ended without SIGTERM; its log is %q", name, logs)
		}
	}
	close(stop)
	<-done
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed during the rollout, the first: %v", len(failures), asked, failures[0])
	}
	t.Logf("%d requests during the rollout", asked)
}

func TestJobEndsWithItsExitCode(t *testing.T) {
	node, client, _ := start(t)
	for name, code := range map[string]int32{"good": 0, "bad": 3} {
		backoff := int32(0)
		spec := podSpec(node, fmt.Sprintf("-exit=%d", code))
		spec.RestartPolicy = corev1.RestartPolicyNever
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{BackoffLimit: &backoff, Template: corev1.PodTemplateSpec{Spec: spec}}}
		if _, err := client.BatchV1().Jobs(node.Name()).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		want := batchv1.JobComplete
		if code != 0 {
			want = batchv1.JobFailed
		}
		eventually(t, "Job "+name+" ends", func() error {
			job, err := client.BatchV1().Jobs(node.Name()).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range job.Status.Conditions {
				if c.Type == want && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("%+v", job.Status)
		})
		pods, err := client.CoreV1().Pods(node.Name()).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + name})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 1 {
			t.Fatalf("Job %s has %d pods", name, len(pods.Items))
		}
		ended := pods.Items[0].Status.ContainerStatuses[0].State.Terminated
		if ended == nil || ended.ExitCode != code {
			t.Errorf("Job %s: the container ended with %+v, want code %d", name, ended, code)
		}
	}
}

func TestRestartOnFailureRunsAgain(t *testing.T) {
	node, client, _ := start(t)
	spec := podSpec(node, "-exit=1")
	spec.RestartPolicy = corev1.RestartPolicyOnFailure
	create(t, client, node, "again", spec)
	pod := until(t, client, node, "again", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount >= 2
	})
	if last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 1 || last.Reason != "Error" {
		t.Errorf("its last state is %+v", last)
	}
	if pod.Status.Phase != corev1.PodRunning {
		t.Errorf("its phase is %s", pod.Status.Phase)
	}
}

func TestDeafProcessIsKilledAfterItsGracePeriod(t *testing.T) {
	node, client, log := start(t)
	spec, grace := serverSpec(node), int64(1)
	spec.TerminationGracePeriodSeconds = &grace
	spec.Containers[0].Args = append(spec.Containers[0].Args, "-deaf")
	create(t, client, node, "deaf", spec)
	until(t, client, node, "deaf", isReady)
	stream, err := client.CoreV1().Pods(node.Name()).GetLogs("deaf", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if err := client.CoreV1().Pods(node.Name()).Delete(t.Context(), "deaf", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone", func() error {
		_, err := client.CoreV1().Pods(node.Name()).Get(t.Context(), "deaf", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	for _, want := range []string{"container app: killed", "ended with code 137"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the node's log lacks %q", want)
		}
	}
	if followed, err := io.ReadAll(stream); err != nil || !strings.Contains(string(followed), "heard terminated") {
		t.Errorf("whoever follows the log reads %q (%v)", followed, err)
	}
	if logs := node.Logs(node.Name(), "deaf"); !strings.Contains(logs, "heard terminated") {
		t.Errorf("it was killed without SIGTERM; its log is %q", logs)
	}
}

func TestFailedLivenessRestartsAndReadinessDoesNot(t *testing.T) {
	node, client, _ := start(t)
	probe := corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}}
	live, ready := serverSpec(node), serverSpec(node)
	for _, spec := range []*corev1.PodSpec{&live, &ready} {
		spec.Containers[0].Args = append(spec.Containers[0].Args, "-sick-after=2s", "-linger=0s")
		spec.Containers[0].StartupProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 20, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}}}
	}
	live.Containers[0].LivenessProbe = &probe
	ready.Containers[0].ReadinessProbe = &probe
	create(t, client, node, "live", live)
	create(t, client, node, "ready", ready)
	until(t, client, node, "ready", isReady)
	until(t, client, node, "ready", func(p *corev1.Pod) bool { return !isReady(p) && p.Status.ContainerStatuses[0].State.Running != nil })
	until(t, client, node, "live", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount >= 1
	})
	pod := until(t, client, node, "ready", func(*corev1.Pod) bool { return true })
	if got := pod.Status.ContainerStatuses[0].RestartCount; got != 0 {
		t.Errorf("the pod that was not ready was restarted %d times", got)
	}
}

func TestContainersSeeTheirVolumesAndTheirAccount(t *testing.T) {
	node, client, _ := start(t)
	ctx, namespace := t.Context(), node.Name()
	spec := podSpec(node, "-whoami", "-exit=0", "-show=/etc/app/greeting,$(WHERE),/etc/info/labels,PLAIN,SECRET,NONE,CPU,FILE")
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret", Items: []corev1.KeyToPath{{Key: "password", Path: "deep/pass"}}}}},
		{Name: "info", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		}}}},
	}
	optional := true
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/app"}, {Name: "secret", MountPath: "/etc/secret"}, {Name: "info", MountPath: "/etc/info"}}
	spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "PLAIN", Value: "plain"},
		{Name: "WHERE", Value: "/etc/secret/deep/pass"},
		{Name: "FILE", Value: "/etc/app/greeting"},
		{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Key: "password"}}},
		{Name: "NONE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}, Key: "x", Optional: &optional}}},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "reader", Labels: map[string]string{"b": "2", "a": "1"}}, Spec: spec}
	if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// It waits for what it mounts, and says for what.
	until(t, client, node, "reader", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			strings.Contains(p.Status.ContainerStatuses[0].State.Waiting.Message, `configmaps "config" not found`)
	})
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{"greeting": "hello"}}
	if _, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, Data: map[string][]byte{"password": []byte("sesame")}}
	if _, err := client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := until(t, client, node, "reader", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	path := filepath.Join(node.options.Dir, "pods", string(ended.UID), "volumes", "config", "greeting")
	want := "file: hello <nil>\nfile: sesame <nil>\nfile: a=\"1\"\nb=\"2\" <nil>\nPLAIN=plain\nSECRET=sesame\nNONE=\nCPU=8\nFILE=" + path +
		"\nI am system:serviceaccount:" + namespace + ":default\n"
	if got := node.Logs(namespace, "reader"); got != want {
		t.Errorf("the container saw\n%s\nwant\n%s", got, want)
	}
	shown, err := shared.Kubectl(ctx, nil, "logs", "reader", "-n", namespace)
	if err != nil || shown != want {
		t.Errorf("kubectl logs shows (%v)\n%s\nwant\n%s", err, shown, want)
	}
	if last, err := shared.Kubectl(ctx, nil, "logs", "reader", "-n", namespace, "--tail=1"); err != nil || !strings.HasSuffix(want, "\n"+last) {
		t.Errorf("kubectl logs --tail=1 shows %q (%v)", last, err)
	}
}

func TestInitContainersComeFirstAndSidecarsEndLast(t *testing.T) {
	node, client, log := start(t)
	always := corev1.ContainerRestartPolicyAlways
	spec := podSpec(node, "-say=main", "-exit=0")
	spec.RestartPolicy = corev1.RestartPolicyNever
	sidecar := serverSpec(node).Containers[0]
	sidecar.Name, sidecar.RestartPolicy, sidecar.StartupProbe, sidecar.ReadinessProbe = "sidecar", &always, sidecar.ReadinessProbe, nil
	spec.InitContainers = []corev1.Container{{Name: "first", Image: image, Args: []string{"-exit=0"}}, sidecar}
	create(t, client, node, "ordered", spec)
	until(t, client, node, "ordered", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	at := 0
	for _, step := range []string{"container first: started", "container first: ended with code 0", "container sidecar: started", "container app: started", "container app: ended with code 0", "container sidecar: ended with code 0"} {
		next := strings.Index(log.String()[at:], step)
		if next < 0 {
			t.Fatalf("%q is not where it should be", step)
		}
		at += next
	}

	spec = podSpec(node, "-exit=0")
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.InitContainers = []corev1.Container{{Name: "first", Image: image, Args: []string{"-exit=5"}}}
	create(t, client, node, "failing", spec)
	pod := until(t, client, node, "failing", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if ended := pod.Status.InitContainerStatuses[0].State.Terminated; ended == nil || ended.ExitCode != 5 {
		t.Errorf("the init container ended with %+v", ended)
	}
	if strings.Contains(log.String(), "failing: container app: started") {
		t.Error("the container ran though its init container had failed")
	}
}

func TestUnknownImageWaits(t *testing.T) {
	node, client, _ := start(t)
	spec := podSpec(node)
	spec.Containers[0].Image = "registry.example/other:1"
	create(t, client, node, "other", spec)
	until(t, client, node, "other", func(p *corev1.Pod) bool {
		if p.Status.Phase != corev1.PodPending || len(p.Status.ContainerStatuses) != 1 {
			return false
		}
		waiting := p.Status.ContainerStatuses[0].State.Waiting
		return waiting != nil && waiting.Reason == "ErrImagePull" && strings.Contains(waiting.Message, image)
	})
}
