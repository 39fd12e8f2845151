package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// validator has the API server ask about Services and workloads of one namespace, at the address of the webhook for pods.
func validator(t *testing.T, ns string) {
	t.Helper()
	from := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "outrigger-sidecar-injector"}, from); err != nil {
		t.Fatal(err)
	}
	made := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	made.Name = "advice-" + ns
	entry := func(name, path string, rules ...admissionregistrationv1.RuleWithOperations) {
		config := *from.Webhooks[0].ClientConfig.DeepCopy()
		if config.URL != nil {
			config.URL = ptr.To(strings.TrimSuffix(*config.URL, "/inject") + path)
		} else {
			config.Service.Path = ptr.To(path)
		}
		made.Webhooks = append(made.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name: name + ".validator.outrigger.dev", ClientConfig: config, Rules: rules, AdmissionReviewVersions: []string{"v1"},
			SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), FailurePolicy: ptr.To(admissionregistrationv1.Ignore), TimeoutSeconds: ptr.To(int32(2)),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name:       "may-end-a-workload",
				Expression: "request.resource.resource == 'services' || request.operation == 'DELETE' || !has(object.spec.replicas) || object.spec.replicas == 0",
			}},
		})
	}
	rule := func(group string, resources []string, operations ...admissionregistrationv1.OperationType) admissionregistrationv1.RuleWithOperations {
		return admissionregistrationv1.RuleWithOperations{Operations: operations, Rule: admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources}}
	}
	entry("services", "/validate/services", rule("", []string{"services"}, "CREATE", "UPDATE"))
	entry("traffic", "/validate/traffic", rule("apps", []string{"deployments", "statefulsets", "daemonsets"}, "DELETE"),
		rule("apps", []string{"deployments", "statefulsets", "deployments/scale", "statefulsets/scale"}, "UPDATE"))
	if err := kube.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kube.Delete(context.Background(), made) })
}

// told runs kubectl as a user would and returns what it prints on stderr.
func told(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), cluster.Assets["kubectl"], args...)
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	var notes strings.Builder
	command.Stderr = &notes
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, notes.String())
	}
	return notes.String()
}

func TestKubectlShowsAdviceAboutRouting(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	validator(t, ns)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2")+fixed("app-v3", "app", "v3"))
	wantRoutes(t, ns, "app", "v1=100")
	readyPods(t, ns, "app=app", 6)
	const slip = "outrigger.dev/wegihts"
	eventually(t, "the validating webhook is in force", func() error {
		kubectl(t, "-n", ns, "annotate", "service", "app", slip+"-")
		if out := told(t, "-n", ns, "annotate", "service", "app", slip+"=v1=1"); !strings.Contains(out, "Warning: UnknownAnnotation: Service "+ns+"/app") {
			return fmt.Errorf("kubectl prints %q", out)
		}
		return nil
	})
	if out := told(t, "-n", ns, "annotate", "service", "app", "outrigger.dev/weights=v1=90,v2=10"); strings.Contains(out, "Warning") {
		t.Errorf("an old slip is told again, or a right word: %s", out)
	}
	wantRoutes(t, ns, "app", "v1=90 v2=10")
	lost := "Warning: Deployment app-v1 is %s, and holds traffic of Service app (v1=90 v2=10, to v1); nothing else will receive it: outrigger promote app v3 -n " + ns
	says(t, told(t, "-n", ns, "scale", "deployment", "app-v1", "--replicas=0", "--dry-run=server"), fmt.Sprintf(lost, "scaled to 0"))
	says(t, told(t, "-n", ns, "patch", "deployment", "app-v1", "--dry-run=server", "-p", `{"spec":{"replicas":0}}`), fmt.Sprintf(lost, "scaled to 0"))
	says(t, told(t, "-n", ns, "delete", "deployment", "app-v1", "--dry-run=server"), fmt.Sprintf(lost, "deleted"))
	for _, args := range [][]string{
		{"delete", "deployment", "app-v3", "--dry-run=server"},
		{"scale", "deployment", "app-v1", "--replicas=3"},
		{"delete", "deployment", "app-v2"}, // its share goes to v1, which is weighed
	} {
		if out := told(t, append([]string{"-n", ns}, args...)...); strings.Contains(out, "Warning") {
			t.Errorf("kubectl %v: %s", args, out)
		}
	}
}
