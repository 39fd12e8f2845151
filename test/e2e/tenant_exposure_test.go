// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

const (
	needsGateways        = "requires permission to create gateways.networking.istio.io, which"
	needsVirtualServices = "requires permission to create virtualservices.networking.istio.io, which"
	needsBoth            = "requires permission to create gateways.networking.istio.io and virtualservices.networking.istio.io, which"
)

// annotations writes "key=value" items of Outrigger's domain as a map.
func annotations(items ...string) map[string]string {
	out := map[string]string{}
	for _, item := range items {
		key, value, _ := strings.Cut(item, "=")
		out[api.Domain+"/"+key] = value
	}
	return out
}

// exposureChange is one write of annotations on a Service, and the permissions that it requires.
type exposureChange struct {
	name          string
	before, after []string // before nil: the Service is created
	namespace     []string // annotations of the Namespace
	missing       string   // what a tenant lacks; empty: the change is free
}

// exposureChanges are the semantics of the policy on exposure, one line each.
var exposureChanges = []exposureChange{
	{name: "create exposed", after: []string{"expose=true"}, missing: needsBoth},
	{name: "create exposed with hosts", after: []string{"expose=true", "hosts=shop.example"}, missing: needsBoth},
	{name: "create with a value that is no switch", after: []string{"expose=flase"}, missing: needsBoth},
	{name: "create with a switch in spaces", after: []string{"expose= true "}, missing: needsBoth},
	{name: "create with a companion alone", after: []string{"hosts=shop.example"}, missing: needsBoth},
	{name: "create not exposed", after: []string{"expose=false"}},
	{name: "create with other annotations", after: []string{"weights=v1=100", "drift=revert"}},
	{name: "create exposed with HTTPS", after: []string{"expose=true", "tls-credential=web-tls", "https-redirect=true"}, missing: needsBoth},
	{name: "create with a certificate alone", after: []string{"tls-credential=web-tls"}, missing: needsBoth},
	{name: "create with a redirect alone", after: []string{"https-redirect=true"}, missing: needsBoth},
	{name: "create at a Gateway that exists", after: []string{"expose=true", "gateway=ingress/tls"}, missing: needsVirtualServices},
	{name: "create at what names no Gateway", after: []string{"expose=true", "gateway=tls"}, missing: needsBoth},
	{name: "create at an empty Gateway", after: []string{"expose=true", "gateway="}, missing: needsBoth},
	{name: "create at the Namespace's Gateway", namespace: []string{"gateway=ingress/tls"}, after: []string{"expose=true"}, missing: needsVirtualServices},
	{name: "create beside the Namespace's Gateway", namespace: []string{"gateway=ingress/tls"}, after: []string{"expose=true", "gateway="}, missing: needsBoth},

	{name: "expose", before: []string{}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "expose what was switched off", before: []string{"expose=false"}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "expose what was mistyped", before: []string{"expose=ture"}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "mistype what is exposed", before: []string{"expose=true"}, after: []string{"expose=flase"}, missing: needsBoth},
	{name: "change hosts", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=true", "hosts=b.example"}, missing: needsBoth},
	{name: "narrow hosts", before: []string{"expose=true", "hosts=a.example,b.example"}, after: []string{"expose=true", "hosts=a.example"}, missing: needsBoth},
	{name: "remove hosts", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "empty hosts", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=true", "hosts="}, missing: needsBoth},
	{name: "remove empty hosts", before: []string{"expose=true", "hosts="}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "write the path", before: []string{"expose=true", "path=/shop"}, after: []string{"expose=true", "path=/"}, missing: needsBoth},
	{name: "move to another port", before: []string{"expose=true"}, after: []string{"expose=true", "service-port=8080"}, missing: needsBoth},
	{name: "serve HTTPS", before: []string{"expose=true"}, after: []string{"expose=true", "tls-credential=web-tls"}, missing: needsBoth},
	{name: "change the certificate", before: []string{"expose=true", "tls-credential=web-tls"}, after: []string{"expose=true", "tls-credential=bank-tls"}, missing: needsBoth},
	{name: "serve plain HTTP again", before: []string{"expose=true", "tls-credential=web-tls"}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "redirect to HTTPS", before: []string{"expose=true", "tls-credential=web-tls"}, after: []string{"expose=true", "tls-credential=web-tls", "https-redirect=true"}, missing: needsBoth},
	{name: "end the redirect", before: []string{"expose=true", "tls-credential=web-tls", "https-redirect=true"}, after: []string{"expose=true", "tls-credential=web-tls"}, missing: needsBoth},
	{name: "move to a Gateway that exists", before: []string{"expose=true"}, after: []string{"expose=true", "gateway=ingress/tls"}, missing: needsVirtualServices},
	{name: "leave a Gateway that exists", before: []string{"expose=true", "gateway=ingress/tls"}, after: []string{"expose=true"}, missing: needsBoth},
	{name: "write a companion of what is not exposed", before: []string{}, after: []string{"hosts=shop.example"}, missing: needsBoth},
	{name: "write a companion of what is switched off", before: []string{"expose=false"}, after: []string{"expose=false", "hosts=shop.example"}, missing: needsBoth},
	{name: "change a companion while the exposure ends", before: []string{"expose=true", "hosts=a.example"}, after: []string{"hosts=b.example"}, missing: needsBoth},

	{name: "end the exposure", before: []string{"expose=true"}, after: []string{}},
	{name: "end the exposure by its value", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=false", "hosts=a.example"}},
	{name: "end the exposure with all companions", before: []string{"expose=true", "hosts=a.example", "path=/a"}, after: []string{}},
	{name: "end the exposure with some companions", before: []string{"expose=true", "hosts=a.example", "path=/a"}, after: []string{"path=/a"}},
	{name: "remove a companion of what is not exposed", before: []string{"hosts=a.example"}, after: []string{}},
	{name: "change other annotations of what is exposed", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=true", "hosts=a.example", "weights=v1=100"}},
	{name: "change nothing of what is exposed", before: []string{"expose=true", "hosts=a.example"}, after: []string{"expose=true", "hosts=a.example"}},
}

// Whoever changes how a Service is exposed must have the permission to write what Outrigger writes for it, and the denial
// names the permission that is missing. The tenant has none of them, the exposers have one or both, the deployer has all.
func TestTenantExposureRequiresPermission(t *testing.T) {
	needIstio(t)
	deployer := newDeployer(t)
	plain, withGateway := newExposureAccounts(t, nil, deployer), newExposureAccounts(t, annotations("gateway=ingress/tls"), deployer)
	// lacks returns which of the required permissions an account lacks that has some of them.
	lacks := func(missing, has string) string {
		switch {
		case missing == "" || has == needsBoth || missing == has:
			return ""
		case missing == needsVirtualServices:
			return needsVirtualServices
		case has == needsGateways:
			return needsVirtualServices
		case has == needsVirtualServices:
			return needsGateways
		}
		return missing
	}
	for i, test := range exposureChanges {
		t.Run(test.name, func(t *testing.T) {
			accounts := plain
			if test.namespace != nil {
				accounts = withGateway
			}
			for _, account := range accounts {
				name := fmt.Sprintf("s%d-%s", i, account.name)
				wantDenial(t, account.name, change(t, account.tenant, accounts[0].namespace, name, test), lacks(test.missing, account.has), account.user)
			}
		})
	}
}

// exposureAccount is an account, and which of the permissions to expose it has.
type exposureAccount struct {
	name string
	tenant
	has string
}

// newExposureAccounts creates a namespace with these annotations, and accounts in it; the first is the tenant. It returns when
// the policy on exposure is enforced there.
func newExposureAccounts(t *testing.T, wanted map[string]string, deployer tenant) []exposureAccount {
	t.Helper()
	attacker := newTenant(t)
	if err := kube.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: attacker.namespace}}, client.RawPatch(types.MergePatchType, mustJSON(t, map[string]any{"metadata": map[string]any{"annotations": wanted}}))); err != nil {
		t.Fatal(err)
	}
	wantPermission(t, attacker, "create", "networking.istio.io", "virtualservices", false)
	wantPermission(t, attacker, "create", "networking.istio.io", "gateways", false)
	edit := rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}
	exposer := accountIn(t, attacker.namespace, "exposer", edit).mayExpose(t)
	routes, gateways := accountIn(t, attacker.namespace, "routes", edit), accountIn(t, attacker.namespace, "gateways", edit)
	routes.grant(t, "networking.istio.io", []string{"create"}, []string{"virtualservices"})
	gateways.grant(t, "networking.istio.io", []string{"create"}, []string{"gateways"})
	needExposurePolicy(t, attacker)
	return []exposureAccount{{"tenant", attacker, ""}, {"exposer", exposer, needsBoth}, {"routes", routes, needsVirtualServices}, {"gateways", gateways, needsGateways}, {"deployer", deployer, needsBoth}}
}

