// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

var nativeSidecarModes = []string{"auto", "enabled", "disabled"}

// istioFlags select the source of Istio's configuration.
type istioFlags struct {
	kube                         kubeFlags
	istioNamespace, revision     string
	configMap, meshMap           string
	configFile, valuesFile, mesh string
	proxyConfigFile              string
	namespaceFile                string
	nativeSidecars, platform     string
	compliancePolicy, release    string
	gaps                         diagnose.Gaps // receives what the user may not read and the command can do without; nil makes it an error
}

// istioFlagsOf returns the flags that read Istio's configuration as an installation with these settings does.
func istioFlagsOf(istio api.IstioConfig) istioFlags {
	return istioFlags{
		istioNamespace: istio.Namespace, revision: istio.Revision, nativeSidecars: istio.NativeSidecars,
		platform: istio.Platform, compliancePolicy: istio.CompliancePolicy, release: istio.Version,
	}
}

func (f *istioFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.configFile, "injectConfigFile", "", `file with the key "config" of ConfigMap istio-sidecar-injector, or a template alone`)
	flags.StringVar(&f.valuesFile, "valuesFile", "", `file with the key "values" of ConfigMap istio-sidecar-injector`)
	flags.StringVar(&f.mesh, "meshConfigFile", "", `file with the key "mesh" of ConfigMap istio`)
	f.kube.register(flags, false)
	flags.StringVarP(&f.istioNamespace, "istioNamespace", "i", "istio-system", "namespace of Istio's ConfigMaps")
	flags.StringVarP(&f.revision, "revision", "r", "", "Istio revision (default: the default revision)")
	flags.StringVar(&f.configMap, "injectConfigMapName", "", "ConfigMap of the templates and values (default: istio-sidecar-injector, followed by -REVISION if there is one)")
	flags.StringVar(&f.meshMap, "meshConfigMapName", "", "ConfigMap of the mesh configuration (default: istio, followed by -REVISION if there is one)")
	flags.StringVar(&f.proxyConfigFile, "proxyConfigFile", "", "file with ProxyConfig resources, instead of those of the cluster")
	flags.StringVar(&f.namespaceFile, "namespaceFile", "", "file with Namespace objects, instead of those of the cluster")
	flags.StringVar(&f.nativeSidecars, "nativeSidecars", "", "run the proxy as a native sidecar: auto (depending on the nodes; enabled if there are none), enabled, or disabled (default: Istio's values)")
	flags.StringVar(&f.platform, "platform", "", "platform of the cluster: openshift (default: Istio's values)")
	flags.StringVar(&f.compliancePolicy, "compliancePolicy", "", "compliance policy of the proxies, such as fips-140-3 (default: Istio's values)")
	flags.StringVar(&f.release, "istioVersion", "", "Istio release, such as 1.31.1 (default: that of the ConfigMap or of the proxy's tag)")
}

// complete registers completions of the flags.
func (f *istioFlags) complete(command *cobra.Command) {
	_ = command.RegisterFlagCompletionFunc("nativeSidecars", cobra.FixedCompletions(nativeSidecarModes, cobra.ShellCompDirectiveNoFileComp))
	_ = command.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions([]string{"openshift"}, cobra.ShellCompDirectiveNoFileComp))
	_ = command.RegisterFlagCompletionFunc("context", completeContexts)
}

// istioSource is Istio's configuration, and the other facts of the cluster that injection depends on.
type istioSource struct {
	config     *inject.Config
	warnings   []api.InjectProblem // about the configuration itself
	namespace  string              // of objects without one
	namespaces map[string]*corev1.Namespace
	client     client.Reader // nil without a cluster
}

// load reads and parses Istio's configuration from the three files, or else from the cluster.
func (f *istioFlags) load(ctx context.Context) (*istioSource, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	local, err := f.usesFiles()
	if err != nil {
		return nil, err
	}
	var given fileFacts
	if err := f.readFacts(&given); err != nil {
		return nil, err
	}
	var found *istioSource
	if local {
		found, err = f.fromFiles(given)
	} else {
		found, err = f.fromCluster(ctx, given)
	}
	if err != nil {
		return nil, err
	}
	found.namespaces = given.namespaces
	if len(given.namespaces) == 1 {
		for name := range given.namespaces {
			found.namespace = name
		}
	}
	return found, nil
}

// compliancePolicies are the values that Istio accepts.
var compliancePolicies = []string{"fips-140-2", "fips-140-3", "pqc"}

// check validates the flags.
func (f *istioFlags) check() error {
	if f.nativeSidecars != "" && !slices.Contains(nativeSidecarModes, f.nativeSidecars) {
		return usagef("--nativeSidecars=%s: expected auto, enabled or disabled", f.nativeSidecars)
	}
	if f.platform != "" && f.platform != "openshift" {
		return usagef("--platform=%s: expected openshift; omit the flag to use Istio's values", f.platform)
	}
	if f.compliancePolicy != "" && !slices.Contains(compliancePolicies, f.compliancePolicy) {
		return usagef("--compliancePolicy=%s: expected %s", f.compliancePolicy, strings.Join(compliancePolicies, ", "))
	}
	if f.release != "" && !inject.IsRelease(f.release) {
		return usagef("--istioVersion=%s: expected a release of Istio such as 1.31.1", f.release)
	}
	return nil
}

