// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"slices"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// merge renders the templates in order, and merges each over an empty pod and over the received one (strategic.go).
func (j *job) merge(names []string) error {
	byName := make(map[string]rendered, len(names))
	nativeProxy := false
	for _, name := range names {
		if _, done := byName[name]; done {
			continue
		}
		r, err := j.renderSafely(name)
		if err != nil {
			return err
		}
		byName[name] = r
		nativeProxy = nativeProxy || j.nativeSidecar && r.indexOf("initContainers", proxyName) >= 0
	}
	if err := j.checkUserContainers(byName); err != nil {
		return err
	}
	for _, name := range names {
		if j.abandoned() {
			return ErrAbandoned
		}
		r := byName[name]
		if nativeProxy {
			r = redirectToNativeProxy(r)
		}
		if err := j.mergeTemplate(r); err != nil {
			return j.refuseTemplate(name, err)
		}
	}
	return nil
}

// checkUserContainers rejects a pod whose containers with the names of templates' containers are too large to record: Kubernetes limits
// all annotations of an object together to 256 KiB. A pod that was injected before records nothing; its containers come from templates,
// which are limited as well.
func (j *job) checkUserContainers(templates map[string]rendered) error {
	limit := maxAnnotations
	if j.wasInjected {
		limit = 2 * maxRendered
	}
	size := 0
	for _, c := range allContainers(&j.pod.Spec) {
		if !definesContainer(templates, c.Name) {
			continue
		}
		text, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if size += len(text); size > limit {
			return refuse(problemOf(j.pod, api.InjectTooLarge, "spec.containers["+c.Name+"]", "",
				fmt.Sprintf("a container that a template also defines is larger than %d KiB.", limit>>10), "Make the pod's container of that name smaller."))
		}
	}
	return nil
}

// maxAnnotations is Kubernetes' limit for all annotations of an object together, in bytes.
const maxAnnotations = 256 << 10

func definesContainer(templates map[string]rendered, name string) bool {
	for _, r := range templates {
		if r.indexOf("containers", name) >= 0 || r.indexOf("initContainers", name) >= 0 {
			return true
		}
	}
	return false
}

// indexOf returns the index of a container in a list of the template; -1 if it is not there.
func (r rendered) indexOf(list, name string) int {
	isNamed := func(c corev1.Container) bool { return c.Name == name }
	switch {
	case r.pod == nil:
		spec, _ := r.tree["spec"].(map[string]any)
		containers, _ := spec[list].([]any)
		return slices.IndexFunc(containers, func(item any) bool {
			container, _ := item.(map[string]any)
			return container["name"] == name
		})
	case list == "initContainers":
		return slices.IndexFunc(r.pod.Spec.InitContainers, isNamed)
	}
	return slices.IndexFunc(r.pod.Spec.Containers, isNamed)
}

// mergeTemplate merges a rendered template over fromTemplates and over merged. If the proxy is to be a native sidecar, the
// pod's own proxy container becomes an init container first.
func (j *job) mergeTemplate(r rendered) (err error) {
	if j.fromTemplates, err = r.mergedInto(j.fromTemplates); err != nil {
		return err
	}
	proxy := slices.IndexFunc(j.merged.Spec.Containers, func(c corev1.Container) bool { return c.Name == proxyName })
	if j.nativeSidecar && proxy >= 0 && findContainer(j.fromTemplates.Spec.InitContainers, proxyName) != nil {
		j.merged.Spec.InitContainers = append(j.merged.Spec.InitContainers, j.merged.Spec.Containers[proxy])
		j.merged.Spec.Containers = slices.Delete(j.merged.Spec.Containers, proxy, proxy+1)
	}
	j.merged, err = r.mergedInto(j.merged)
	return err
}

// redirectToNativeProxy moves a template's settings of containers[istio-proxy] to the init container that is the proxy. Otherwise
// two containers would have the same name.
func redirectToNativeProxy(r rendered) rendered {
	at := r.indexOf("containers", proxyName)
	if at < 0 || r.indexOf("initContainers", proxyName) >= 0 {
		return r
	}
	tree := r.copied(r.tree).(map[string]any)
	spec := tree["spec"].(map[string]any)
	containers := spec["containers"].([]any)
	init, _ := spec["initContainers"].([]any)
	spec["initContainers"] = append(init, containers[at])
	spec["containers"] = slices.Delete(containers, at, at+1)
	if len(containers) == 1 {
		delete(spec, "containers")
	}
	return rendered{tree: tree}
}