func needExposurePolicy(t *testing.T, attacker tenant) {
	t.Helper()
	needPolicy(t, "the policy on exposure", func() error {
		return attacker.client.Create(t.Context(), attacker.webService("probe", annotations("expose=true")), client.DryRunAll)
	})
}

// change makes a change as an account, after the administrator has made what was there before.
func change(t *testing.T, as tenant, ns, name string, test exposureChange) error {
	t.Helper()
	service := tenant{namespace: ns}.webService(name, annotations(test.after...))
	if test.before == nil {
		return as.client.Create(t.Context(), service)
	}
	service.Annotations = annotations(test.before...)
	if err := kube.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	service.Annotations = annotations(test.after...)
	return as.client.Update(t.Context(), service)
}

func wantDenial(t *testing.T, who string, err error, missing, user string) {
	t.Helper()
	switch {
	case missing == "" && err != nil:
		t.Errorf("%s: refused, and should pass: %v", who, err)
	case missing != "" && err == nil:
		t.Errorf("%s: allowed; want it denied: %s", who, missing)
	case missing != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), user)):
		t.Errorf("%s: %v; want a denial that says %q of %s", who, err, missing, user)
	}
}

// newDeployer is an account with cluster-admin, as a GitOps tool has.
func newDeployer(t *testing.T) tenant {
	t.Helper()
	ns := namespace(t)
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "argocd-application-controller"}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}
	for _, object := range []client.Object{&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: subject.Name}}, binding} {
		if err := kube.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = kube.Delete(context.Background(), binding) })
	deployer := impersonate(t, ns, subject.Name)
	wantPermission(t, deployer, "create", "networking.istio.io", "gateways", true)
	return deployer
}

