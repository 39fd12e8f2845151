// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	pilotfeatures "istio.io/istio/pilot/pkg/features"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/config/memory"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/features"
	"istio.io/istio/pkg/kube"
	istioinject "istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/kube/multicluster"
)

// injectRequest is a review and the state of the istiod that is to answer it.
type injectRequest struct {
	Config string `json:"config"` // key "config" of ConfigMap istio-sidecar-injector
	Values string `json:"values"` // key "values" of the same
	Mesh   string `json:"mesh"`   // key "mesh" of ConfigMap istio

	Pod                  json.RawMessage   `json:"pod"` // as the API server would send it
	Namespace            string            `json:"namespace"`
	NamespaceLabels      map[string]string `json:"namespaceLabels,omitempty"`
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitempty"`
	Path                 string            `json:"path,omitempty"` // URL path; "/inject" if empty

	NativeSidecars   string            `json:"nativeSidecars"`     // "enabled", "disabled", "auto"
	Nodes            map[string]string `json:"nodes,omitempty"`    // kubelet version by node name, for "auto"
	Platform         string            `json:"platform,omitempty"` // istiod's PLATFORM
	CompliancePolicy string            `json:"compliancePolicy,omitempty"`
	Revision         string            `json:"revision,omitempty"`
	ProxyConfigs     string            `json:"proxyConfigs,omitempty"` // ProxyConfig resources as YAML documents
}

// injectAnswer is istiod's answer, and the pod that it makes of the received one.
type injectAnswer struct {
	Allowed bool            `json:"allowed"`
	Message string          `json:"message,omitempty"`
	Patch   json.RawMessage `json:"patch,omitempty"`
	Pod     json.RawMessage `json:"pod"`
}

// inject sends the review through the HTTP handler of Istio's webhook.
func inject(r injectRequest) (*injectAnswer, error) {
	restore, err := setFeatures(r)
	if err != nil {
		return nil, err
	}
	defer restore()
	handler, err := handlerOf(r)
	if err != nil {
		return nil, err
	}
	response, err := post(handler, r)
	if err != nil {
		return nil, err
	}
	answer := &injectAnswer{Allowed: response.Allowed, Pod: r.Pod}
	if response.Result != nil {
		answer.Message = response.Result.Message
	}
	if len(response.Patch) == 0 {
		return answer, nil
	}
	answer.Patch = response.Patch
	patch, err := jsonpatch.DecodePatch(response.Patch)
	if err != nil {
		return nil, fmt.Errorf("decoding istiod's patch: %w", err)
	}
	if answer.Pod, err = patch.Apply(r.Pod); err != nil {
		return nil, fmt.Errorf("applying istiod's patch: %w", err)
	}
	return answer, nil
}

// setFeatures sets what istiod takes from its environment at start. The function that it returns sets it back.
func setFeatures(r injectRequest) (func(), error) {
	modes := map[string]pilotfeatures.NativeSidecarMode{
		"enabled":  pilotfeatures.NativeSidecarModeEnabled,
		"disabled": pilotfeatures.NativeSidecarModeDisabled,
		"auto":     pilotfeatures.NativeSidecarModeAuto,
	}
	mode, known := modes[r.NativeSidecars]
	if !known {
		return nil, fmt.Errorf("nativeSidecars = %q: must be enabled, disabled or auto", r.NativeSidecars)
	}
	oldMode, oldPolicy := pilotfeatures.EnableNativeSidecars, features.CompliancePolicy
	pilotfeatures.EnableNativeSidecars, features.CompliancePolicy = mode, r.CompliancePolicy
	if err := os.Setenv("PLATFORM", r.Platform); err != nil {
		return nil, err
	}
	return func() {
		pilotfeatures.EnableNativeSidecars, features.CompliancePolicy = oldMode, oldPolicy
		_ = os.Unsetenv("PLATFORM")
	}, nil
}

// latest is the webhook of the last request. Building one parses eight templates, which takes longer than an injection.
var latest struct {
	key     string
	handler http.Handler
	stop    chan struct{}
}