// reapply merges the user's containers over containers of templates with the same name, so that the user's settings win, and
// records them. In a pod that was injected before, only recorded containers are the user's. Containers of that injection that
// the templates no longer define are removed.
func (j *job) reapply() error {
	var applied overrides
	for _, container := range j.fromTemplates.Spec.Containers {
		user := findContainer(j.recorded.Containers, container.Name)
		if user == nil && !slices.Contains(j.status.Containers, container.Name) {
			user = findContainer(j.pod.Spec.Containers, container.Name)
		}
		if err := j.mergeUserContainer("containers", user, &applied.Containers); err != nil {
			return err
		}
	}
	for _, container := range j.fromTemplates.Spec.InitContainers {
		user := findContainer(j.recorded.InitContainers, container.Name)
		if user == nil && !slices.Contains(j.status.InitContainers, container.Name) {
			user = findInPod(j.pod, container.Name)
		}
		if err := j.mergeUserContainer("initContainers", user, &applied.InitContainers); err != nil {
			return err
		}
	}
	if !j.wasInjected && (len(applied.Containers) > 0 || len(applied.InitContainers) > 0) {
		text, err := json.Marshal(applied)
		if err != nil {
			return err
		}
		annotate(j.merged, annotationOverrides, string(text))
	}
	j.dropOutdated()
	j.adjustInitUser()
	return nil
}

func (j *job) mergeUserContainer(list string, userContainer *corev1.Container, applied *[]corev1.Container) error {
	if userContainer == nil {
		return nil
	}
	container := *userContainer.DeepCopy()
	if container.Image == "auto" {
		container.Image = ""
	}
	*applied = append(*applied, container)
	tree, err := treeOf(container)
	if err != nil {
		return err
	}
	single := rendered{tree: map[string]any{"spec": map[string]any{list: []any{tree}}}, pod: &corev1.Pod{}}
	if list == "containers" {
		single.pod.Spec.Containers = []corev1.Container{container}
	} else {
		single.pod.Spec.InitContainers = []corev1.Container{container}
	}
	merged, err := single.mergedInto(j.merged)
	if err != nil {
		return refuse(problemOf(j.pod, api.InjectInvalidResult, "spec."+list+"["+container.Name+"]", "",
			fmt.Sprintf("failed to re apply container: %v.", err), "Change the pod's container of that name."))
	}
	j.merged = merged
	return nil
}

func (j *job) dropOutdated() {
	if !j.wasInjected {
		return
	}
	outdated := func(was []string, now []corev1.Container) func(corev1.Container) bool {
		listed := setOf(was)
		for i := range now {
			delete(listed, now[i].Name)
		}
		return func(c corev1.Container) bool { return listed[c.Name] }
	}
	j.merged.Spec.Containers = slices.DeleteFunc(j.merged.Spec.Containers, outdated(j.status.Containers, j.fromTemplates.Spec.Containers))
	j.merged.Spec.InitContainers = slices.DeleteFunc(j.merged.Spec.InitContainers, outdated(j.status.InitContainers, j.fromTemplates.Spec.InitContainers))
}

// adjustInitUser passes the user of the pod's own proxy to the container that sets up redirection. Otherwise the proxy's
// traffic would be redirected to the proxy itself.
func (j *job) adjustInitUser() {
	userProxy := findProxy(j.pod)
	if userProxy == nil || userProxy.SecurityContext == nil || userProxy.SecurityContext.RunAsUser == nil && userProxy.SecurityContext.RunAsGroup == nil {
		return
	}
	user, group := userProxy.SecurityContext.RunAsUser, userProxy.SecurityContext.RunAsGroup
	init := findContainer(j.merged.Spec.InitContainers, "istio-init")
	validation := init == nil
	if validation {
		init = findContainer(j.merged.Spec.InitContainers, "istio-validation")
	}
	if init == nil {
		return
	}
	tproxy := j.data.ProxyConfig.InterceptionMode == meshconfig.ProxyConfig_TPROXY || j.merged.Annotations["sidecar.istio.io/interceptionMode"] == "TPROXY"
	if proxy := findProxy(j.merged); tproxy && user != nil && proxy != nil && proxy.SecurityContext != nil {
		proxy.SecurityContext.RunAsUser = new(int64)
	}
	if !tproxy && validation {
		if init.SecurityContext == nil {
			init.SecurityContext = &corev1.SecurityContext{}
		}
		if user != nil {
			init.SecurityContext.RunAsUser = user
		}
		if group != nil {
			init.SecurityContext.RunAsGroup = group
		}
	}
	if user == nil || *user == 0 {
		return
	}
	if at := slices.Index(init.Args, "-u"); at >= 0 && at+1 < len(init.Args) {
		init.Args[at+1] = fmt.Sprint(*user)
	}
}

func annotate(pod *corev1.Pod, key, value string) {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[key] = value
}