// fileFacts are facts of a cluster that files replace.
type fileFacts struct {
	namespaces   map[string]*corev1.Namespace
	proxyConfigs []*networkingv1beta1.ProxyConfig
}

func (f *istioFlags) readFacts(into *fileFacts) error {
	into.namespaces = map[string]*corev1.Namespace{}
	if f.namespaceFile != "" {
		err := eachObject(f.namespaceFile, "Namespace", func(object *manifest.Object) error {
			namespace := &corev1.Namespace{}
			into.namespaces[object.Name] = namespace
			return decodeObject(object, namespace)
		})
		if err != nil {
			return err
		}
	}
	if f.proxyConfigFile == "" {
		return nil
	}
	return eachObject(f.proxyConfigFile, "ProxyConfig", func(object *manifest.Object) error {
		raw, err := object.JSON()
		if err != nil {
			return err
		}
		proxyConfig := &networkingv1beta1.ProxyConfig{}
		if err := yaml.Unmarshal(raw, proxyConfig); err != nil {
			return fmt.Errorf("%s: %w", object, err)
		}
		into.proxyConfigs = append(into.proxyConfigs, proxyConfig)
		return nil
	})
}

// eachObject reads the objects of a file, all of which must be of one kind.
func eachObject(file, kind string, take func(*manifest.Object) error) error {
	from := inputFlags{names: []string{file}}
	in, err := from.read(context.Background(), strings.NewReader(""))
	if err != nil {
		return err
	}
	objects, err := in.objects()
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("%s contains no %s", file, kind)
	}
	for _, object := range objects {
		if object.Kind != kind {
			return fmt.Errorf("%s: %s is not a %s", file, object, kind)
		}
		if err := take(object); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// usesFiles reports whether the files are set. It is an error to set only some of them, because that would mix two installations.
func (f *istioFlags) usesFiles() (bool, error) {
	var given, missing []string
	for _, file := range []struct{ flag, value string }{
		{"--injectConfigFile", f.configFile}, {"--valuesFile", f.valuesFile}, {"--meshConfigFile", f.mesh},
	} {
		if file.value == "" {
			missing = append(missing, file.flag)
		} else {
			given = append(given, file.flag)
		}
	}
	if len(given) > 0 && len(missing) > 0 {
		return false, usagef("%s without %s: set all three, or none of them to read the cluster",
			strings.Join(given, " and "), strings.Join(missing, " and "))
	}
	return len(given) > 0, nil
}

func (f *istioFlags) fromFiles(given fileFacts) (*istioSource, error) {
	source := inject.Source{Settings: f.settings(), Release: f.release}
	for _, file := range []struct {
		name, key string
		into      *string
	}{{f.configFile, "config", &source.Config}, {f.valuesFile, "values", &source.Values}, {f.mesh, "mesh", &source.Mesh}} {
		text, err := os.ReadFile(file.name)
		if err != nil {
			return nil, err
		}
		if *file.into, err = keyOf(file.name, file.key, string(text)); err != nil {
			return nil, err
		}
	}
	source.Config = wholeConfig(source.Config)
	loaded, err := parse(source, "the configuration of the files")
	if err != nil {
		return nil, err
	}
	loaded.config = loaded.config.With(inject.Facts{ProxyConfigs: given.proxyConfigs})
	loaded.namespace = metav1.NamespaceDefault
	return loaded, nil
}

func (f *istioFlags) settings() inject.Settings {
	return inject.Settings{Revision: f.revision, NativeSidecars: f.nativeSidecars, Platform: f.platform, CompliancePolicy: f.compliancePolicy}
}

// keyOf returns the text of a file, or, if the file is a whole ConfigMap, the value of its key.
func keyOf(file, key, text string) (string, error) {
	var configMap corev1.ConfigMap
	if err := yaml.Unmarshal([]byte(text), &configMap); err != nil || configMap.Kind != "ConfigMap" {
		return text, nil // templates are not YAML
	}
	value, ok := configMap.Data[key]
	if !ok {
		return "", fmt.Errorf("%s: ConfigMap %s has no key %q", file, configMap.Name, key)
	}
	return value, nil
}

var configKeys = regexp.MustCompile(`(?m)^(policy|templates|defaultTemplates|aliases):`)

// wholeConfig returns a configuration with the template "sidecar" for text that is only a template, as istioctl accepts it.
func wholeConfig(text string) string {
	if configKeys.MatchString(text) {
		return text
	}
	whole, err := yaml.Marshal(map[string]any{"policy": "enabled", "defaultTemplates": []string{"sidecar"}, "templates": map[string]string{"sidecar": text}})
	if err != nil {
		return text // text can always be written
	}
	return string(whole)
}

func parse(source inject.Source, what string) (*istioSource, error) {
	config, problems, err := inject.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &istioSource{config: config, warnings: problems}, nil
}