// Every key of package api is covered: each alone, written, changed and removed on an exposed Service.
func TestTenantExposureCoversEveryCompanion(t *testing.T) {
	needIstio(t)
	attacker := newTenant(t)
	needExposurePolicy(t, attacker)
	for i, key := range api.ExposureKeys()[1:] {
		t.Run(key, func(t *testing.T) {
			service := attacker.webService(fmt.Sprintf("s%d", i), annotations("expose=true"))
			if err := kube.Create(t.Context(), service); err != nil {
				t.Fatal(err)
			}
			written := service.DeepCopy()
			written.Annotations[key] = "x/y"
			if err := attacker.client.Update(t.Context(), written.DeepCopy()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), key) {
				t.Errorf("written: %v; want it denied, naming %s", err, key)
			}
			if err := kube.Update(t.Context(), written); err != nil {
				t.Fatal(err)
			}
			for what, value := range map[string]*string{"changed": new("z/y"), "emptied": new(""), "removed": nil} {
				attempt := written.DeepCopy()
				if delete(attempt.Annotations, key); value != nil {
					attempt.Annotations[key] = *value
				}
				if err := attacker.client.Update(t.Context(), attempt); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), key) {
					t.Errorf("%s: %v; want it denied, naming %s", what, err, key)
				}
			}
		})
	}
}