// handlerOf returns the webhook of the request's istiod: the one of the last request if nothing but the pod differs.
func handlerOf(r injectRequest) (http.Handler, error) {
	r.Pod, r.Path = nil, ""
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if latest.handler != nil && latest.key == string(encoded) {
		return latest.handler, nil
	}
	stop := make(chan struct{})
	handler, err := newHandler(r, stop)
	if err != nil {
		close(stop)
		return nil, err
	}
	if latest.stop != nil {
		close(latest.stop)
	}
	latest.key, latest.handler, latest.stop = string(encoded), handler, stop
	return handler, nil
}

// newHandler builds Istio's webhook with this configuration, its cluster holding the namespace and the nodes.
func newHandler(r injectRequest, stop chan struct{}) (http.Handler, error) {
	config, err := istioinject.UnmarshalConfig([]byte(r.Config))
	if err != nil {
		return nil, fmt.Errorf("injector config: %w", err)
	}
	meshConfig, err := mesh.ApplyMeshConfig(r.Mesh, mesh.DefaultMeshConfig())
	if err != nil {
		return nil, fmt.Errorf("mesh config: %w", err)
	}
	store := memory.Make(collections.Pilot)
	proxyConfigs, _, err := crd.ParseInputs(r.ProxyConfigs)
	if err != nil {
		return nil, fmt.Errorf("ProxyConfig resources: %w", err)
	}
	for _, c := range proxyConfigs {
		if _, err := store.Create(c); err != nil {
			return nil, fmt.Errorf("ProxyConfig %s/%s: %w", c.Namespace, c.Name, err)
		}
	}
	environment := &model.Environment{Watcher: meshwatcher.NewTestWatcher(meshConfig), ConfigStore: store}
	environment.SetPushContext(&model.PushContext{ProxyConfigs: model.GetProxyConfigs(store, meshConfig)})

	clusters := multicluster.NewFakeController()
	mux := http.NewServeMux()
	_, err = istioinject.NewWebhook(istioinject.WebhookParameters{
		Watcher:      &fixedConfig{config: &config, values: r.Values},
		Env:          environment,
		Mux:          mux,
		Revision:     r.Revision,
		MultiCluster: clusters,
	})
	if err != nil {
		return nil, err
	}
	if r.NativeSidecars == "auto" || r.Platform != "" {
		client := kube.NewFakeClient(clusterObjects(r)...)
		clusters.Add(constants.DefaultClusterName, client, stop)
		client.RunAndWait(stop)
	}
	return mux, nil
}

// clusterObjects are the objects that istiod looks at beside its configuration.
func clusterObjects(r injectRequest) []runtime.Object {
	objects := []runtime.Object{&corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: r.Namespace, Labels: r.NamespaceLabels, Annotations: r.NamespaceAnnotations},
	}}
	for name, kubelet := range r.Nodes {
		objects = append(objects, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet}},
		})
	}
	return objects
}

// post asks as the API server does and decodes the answer.
func post(handler http.Handler, r injectRequest) (*admissionv1.AdmissionResponse, error) {
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       types.UID("00000000-0000-0000-0000-000000000001"),
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: r.Namespace,
			Operation: admissionv1.Create,
			Object:    runtime.RawExtension{Raw: r.Pod},
		},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, fmt.Errorf("encoding the review: %w", err)
	}
	request := httptest.NewRequest(http.MethodPost, "/inject", bytes.NewReader(body))
	if r.Path != "" {
		request.URL.Path = r.Path
	}
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		return nil, fmt.Errorf("istiod answers HTTP %d: %s", recorder.Code, recorder.Body)
	}
	var answered admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answered); err != nil {
		return nil, fmt.Errorf("decoding istiod's answer: %w", err)
	}
	if answered.Response == nil {
		return nil, fmt.Errorf("istiod's answer has no response: %s", recorder.Body)
	}
	return answered.Response, nil
}

// fixedConfig is a watcher of a configuration that never changes.
type fixedConfig struct {
	config *istioinject.Config
	values string
}

func (f *fixedConfig) SetHandler(func(*istioinject.Config, string) error) {}
func (f *fixedConfig) Run(<-chan struct{})                                {}
func (f *fixedConfig) Get() (*istioinject.Config, string, error)          { return f.config, f.values, nil }
