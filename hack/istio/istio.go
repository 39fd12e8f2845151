// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// CRDs returns Istio's custom resource definitions as YAML documents, as the chart "base" installs them.
func CRDs() ([]byte, error) {
	all, err := render("base", "istio-base", nil)
	if err != nil {
		return nil, err
	}
	return Join(slices.DeleteFunc(all, func(m Manifest) bool { return m.Kind != "CustomResourceDefinition" })), nil
}

// Istiod returns all objects of the chart "istiod", rendered for the release "istiod" in istio-system with values.
func Istiod(values Values) ([]Manifest, error) {
	return render("istiod", "istiod", values)
}

// ConfigMaps returns those of istiod that its injector reads: "istio" and "istio-sidecar-injector", with the value
// "revision" their names end in "-REVISION".
func ConfigMaps(values Values) ([]Manifest, error) {
	all, err := Istiod(values)
	if err != nil {
		return nil, err
	}
	suffix := ""
	if revision, _ := values["revision"].(string); revision != "" {
		suffix = "-" + revision
	}
	out := slices.DeleteFunc(all, func(m Manifest) bool {
		return m.Kind != "ConfigMap" || m.Name != "istio"+suffix && m.Name != "istio-sidecar-injector"+suffix
	})
	if len(out) != 2 {
		return nil, fmt.Errorf("chart istiod renders %d of the ConfigMaps istio%s and istio-sidecar-injector%s, not both", len(out), suffix, suffix)
	}
	return out, nil
}

// Files are the three files from which a pod is injected: "istioctl kube-inject" takes them by --injectConfigFile,
// --valuesFile and --meshConfigFile.
type Files struct {
	Config []byte // key "config" of istio-sidecar-injector: templates and policy, YAML
	Values []byte // key "values" of istio-sidecar-injector: JSON
	Mesh   []byte // key "mesh" of istio: MeshConfig, YAML
}

// InjectionFiles returns the contents of the ConfigMaps of those values.
func InjectionFiles(values Values) (Files, error) {
	maps, err := ConfigMaps(values)
	if err != nil {
		return Files{}, err
	}
	var mesh, injector corev1.ConfigMap // in this order: they are sorted by name
	if err := yaml.Unmarshal(maps[0].YAML, &mesh); err != nil {
		return Files{}, err
	}
	if err := yaml.Unmarshal(maps[1].YAML, &injector); err != nil {
		return Files{}, err
	}
	return Files{Config: []byte(injector.Data["config"]), Values: []byte(injector.Data["values"]), Mesh: []byte(mesh.Data["mesh"])}, nil
}

// GatewayRelease is the release name of the ingress gateway; its pods carry istio=ingressgateway for it.
const GatewayRelease = "istio-ingressgateway"

// GatewayValues returns the values with which the tutorials' ingress gateway is installed: port 80 at node port 31380.
func GatewayValues() Values {
	port := func(name string, port, nodePort int) any {
		out := Values{"name": name, "port": port, "protocol": "TCP", "targetPort": port}
		if nodePort != 0 {
			out["nodePort"] = nodePort
		}
		return out
	}
	return Values{
		"autoscaling": Values{"enabled": false},
		"service": Values{
			"type":  "NodePort",
			"ports": []any{port("status-port", 15021, 0), port("http2", 80, 31380), port("https", 443, 0)},
		},
	}
}

// Gateway returns the objects of the chart "gateway", rendered for GatewayRelease in istio-system.
func Gateway(values Values) ([]Manifest, error) {
	return render("gateway", GatewayRelease, values)
}

// Cluster is where Install installs: a controlplane.ControlPlane is one.
type Cluster interface {
	Kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error)
}

// Install creates the namespace istio-system and applies Istio's CRDs and the ConfigMaps of those values; it returns
// when the API server serves the CRDs. It may be repeated.
func Install(ctx context.Context, cluster Cluster, values Values) error {
	crds, err := CRDs()
	if err != nil {
		return err
	}
	if err := apply(ctx, cluster, crds); err != nil {
		return fmt.Errorf("install Istio's CRDs: %w", err)
	}
	if err := InstallConfigMaps(ctx, cluster, values); err != nil {
		return err
	}
	_, err = cluster.Kubectl(ctx, bytes.NewReader(crds), "wait", "--for=condition=Established", "--timeout=60s", "-f", "-")
	return err
}

// InstallConfigMaps creates the namespace istio-system and applies the ConfigMaps of those values.
func InstallConfigMaps(ctx context.Context, cluster Cluster, values Values) error {
	maps, err := ConfigMaps(values)
	if err != nil {
		return err
	}
	namespace := []byte("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + Namespace + "\n")
	if err := apply(ctx, cluster, append(namespace, Join(maps)...)); err != nil {
		return fmt.Errorf("install Istio's ConfigMaps: %w", err)
	}
	return nil
}

// apply applies on the server: a client-side apply would write the CRDs into an annotation, which is too small for them.
func apply(ctx context.Context, cluster Cluster, text []byte) error {
	_, err := cluster.Kubectl(ctx, bytes.NewReader(text), "apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-")
	return err
}