// The ways around: other verbs, other subresources, other owners of fields, and a Service that is made anew.
func TestTenantExposureBypasses(t *testing.T) {
	needIstio(t)
	attacker := newTenant(t)
	// Beyond the ClusterRole edit: the permission of a load balancer's controller.
	attacker.grant(t, "", []string{"update", "patch", "get"}, []string{"services/status"})
	needExposurePolicy(t, attacker)
	const merge = `{"metadata":{"annotations":{"outrigger.dev/expose":"true"}}}`
	patch := func(kind types.PatchType, text string) func(*corev1.Service) error {
		return func(s *corev1.Service) error {
			return attacker.client.Patch(t.Context(), s, client.RawPatch(kind, []byte(text)))
		}
	}
	for i, test := range []struct {
		name    string
		before  []string
		attempt func(*corev1.Service) error
		missing string
	}{
		{"by an update of the status", nil, func(s *corev1.Service) error {
			s.Annotations = annotations("expose=true")
			return attacker.client.Status().Update(t.Context(), s)
		}, needsBoth},
		{"by a patch of the status", nil, func(s *corev1.Service) error {
			return attacker.client.Status().Patch(t.Context(), s, client.RawPatch(types.MergePatchType, []byte(merge)))
		}, needsBoth},
		{"hosts removed by a patch of the status", []string{"expose=true", "hosts=a.example"}, func(s *corev1.Service) error {
			return attacker.client.Status().Patch(t.Context(), s, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"outrigger.dev/hosts":null}}}`)))
		}, needsBoth},
		{"by a merge patch", nil, patch(types.MergePatchType, merge), needsBoth},
		{"by a strategic merge patch", nil, patch(types.StrategicMergePatchType, merge), needsBoth},
		{"by a JSON patch", nil, patch(types.JSONPatchType, `[{"op":"add","path":"/metadata/annotations","value":{"outrigger.dev/expose":"true"}}]`), needsBoth},
		{"all annotations removed but expose", []string{"expose=true", "hosts=a.example"}, patch(types.JSONPatchType, `[{"op":"replace","path":"/metadata/annotations","value":{"outrigger.dev/expose":"true"}}]`), needsBoth},
		{"by server-side apply", nil, func(s *corev1.Service) error {
			return serverSideApply(t, attacker, s, "tenant", annotations("expose=true"))
		}, needsBoth},
		{"by server-side apply under our own name", nil, func(s *corev1.Service) error {
			return serverSideApply(t, attacker, s, api.FieldManager, annotations("expose=true"))
		}, needsBoth},
		{"deleted and created exposed", nil, func(s *corev1.Service) error {
			if err := attacker.client.Delete(t.Context(), s); err != nil {
				return err
			}
			return attacker.client.Create(t.Context(), attacker.webService(s.Name, annotations("expose=true")))
		}, needsBoth},
		{"created under a generated name", nil, func(*corev1.Service) error {
			service := attacker.webService("", annotations("expose=true"))
			service.GenerateName = "exposed-"
			return attacker.client.Create(t.Context(), service)
		}, needsBoth},
		{"created as if another object had made it", nil, func(s *corev1.Service) error {
			service := attacker.webService("owned", annotations("expose=true"))
			service.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, UID: s.UID, Controller: new(true)}}
			return attacker.client.Create(t.Context(), service)
		}, needsBoth},
		{"created as one of Outrigger's own", nil, func(*corev1.Service) error {
			service := attacker.webService("ours", annotations("expose=true"))
			service.Labels = map[string]string{api.LabelManagedBy: api.ManagedBy}
			return attacker.client.Create(t.Context(), service)
		}, needsBoth},
		{"created without a selector", nil, func(*corev1.Service) error {
			service := attacker.webService("bare", annotations("expose=true"))
			service.Spec.Selector = nil
			return attacker.client.Create(t.Context(), service)
		}, needsBoth},
		{"created as another name of a Service", nil, func(*corev1.Service) error {
			service := attacker.webService("alias", annotations("expose=true"))
			service.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "payments.victim.svc.cluster.local"}
			return attacker.client.Create(t.Context(), service)
		}, needsBoth},

		{"status of an exposed Service, unchanged", []string{"expose=true", "hosts=a.example"}, func(s *corev1.Service) error {
			s.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Balanced", LastTransitionTime: metav1.Now()}}
			return attacker.client.Status().Update(t.Context(), s)
		}, ""},
		{"server-side apply of an exposed Service, unchanged", []string{"expose=true", "hosts=a.example"}, func(s *corev1.Service) error {
			return serverSideApply(t, attacker, s, "tenant", annotations("expose=true", "hosts=a.example"))
		}, ""},
		{"another annotation of an exposed Service", []string{"expose=true", "hosts=a.example"}, patch(types.MergePatchType, `{"metadata":{"annotations":{"example.com/note":"x"}}}`), ""},
		{"deletion of an exposed Service", []string{"expose=true", "hosts=a.example"}, func(s *corev1.Service) error { return attacker.client.Delete(t.Context(), s) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			service := attacker.webService(fmt.Sprintf("s%d", i), annotations(test.before...))
			if err := kube.Create(t.Context(), service); err != nil {
				t.Fatal(err)
			}
			wantDenial(t, "tenant", test.attempt(service), test.missing, attacker.user)
		})
	}
}

// serverSideApply applies a Service with these annotations for a field manager.
func serverSideApply(t *testing.T, as tenant, s *corev1.Service, manager string, annotations map[string]string) error {
	t.Helper()
	applied := as.webService(s.Name, annotations)
	applied.APIVersion, applied.Kind = "v1", "Service"
	return as.client.Patch(t.Context(), applied, client.Apply, client.FieldOwner(manager), client.ForceOwnership) //nolint:staticcheck // the typed configurations have no Service of ours
}

// Without the policy everyone who may edit Services exposes them, as in earlier releases, and "outrigger check" warns of it.
func TestTenantExposureWithoutThePolicy(t *testing.T) {
	needIstio(t)
	needIngress(t)
	attacker := newTenant(t)
	checkSays := func(what string) {
		t.Helper()
		eventually(t, "outrigger check says "+what, func() error {
			if out := cli(t, "check", "-n", attacker.namespace); !strings.Contains(out, what) {
				return fmt.Errorf("it prints\n%s", out)
			}
			return nil
		})
	}
	checkSays("ok      ValidatingAdmissionPolicy outrigger-exposure")
	upgraded(t, map[string]any{"routing": map[string]any{"exposure": map[string]any{"requireGatewayRights": false}}})
	checkSays("warning ValidatingAdmissionPolicy outrigger-exposure does not exist")
	eventually(t, "the tenant exposes a Service", func() error {
		return attacker.client.Create(t.Context(), attacker.webService("web", annotations("expose=true", "hosts=tenant.example")))
	})
	apply(t, attacker.namespace, fixed("web-v1", "web", "v1"))
	eventually(t, "the Service is exposed", func() error {
		if hosts := writtenIn(t, attacker.namespace).of("web").exposedHosts(); !slices.Equal(hosts, []string{"tenant.example"}) {
			return fmt.Errorf("exposed are %q", hosts)
		}
		return nil
	})
	writtenIn(t, attacker.namespace).wantWithinNamespace(t, attacker.namespace)
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Tenants who only write to git act through the tool's account, which may do everything. There the administrator's list of
// hosts decides, and a Namespace without a list exposes nothing.
func TestTenantWritesToGit(t *testing.T) {
	needIstio(t)
	needIngress(t)
	tool := newDeployer(t)
	listed, unlisted := namespace(t, injected), namespace(t, injected)
	t.Cleanup(func() { wantValid(t) })
	kubectl(t, "annotate", "namespace", listed, "outrigger.dev/allowed-hosts=shop.git.example,*.apps.git.example")
	upgraded(t, map[string]any{"routing": map[string]any{"expose": "namespaces"}})
	attacks := []struct {
		name, namespace, hosts string
		served                 bool
	}{
		{"a listed host", listed, "shop.git.example", true},
		{"a host under a listed wildcard", listed, "a.apps.git.example", true},
		{"a host that is not listed", listed, "other.git.example", false},
		{"a listed host and another one", listed, "b.apps.git.example,other.git.example", false},
		{"every host", listed, "*", false},
		{"a wildcard that is broader than the listed one", listed, "*.git.example", false},
		{"a host in a Namespace without a list", unlisted, "shop2.git.example", false},
		{"every host in a Namespace without a list", unlisted, "*", false},
		{"a list on the Service", unlisted, "shop3.git.example", false},
	}
	for _, ns := range []string{listed, unlisted} {
		apply(t, ns, fixed("web-v1", "web", "v1"))
	}
	services := map[string][]string{}
	for i, attack := range attacks {
		name := fmt.Sprintf("s%d", i)
		words := annotations("expose=true", "hosts="+attack.hosts)
		if attack.name == "a list on the Service" {
			words[api.AnnotationAllowedHosts] = "*"
		}
		if err := tool.client.Create(t.Context(), tenant{namespace: attack.namespace}.webService(name, words)); err != nil {
			t.Fatalf("%s: %v", attack.name, err)
		}
		services[attack.namespace] = append(services[attack.namespace], name)
	}
	for ns, names := range services {
		settled(t, ns, names)
	}
	for i, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			got := writtenIn(t, attack.namespace).of(fmt.Sprintf("s%d", i))
			got.wantWithinNamespace(t, attack.namespace)
			exposed := got.exposedHosts()
			if slices.Contains(exposed, "other.git.example") || slices.Contains(exposed, "*") || slices.Contains(exposed, "*.git.example") {
				t.Errorf("exposed are %q", exposed)
			}
			if attack.served != slices.Equal(exposed, []string{attack.hosts}) {
				t.Errorf("exposed are %q; want %q served: %t", exposed, attack.hosts, attack.served)
			}
		})
	}
}
